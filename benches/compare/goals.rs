//! Goals of the comparison, as ratios within one run.

use super::Results;
use super::report::median;
use super::rows::ROWS;
use fanfare::bench::number;
use serde_json::Value;

/// A value with a bound that must hold.
pub struct Goal {
    pub title: &'static str,
    row: &'static str,
    ours: &'static str,
    /// Server to compare with; `None` for an absolute value.
    theirs: Option<&'static str>,
    path: &'static str,
    /// Bound of the value or ratio.
    bound: Bound,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A goal with the measured value.
pub struct GoalResult {
    pub measured: String,
    pub bound: String,
    pub holds: bool,
}

const CPU: &str = "/used/cpu_us_per_delivery";
const P99: &str = "/latency_ms/p99";
const DELIVERIES: &str = "/deliveries/per_second";

const fn goal(
    title: &'static str,
    (row, ours, theirs): (&'static str, &'static str, Option<&'static str>),
    path: &'static str,
    bound: Bound,
) -> Goal {
    Goal { title, row, ours, theirs, path, bound }
}

/// Counts that must be 0 in every run.
pub const LOSSES: [&str; 3] = ["lost", "duplicated", "reordered"];

/// Returns the losses in all runs of our own servers; it holds if there are none.
pub fn losses(results: &Results) -> GoalResult {
    let is_own = |key: &String| {
        let (row, server) = key.split_once('/').unwrap_or_default();
        ROWS.iter().any(|r| r.name == row && r.own.iter().any(|(name, _)| *name == server))
    };
    let reports = results.runs.iter().filter(|(key, _)| is_own(key)).flat_map(|(_, runs)| runs);
    let losses_of = |report: &Value| -> f64 {
        let counts = LOSSES.map(|name| report.pointer(&format!("/deliveries/{name}")));
        counts.into_iter().flatten().filter_map(Value::as_f64).sum()
    };
    let (runs, lost) = reports.fold((0, 0.0), |(runs, lost), r| (runs + 1, lost + losses_of(r)));
    GoalResult {
        measured: format!("{} in {runs} runs", number(lost, 0)),
        bound: "0".to_owned(),
        holds: lost == 0.0,
    }
}

/// All goals.
pub const GOALS: [Goal; 15] = {
    use Bound::{AtLeast, AtMost};
    let fanfare = "fanfare";
    [
        goal("paced: CPU per delivery", ("paced", fanfare, Some("floor")), CPU, AtMost(1.2)),
        goal("", ("paced", fanfare, Some("nchan")), CPU, AtMost(0.75)),
        goal("paced: p99 latency", ("paced", fanfare, Some("nchan")), P99, AtMost(1.0)),
        goal(
            "saturated: deliveries/s",
            ("saturated", fanfare, Some("nchan")),
            DELIVERIES,
            AtLeast(10.0),
        ),
        goal("", ("saturated", fanfare, Some("sse-starlette")), DELIVERIES, AtLeast(30.0)),
        goal(
            "one publisher: deliveries/s",
            ("one-publisher", fanfare, Some("nchan")),
            DELIVERIES,
            AtLeast(2.0),
        ),
        goal(
            "idle: bytes per connection",
            ("idle", fanfare, None),
            "/used/pss_bytes_per_connection",
            AtMost(10_240.0),
        ),
        goal(
            "idle with heartbeats: CPU, % of a core",
            ("heartbeats", fanfare, None),
            "/used/cpu_percent",
            AtMost(2.0),
        ),
        goal(
            "growth: CPU per delivery",
            ("growth", "15,000 readers", Some("1,000 readers")),
            CPU,
            AtMost(1.15),
        ),
        goal(
            "many streams: CPU per publish",
            ("many-streams", "100,000 streams", Some("10 streams")),
            "/used/cpu_us_per_publish",
            AtMost(1.2),
        ),
        goal(
            "many streams: CPU per delivery",
            ("many-streams", "100,000 streams", Some("10 streams")),
            CPU,
            AtMost(1.2),
        ),
        goal(
            "storm: time until level",
            ("storm", fanfare, Some("nchan")),
            "/storm/level_after_ms",
            AtMost(0.5),
        ),
        goal(
            "publish: publishes/s",
            ("publish", fanfare, Some("nchan")),
            "/publish/per_second",
            AtLeast(1.0),
        ),
        goal("", ("publish", fanfare, Some("redis")), "/publish/per_second", AtLeast(1.0)),
        goal(
            "stuck: p99 latency of the others",
            ("stuck", "900 readers, 100 stuck", Some("900 readers")),
            P99,
            AtMost(1.1),
        ),
        goal(
            "slow: p99 latency of the readers",
            ("slow", "100 readers, 900 slow clients", Some("100 readers")),
            P99,
            AtMost(1.2),
        ),
    ]
};

impl Goal {
    /// Compares the results with the goal; returns `None` if it was not measured.
    pub fn reached(&self, results: &Results) -> Option<GoalResult> {
        let values = |server: &str| -> Option<Vec<f64>> {
            let reports = results.runs.get(&format!("{}/{server}", self.row))?;
            reports.iter().map(|r| r.pointer(self.path).and_then(Value::as_f64)).collect()
        };
        let ours = values(self.ours)?;
        let ratios = match self.theirs {
            None => ours,
            Some(theirs) => ours.iter().zip(values(theirs)?).map(|(a, b)| a / b).collect(),
        };
        let value = median(ratios);
        let (sign, bound, holds) = match self.bound {
            Bound::AtMost(bound) => ("≤", bound, value <= bound),
            Bound::AtLeast(bound) => ("≥", bound, value >= bound),
        };
        Some(match self.theirs {
            Some(theirs) => GoalResult {
                measured: format!("{value:.2} × {theirs}"),
                bound: format!("{sign} {bound} × {theirs}"),
                holds,
            },
            None => GoalResult {
                measured: number(value, if value < 100.0 { 2 } else { 0 }),
                bound: format!("{sign} {}", number(bound, 0)),
                holds,
            },
        })
    }
}
