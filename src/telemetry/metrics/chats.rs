//! Metrics of chats: outcomes, speed, and readers. Labels contain neither content nor ids.

use super::super::reasons::ChatRefused;
use super::{MetricFactory, Telemetry};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::time::Duration;

/// Outcomes of a chat.
const OUTCOMES: [&str; 10] = [
    "done",
    "cancelled",
    "upstream_incomplete",
    "upstream_stalled",
    "upstream_error",
    "upstream_auth",
    "timeout",
    "content_filter",
    "hub_restarted",
    "journal_unavailable",
];
/// Outcomes of a request to an upstream.
const ATTEMPTS: [&str; 4] = ["answered", "refused", "refused_for_now", "unreached"];
/// Buckets in seconds, from 50 ms to a minute: the range of a model's first token.
const FIRST_TOKEN_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// Buckets in tokens per second, from a slow machine to a fast one.
const PACE_BUCKETS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];
/// Buckets in readers of one chat.
const READERS_BUCKETS: [f64; 7] = [0.0, 1.0, 2.0, 5.0, 10.0, 100.0, 1_000.0];

/// Metrics of chats. Cheap to clone.
#[derive(Clone)]
pub struct ChatMetrics {
    ended: IntCounterVec,
    running: IntGauge,
    queued: IntGaugeVec,
    attempts: IntCounterVec,
    stalls: IntCounterVec,
    adopted: IntCounter,
    replayed: IntCounter,
    first_token: Histogram,
    tokens: IntCounter,
    pace: Histogram,
    readers: Histogram,
    refused: IntCounterVec,
}

impl ChatMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ended: make.open_counters(
                "fanfare_chats_ended_total",
                "Chats ended, by outcome",
                &["upstream", "outcome"],
            )?,
            running: make
                .gauge("fanfare_chats_running", "Chats that run or wait for their upstream")?,
            queued: make.gauges(
                "fanfare_chats_queued",
                "Chats that wait because their upstream runs `max-running`",
                &["upstream"],
            )?,
            refused: make.counters(
                "fanfare_chats_refused_total",
                "Chat requests refused, by reason",
                "reason",
                ChatRefused::ALL.iter().map(|refused| refused.as_str()),
            )?,
            attempts: make.open_counters(
                "fanfare_chat_attempts_total",
                "Requests to an upstream, by outcome",
                &["upstream", "result"],
            )?,
            stalls: make.open_counters(
                "fanfare_chat_stalls_total",
                "Times an upstream sent nothing for 5 s in the middle of an answer",
                &["upstream"],
            )?,
            adopted: make.counter(
                "fanfare_chat_adopted_total",
                "Repeated requests that took over the run of the first",
            )?,
            replayed: make.counter(
                "fanfare_chat_replayed_total",
                "Requests whose idempotency key had already begun a chat",
            )?,
            first_token: make.histogram(
                "fanfare_chat_first_token_seconds",
                "Time from a request to an upstream until the first token",
                &FIRST_TOKEN_BUCKETS,
            )?,
            tokens: make.counter(
                "fanfare_chat_tokens_total",
                "Tokens of answers, as reported by upstreams or counted by parts",
            )?,
            pace: make.histogram(
                "fanfare_chat_tokens_per_second",
                "Tokens per second of an answer, from its first token",
                &PACE_BUCKETS,
            )?,
            readers: make.histogram(
                "fanfare_chat_readers",
                "Highest number of concurrent subscribers of a chat, observed at its end",
                &READERS_BUCKETS,
            )?,
        })
    }

    /// Registers an upstream, so that its series exist from the start.
    pub fn register_upstream(&self, upstream: &str) {
        for outcome in OUTCOMES {
            self.ended.with_label_values(&[upstream, outcome]);
        }
        for result in ATTEMPTS {
            self.attempts.with_label_values(&[upstream, result]);
        }
        self.stalls.with_label_values(&[upstream]);
        self.queued.with_label_values(&[upstream]);
    }

    /// Sets the number of running chats.
    pub fn running(&self, chats: u64) {
        self.running.set(i64::try_from(chats).unwrap_or(i64::MAX));
    }

    /// Counts a chat that waits for a permit of its upstream, until the result is dropped.
    pub fn queued(&self, upstream: &str) -> Queued {
        let waiting = self.queued.with_label_values(&[upstream]);
        waiting.inc();
        Queued(waiting)
    }

    /// Counts the end of a chat.
    pub fn ended(&self, upstream: &str, outcome: &str) {
        self.ended.with_label_values(&[upstream, outcome]).inc();
    }

    /// Counts a request to an upstream, by result.
    pub fn attempted(&self, upstream: &str, result: &str) {
        self.attempts.with_label_values(&[upstream, result]).inc();
    }

    /// Counts a stall: an upstream that sends nothing in the middle of an answer.
    pub fn stalled(&self, upstream: &str) {
        self.stalls.with_label_values(&[upstream]).inc();
    }

    /// Counts a repeated request that took over the run of the first.
    pub fn adopted(&self) {
        self.adopted.inc();
    }

    /// Counts a request whose idempotency key had already begun a chat.
    pub fn replayed(&self) {
        self.replayed.inc();
    }

    /// Records the time until the first token of an answer.
    pub fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    /// Records the tokens of an answer, which took `duration` from its first token.
    pub fn record_answer(&self, tokens: u64, duration: Option<Duration>) {
        self.tokens.inc_by(tokens);
        if let Some(seconds) = duration.map(|duration| duration.as_secs_f64()).filter(|s| *s > 0.0)
        {
            self.pace.observe(tokens as f64 / seconds);
        }
    }

    /// Observes the highest number of concurrent subscribers of a chat.
    pub fn record_readers(&self, readers: usize) {
        self.readers.observe(readers as f64);
    }

    /// Counts a refused request.
    pub fn refused(&self, reason: ChatRefused) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }
}

/// A chat that waits for a permit, counted until this is dropped.
pub struct Queued(IntGauge);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Telemetry {
    /// Returns the metrics of chats.
    pub fn chats(&self) -> ChatMetrics {
        self.0.chats.clone()
    }
}
