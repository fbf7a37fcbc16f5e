//! Report of a bench: JSON for scripts, a table for people.

use super::number::count;
use super::scenario::Scenario;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;

/// Results of a bench. Results that do not apply are omitted.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Scenario.
    pub scenario: Scenario,
    /// Name of the measured server.
    pub server: String,
    /// Connections that subscribe.
    pub subscribers: usize,
    /// Number of these connections that never read.
    #[serde(skip_serializing_if = "is_zero")]
    pub stuck: usize,
    /// Additional connections that are slow on purpose.
    #[serde(skip_serializing_if = "is_zero")]
    pub slow: usize,
    /// Number of times that the server closed a slow connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_closed: Option<u64>,
    /// Duration of scrapes of the server's metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_ms: Option<Quantiles>,
    /// Duration of searches of stored events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_ms: Option<Quantiles>,
    /// Streams.
    pub streams: usize,
    /// Publishing connections.
    pub publishers: usize,
    /// Bytes of an event's data.
    pub size_bytes: usize,
    /// Connections that were refused or failed.
    pub refused: u64,
    /// Connections that the server ended.
    pub dropped: u64,
    /// Time from the start of a connection to the head of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<Quantiles>,
    /// Publishes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publishes>,
    /// Received events.
    pub deliveries: Deliveries,
    /// Time from sending a publish to a subscriber receiving the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Quantiles>,
    /// Result of a storm of reconnects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// Result of churn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// Resources that the server used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Peak kernel memory of the TCP buffers of the whole machine, above its value before, in
    /// bytes.
    pub socket_bytes: u64,
}

/// Publishes and their answers.
#[derive(Clone, Debug, Serialize)]
pub struct Publishes {
    pub acknowledged: u64,
    /// Publishes refused and retried.
    pub refused: u64,
    /// Publishes without an answer.
    pub failed: u64,
    pub per_second: f64,
    pub answer_ms: Quantiles,
}

/// Events received by the subscribers.
#[derive(Clone, Debug, Serialize)]
pub struct Deliveries {
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub per_second: f64,
}

/// Result of a storm: all subscribers dropped and resumed.
#[derive(Clone, Debug, Serialize)]
pub struct Storm {
    /// Events that each subscriber missed.
    pub missed: u64,
    /// Time from the first reconnect until all have caught up.
    pub level_after_ms: f64,
}

/// Result of churn: subscribers that connect, read and leave.
#[derive(Clone, Debug, Serialize)]
pub struct Churn {
    pub visits: u64,
    pub per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_visit: Option<f64>,
}

/// Processor and memory of the server's processes.
#[derive(Clone, Debug, Serialize)]
pub struct Used {
    /// Seconds of processor time, in total and in the kernel, and the measured time.
    pub cpu_s: f64,
    pub cpu_system_s: f64,
    pub measured_s: f64,
    /// Percent of one core.
    pub cpu_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_delivery: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_publish: Option<f64>,
    /// Proportional set size with all subscribers connected, and its growth per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_bytes_per_connection: Option<f64>,
}

/// Quantiles of a distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    /// Computes the quantiles of times in nanoseconds; `None` if there are none.
    pub fn of(times: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
        (!times.is_empty()).then(|| Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: times.max() as f64 / 1e6,
        })
    }
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl Report {
    /// Returns true if every event arrived once and in order, and every subscriber was admitted and
    /// stayed.
    pub fn is_clean(&self) -> bool {
        let Deliveries { lost, duplicated, reordered, .. } = self.deliveries;
        lost + duplicated + reordered + self.refused + self.dropped == 0
    }

    /// Returns the report as a table.
    pub fn table(&self) -> String {
        let mut rows = self.connection_rows();
        rows.extend(self.event_rows());
        rows.extend(self.server_rows());
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = format!("\n{} on {}\n\n", name_of(self.scenario), self.server);
        for (name, value) in rows {
            let _ = writeln!(out, "  {name:width$}  {value}");
        }
        out
    }

    fn connection_rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let stuck = match self.stuck {
            0 => String::new(),
            stuck => format!(", of which {} never read", count(stuck as u64)),
        };
        let subscribers = count(self.subscribers as u64);
        rows.push((
            "subscribers",
            format!("{subscribers}{stuck}, on {} streams", count(self.streams as u64)),
        ));
        if self.refused + self.dropped > 0 {
            let (refused, dropped) = (count(self.refused), count(self.dropped));
            rows.push((
                "",
                format!("{refused} refused or failed, {dropped} disconnected by the server"),
            ));
        }
        rows.extend(self.slow_closed.map(|closed| {
            let slow = count(self.slow as u64);
            ("slow clients", format!("{slow} concurrent, closed {} times", count(closed)))
        }));
        rows.extend(self.connect_ms.map(|times| ("connect time", milliseconds(times))));
        rows.extend(self.churn.as_ref().map(|churn| {
            let cost = churn.cpu_us_per_visit.map(|us| format!(", {us:.0} µs of CPU each"));
            let (visits, rate) = (count(churn.visits), count(churn.per_second as u64));
            ("visits", format!("{visits}, {rate}/s{}", cost.unwrap_or_default()))
        }));
        rows
    }

    fn event_rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(publish) = &self.publish {
            let (acknowledged, rate) =
                (count(publish.acknowledged), count(publish.per_second as u64));
            let publishers = count(self.publishers as u64);
            rows.push((
                "publishes",
                format!(
                    "{acknowledged} of {} bytes, {rate}/s, by {publishers} publishers",
                    self.size_bytes
                ),
            ));
            if publish.refused + publish.failed > 0 {
                let (refused, failed) = (count(publish.refused), count(publish.failed));
                rows.push((
                    "",
                    format!(
                        "{refused} refused, {failed} without a response, which may count as lost"
                    ),
                ));
            }
            rows.push(("response time", milliseconds(publish.answer_ms)));
        }
        let deliveries = &self.deliveries;
        if deliveries.received + deliveries.lost > 0 {
            rows.push((
                "deliveries",
                format!(
                    "{}, {}/s",
                    count(deliveries.received),
                    count(deliveries.per_second as u64)
                ),
            ));
            let [lost, duplicated, reordered] =
                [deliveries.lost, deliveries.duplicated, deliveries.reordered].map(count);
            rows.push(("", format!("{lost} lost, {duplicated} duplicated, {reordered} reordered")));
        }
        rows.extend(self.latency_ms.map(|times| ("latency", milliseconds(times))));
        rows.extend(self.scrape_ms.map(|times| ("scrapes", milliseconds(times))));
        rows.extend(self.search_ms.map(|times| ("searches", milliseconds(times))));
        rows.extend(self.storm.as_ref().map(|storm| {
            let (missed, after) = (count(storm.missed), storm.level_after_ms);
            ("storm", format!("all caught up after {after:.0} ms, {missed} missed events each"))
        }));
        rows
    }

    fn server_rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(used) = &self.used {
            let Used { cpu_s, measured_s, cpu_percent, cpu_system_s, .. } = used;
            let kernel = if *cpu_s > 0.0 { 100.0 * cpu_system_s / cpu_s } else { 0.0 };
            rows.push((
                "server CPU",
                format!("{cpu_s:.2} s in {measured_s:.1} s, {cpu_percent:.1} % of a core, {kernel:.0} % of it in the kernel"),
            ));
            rows.extend(
                used.cpu_us_per_delivery.map(|us| ("", format!("{us:.2} µs per delivery"))),
            );
            rows.extend(used.cpu_us_per_publish.map(|us| ("", format!("{us:.1} µs per publish"))));
            let each = used.pss_bytes_per_connection;
            let each = each.map(|b| format!(", {:.1} KiB per connection", b / 1024.0));
            rows.extend(used.pss_bytes.map(|bytes| {
                let mebibytes = bytes as f64 / f64::from(1 << 20);
                ("server memory", format!("{mebibytes:.1} MiB{}", each.unwrap_or_default()))
            }));
        }
        let sockets = self.socket_bytes as f64 / f64::from(1 << 20);
        rows.push(("socket buffers", format!("{sockets:.1} MiB peak, both ends")));
        rows
    }
}

fn name_of(scenario: Scenario) -> String {
    serde_json::to_string(&scenario).unwrap_or_default().trim_matches('"').to_owned()
}

fn milliseconds(times: Quantiles) -> String {
    let Quantiles { p50, p99, p999, max } = times;
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms")
}
