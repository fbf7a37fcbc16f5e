//! Metrics of downloads from the configured folders.

use super::super::reasons::FileOutcome;
use super::{MetricFactory, Telemetry};
use prometheus::{IntCounter, IntCounterVec};

pub(super) struct FileMetrics {
    requests: IntCounterVec,
    bytes: IntCounter,
}

impl FileMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: make.counters(
                "fanfare_file_requests_total",
                "Requests for files, by result",
                "outcome",
                FileOutcome::ALL.iter().map(|outcome| outcome.as_str()),
            )?,
            bytes: make.counter("fanfare_file_bytes_total", "Bytes of files sent")?,
        })
    }
}

impl Telemetry {
    /// Counts an answered request for a file.
    pub fn file_served(&self, outcome: FileOutcome) {
        self.0.files.requests.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Counts bytes of a file that were passed to a connection.
    pub fn file_bytes(&self, bytes: u64) {
        self.0.files.bytes.inc_by(bytes);
    }
}
