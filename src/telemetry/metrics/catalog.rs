//! `docs/metrics.md`: all families, generated from the registry.

use super::{LimitUse, ReadinessSample, Sampled, Telemetry};
use prometheus::proto::{MetricFamily, MetricType};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const INTRODUCTION: &str = "# Metrics\n\n\
    `GET /metrics` returns these metrics in the Prometheus text format, or in OpenMetrics 1.0 if \
    `Accept` asks for it. It requires the grant `admin`, `--anonymous metrics`, or a separate \
    listener (`--metrics-listen`). Every family exists from the first scrape; label values known \
    in advance start at 0. No label value is a stream name, except for the patterns that \
    `--metrics-streams` and limits in the configuration name.\n\n\
    `fanfare metrics` prints this file.\n";

/// Topics of the families, by the first word after the prefix of their names.
const TOPICS: [(&str, &[&str]); 11] = [
    ("The hub", &["build", "ready", "draining", "drain", "log"]),
    (
        "Sessions and fan-out",
        &["sessions", "session", "deliveries", "delivered", "fanout", "undelivered"],
    ),
    (
        "Publishing",
        &["events", "published", "publish", "stream", "source", "heartbeat", "job", "tail"],
    ),
    ("Refused", &["subscribers", "publishes", "credentials", "requests", "connections"]),
    ("Limits and bounds", &["limit", "bound", "request", "dispatch", "disk"]),
    ("Chats", &["chats", "chat"]),
    ("Downloads", &["file"]),
    ("Search", &["searches", "search"]),
    ("Journal", &["journal"]),
    ("Cluster", &["cluster"]),
    ("The process", &["process"]),
];

/// Returns the page with all families: kind, labels and meaning.
pub fn markdown() -> Result<String, prometheus::Error> {
    let telemetry = Telemetry::new()?;
    let _ = telemetry.of_pattern("…");
    let _ = telemetry.of_job("…");
    telemetry.chats().register_upstream("…");
    let families = telemetry.gather(&example());
    let mut text = INTRODUCTION.to_owned();
    for (topic, words) in TOPICS {
        let topic_families =
            families.iter().filter(|family| words.contains(&word_of(family.name())));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## {topic}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
        );
        for family in topic_families {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                family.name(),
                kind_of(family),
                labels_of(family),
                family.help()
            );
        }
    }
    Ok(text)
}

/// Sample values, so that families with sampled labels are shown.
fn example() -> Sampled {
    let limit =
        LimitUse {
            limit: "…", max: Some(0), used: Some(0), peak: Some(0), ..LimitUse::default()
        };
    let readiness = ReadinessSample { checks: vec![("…", true)], ..ReadinessSample::default() };
    Sampled { limits: vec![limit], readiness, ..Sampled::default() }
}

/// Returns the first word of a name after the prefix, which determines the topic.
fn word_of(name: &str) -> &str {
    let name = name.strip_prefix("fanfare_").unwrap_or(name);
    name.split('_').next().unwrap_or(name)
}

fn kind_of(family: &MetricFamily) -> &'static str {
    match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    }
}

fn labels_of(family: &MetricFamily) -> String {
    let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for label in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
        let values = labels.entry(label.name()).or_default();
        if !values.contains(&label.value()) {
            values.push(label.value());
        }
    }
    let descriptions = labels.iter().map(|(name, values)| {
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.is_empty() && **value != "…" && *name != "version")
            .map(|value| format!("`{value}`"))
            .collect();
        if values.is_empty() {
            format!("`{name}`")
        } else {
            format!("`{name}`: {}", values.join(", "))
        }
    });
    descriptions.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_matches_the_registry() {
        let page = include_str!("../../../docs/metrics.md");
        assert_eq!(page, markdown().expect("metrics"), "run `fanfare metrics > docs/metrics.md`");
    }

    #[test]
    fn each_family_has_exactly_one_topic() {
        let families = Telemetry::new().expect("metrics").gather(&example());
        for family in &families {
            let word = word_of(family.name());
            let topics = TOPICS.iter().filter(|(_, words)| words.contains(&word)).count();
            assert_eq!(topics, 1, "{}", family.name());
        }
    }
}
