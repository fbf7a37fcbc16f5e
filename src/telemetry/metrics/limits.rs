//! Metrics of limits and their use, with the values of `GET /stats`.

use super::MetricFactory;
use prometheus::{IntCounterVec, IntGaugeVec};

/// Labels of a limit: its name, and the patterns of the rule that sets it for some streams only.
const LABELS: [&str; 2] = ["limit", "streams"];

pub(super) struct LimitMetrics {
    max: IntGaugeVec,
    used: IntGaugeVec,
    peak: IntGaugeVec,
    refusals: IntCounterVec,
}

/// A limit, of the hub or of the streams of a rule.
#[derive(Clone, Default, Debug)]
pub struct LimitUse {
    /// Name of the limit.
    pub limit: &'static str,
    /// The patterns of its rule, with commas between them; empty for the hub's own.
    pub streams: String,
    /// Maximum, if there is one.
    pub max: Option<u64>,
    /// Current use.
    pub used: Option<u64>,
    /// Highest use.
    pub peak: Option<u64>,
    /// Number of refusals.
    pub refusals: u64,
}

impl LimitMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            max: make.gauges(
                "fanfare_limit_max",
                "Value of a limit; no series for a limit that is off",
                &LABELS,
            )?,
            used: make.gauges(
                "fanfare_limit_used",
                "Use of a limit; of one for each client, subject or stream, the highest",
                &LABELS,
            )?,
            peak: make.gauges(
                "fanfare_limit_peak",
                "Highest use of a limit since the start",
                &LABELS,
            )?,
            refusals: make.open_counters(
                "fanfare_limit_refusals_total",
                "Refusals because a limit was reached",
                &LABELS,
            )?,
        })
    }

    pub(super) fn set(&self, limits: &[LimitUse]) {
        self.refusals.reset();
        for gauges in [&self.max, &self.used, &self.peak] {
            gauges.reset();
        }
        for limit in limits {
            let labels = [limit.limit, limit.streams.as_str()];
            let set = |gauges: &IntGaugeVec, value: Option<u64>| {
                if let Some(value) = value {
                    let value = i64::try_from(value).unwrap_or(i64::MAX);
                    gauges.with_label_values(&labels).set(value);
                }
            };
            set(&self.max, limit.max);
            set(&self.used, limit.used);
            set(&self.peak, limit.peak);
            self.refusals.with_label_values(&labels).inc_by(limit.refusals);
        }
    }
}
