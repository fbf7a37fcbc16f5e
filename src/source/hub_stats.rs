//! Figures of the hub itself for the stream `hub.stats`, which admins read: the history behind the
//! charts of the dashboard.

use crate::telemetry::{Latency, Telemetry, Totals};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Period of rates. Workers report their counts only now and then, so that a shorter one is uneven.
const RATE_PERIOD: Duration = Duration::from_secs(8);
/// Quantile of the fan-out.
const QUANTILE: f64 = 0.99;

/// Data of a `status` event on `hub.stats`.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct HubStats {
    timestamp: String,
    sessions: u64,
    /// Events published per second.
    events_per_second: f64,
    /// Events delivered to sessions per second.
    deliveries_per_second: f64,
    /// 99th percentile of the time from the commit of a batch to the sockets, in seconds; `None`
    /// without deliveries, or if it is beyond the last bucket.
    fan_out_p99_s: Option<f64>,
    /// Publishes and subscribers that were refused, per second.
    refusals_per_second: f64,
}

struct Sample {
    at: Instant,
    totals: Totals,
    fan_out: Latency,
}

/// The samples of the last [`RATE_PERIOD`].
#[derive(Default)]
pub(super) struct Recorder {
    samples: VecDeque<Sample>,
}

impl Recorder {
    /// Takes a sample. Returns `None` for the first one, which has no rates.
    pub(super) fn look(&mut self, telemetry: &Telemetry, at: Instant) -> Option<HubStats> {
        self.add(Sample { at, totals: telemetry.totals(), fan_out: telemetry.fan_out() })
    }

    fn add(&mut self, now: Sample) -> Option<HubStats> {
        while self.samples.len() > 1 && now.at - self.samples[1].at >= RATE_PERIOD {
            self.samples.pop_front();
        }
        let stats = self.samples.front().map(|before| compare(before, &now));
        self.samples.push_back(now);
        stats
    }
}

fn compare(before: &Sample, now: &Sample) -> HubStats {
    let seconds = (now.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
    let rate = |count: fn(&Totals) -> u64| {
        let difference = count(&now.totals).saturating_sub(count(&before.totals));
        super::system::rounded(difference as f64 / seconds)
    };
    HubStats {
        timestamp: crate::journal::now().to_string(),
        sessions: now.totals.sessions,
        events_per_second: rate(|totals| totals.events_published),
        deliveries_per_second: rate(|totals| totals.deliveries),
        fan_out_p99_s: quantile(&before.fan_out, &now.fan_out),
        refusals_per_second: rate(|totals| totals.publishes_refused + totals.subscribers_refused),
    }
}

/// Returns [`QUANTILE`] of the observations between two samples, interpolated within its bucket.
fn quantile(before: &Latency, now: &Latency) -> Option<f64> {
    let rank = now.count.saturating_sub(before.count) as f64 * QUANTILE;
    let (mut low, mut count_below) = (0.0, 0.0);
    for (n, bucket) in now.buckets.iter().enumerate() {
        let earlier = before.buckets.get(n).map_or(0, |bucket| bucket.count);
        let count = bucket.count.saturating_sub(earlier) as f64;
        if rank > 0.0 && count >= rank {
            return Some(low + (bucket.le_s - low) * (rank - count_below) / (count - count_below));
        }
        (low, count_below) = (bucket.le_s, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Bucket;

    fn sample(at: Instant, events: u64, fast: u64, slow: u64) -> Sample {
        let telemetry = Telemetry::new().expect("metrics");
        let buckets =
            vec![Bucket { le_s: 0.001, count: fast }, Bucket { le_s: 0.003, count: fast + slow }];
        Sample {
            at,
            totals: Totals { events_published: events, sessions: 3, ..telemetry.totals() },
            fan_out: Latency { count: fast + slow, sum_s: 0.0, buckets },
        }
    }

    #[test]
    fn rates_span_eight_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut recorder = Recorder::default();
        assert_eq!(recorder.add(sample(at(0), 1_000, 0, 0)), None);
        let stats = recorder.add(sample(at(2), 1_010, 0, 0)).expect("a second sample");
        assert_eq!((stats.sessions, stats.events_per_second, stats.fan_out_p99_s), (3, 5.0, None));
        for second in [4, 6, 8] {
            recorder.add(sample(at(second), 1_010, 0, 0));
        }
        let stats = recorder.add(sample(at(10), 1_050, 0, 0)).expect("a further sample");
        assert_eq!(stats.events_per_second, 5.0, "from second 2 to second 10");
        assert_eq!(recorder.samples.len(), 5);
    }

    #[test]
    fn the_quantile_is_that_of_new_observations() {
        let now = Instant::now();
        let (before, after) = (sample(now, 0, 50, 1), sample(now, 0, 50, 101));
        let p99 = quantile(&before.fan_out, &after.fan_out).expect("observations");
        assert!((p99 - 0.002_98).abs() < 1e-9, "{p99}");
        assert_eq!(quantile(&before.fan_out, &before.fan_out), None);
    }
}
