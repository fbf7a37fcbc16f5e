//! Metrics of one shard: counted on its own thread, reported once a second.

use super::Telemetry;
use prometheus::local::LocalHistogram;
use std::time::Duration;

/// Metrics of one shard.
pub struct ShardMetrics {
    telemetry: Telemetry,
    deliveries: u64,
    bytes: u64,
    fanout: LocalHistogram,
    undelivered: LocalHistogram,
    queued_bytes: i64,
}

impl ShardMetrics {
    /// Creates metrics that start at 0.
    pub fn new(telemetry: Telemetry) -> Self {
        let fanout = telemetry.0.sessions.fanout.local();
        let undelivered = telemetry.0.sessions.undelivered.local();
        Self { telemetry, deliveries: 0, bytes: 0, fanout, undelivered, queued_bytes: 0 }
    }

    /// Counts deliveries to live sessions, and their bytes.
    pub fn delivered(&mut self, deliveries: u64, bytes: u64) {
        self.deliveries += deliveries;
        self.bytes += bytes;
    }

    /// Returns the number of deliveries that were not reported yet.
    #[cfg(test)]
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Records the time from the commit of a batch until it was written to the sockets.
    pub fn fanned_out(&mut self, after: Duration) {
        self.fanout.observe(after.as_secs_f64());
    }

    /// Reports the counts, with the bytes that wait now and, if there are sessions, the age of the
    /// oldest event that one of them has not taken.
    pub fn flush(&mut self, queued_bytes: u64, oldest: Option<Duration>) {
        if let Some(age) = oldest {
            self.undelivered.observe(age.as_secs_f64());
        }
        let sessions = &self.telemetry.0.sessions;
        sessions.deliveries.inc_by(std::mem::take(&mut self.deliveries));
        sessions.delivered_bytes.inc_by(std::mem::take(&mut self.bytes));
        let queued = i64::try_from(queued_bytes).unwrap_or(i64::MAX);
        sessions.queued_bytes.add(queued - self.queued_bytes);
        self.queued_bytes = queued;
        self.fanout.flush();
        self.undelivered.flush();
    }
}

impl Drop for ShardMetrics {
    /// Reports the rest, and removes the bytes in flight.
    fn drop(&mut self) {
        self.flush(0, None);
    }
}
