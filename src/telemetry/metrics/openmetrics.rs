//! `OpenMetrics` 1.0 format, for scrapes that request it.
//!
//! It differs little from the text format: the family of a counter has no `_total` in its name, and
//! a marker at the end reveals a truncated response.

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use std::fmt::Write as _;

/// Appends all families and the end.
pub(super) fn encode(families: &[MetricFamily], out: &mut Vec<u8>) {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    out.extend_from_slice(text.as_bytes());
}

fn write_family(text: &mut String, family: &MetricFamily) -> std::fmt::Result {
    let (kind, name) = match family.get_field_type() {
        MetricType::COUNTER => {
            ("counter", family.name().strip_suffix("_total").unwrap_or(family.name()))
        }
        MetricType::GAUGE => ("gauge", family.name()),
        MetricType::HISTOGRAM => ("histogram", family.name()),
        // The hub has no metrics of these types.
        MetricType::SUMMARY | MetricType::UNTYPED => return Ok(()),
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    writeln!(text, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        write_metric(text, metric, name, kind)?;
    }
    Ok(())
}

fn write_metric(text: &mut String, metric: &Metric, name: &str, kind: &str) -> std::fmt::Result {
    let labels = metric.get_label();
    if kind == "counter" {
        let value = metric.get_counter().get_value();
        return writeln!(text, "{name}_total{} {value}", Labels(labels, None));
    }
    if kind == "gauge" {
        let value = metric.get_gauge().get_value();
        return writeln!(text, "{name}{} {value}", Labels(labels, None));
    }
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket() {
        // A bound is a float in canonical form (OpenMetrics 1.0, "Numbers").
        let bound = format!("{:?}", bucket.upper_bound());
        let labels = Labels(labels, Some(&bound));
        writeln!(text, "{name}_bucket{labels} {}", bucket.cumulative_count())?;
    }
    let count = histogram.get_sample_count();
    writeln!(text, "{name}_bucket{} {count}", Labels(labels, Some("+Inf")))?;
    writeln!(text, "{name}_sum{} {}", Labels(labels, None), histogram.get_sample_sum())?;
    writeln!(text, "{name}_count{} {count}", Labels(labels, None))
}

/// Labels of a series, with the bound of a bucket.
struct Labels<'a>(&'a [LabelPair], Option<&'a str>);

impl std::fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(labels, bound) = self;
        let pairs = labels.iter().map(|label| (label.name(), label.value()));
        let mut separator = '{';
        for (name, value) in pairs.chain(bound.map(|bound| ("le", bound))) {
            write!(f, "{separator}{name}=\"{}\"", Escaped(value))?;
            separator = ',';
        }
        if separator == ',' { f.write_str("}") } else { Ok(()) }
    }
}

/// Text with backslashes, quotes and line breaks escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

    #[test]
    fn families_are_encoded_as_openmetrics() {
        let registry = Registry::new();
        let counters = IntCounterVec::new(Opts::new("a_total", "Of \"a\""), &["b"]).expect("ok");
        counters.with_label_values(&["x\\y\n\"z"]).inc();
        registry.register(Box::new(counters)).expect("new");
        let opts = HistogramOpts::new("h_seconds", "Took").buckets(vec![0.000_05, 1.0]);
        let histogram = Histogram::with_opts(opts).expect("ok");
        histogram.observe(0.5);
        registry.register(Box::new(histogram)).expect("new");
        let mut out = Vec::new();
        encode(&registry.gather(), &mut out);
        let expected = "# TYPE a counter\n# HELP a Of \\\"a\\\"\na_total{b=\"x\\\\y\\n\\\"z\"} 1\n\
                        # TYPE h_seconds histogram\n# HELP h_seconds Took\n\
                        h_seconds_bucket{le=\"5e-5\"} 0\nh_seconds_bucket{le=\"1.0\"} 1\n\
                        h_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_sum 0.5\nh_seconds_count 1\n\
                        # EOF\n";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}
