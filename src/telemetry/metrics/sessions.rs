//! Metrics of sessions: their number, how they opened and closed, and what they were sent.

use super::super::reasons::{CloseReason, Protocol, ReplaySource, SubscribeRejectReason};
use super::factory::LATENCY_BUCKETS;
use super::{MetricFactory, Telemetry};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

pub(super) struct SessionMetrics {
    pub(super) live: IntGauge,
    pub(super) catching_up: IntGauge,
    pub(super) opened: IntCounterVec,
    pub(super) by_protocol: IntCounterVec,
    pub(super) closed: IntCounterVec,
    pub(super) refused: IntCounterVec,
    pub(super) replayed: IntCounterVec,
    pub(super) gaps: IntCounter,
    pub(super) due: IntCounter,
    pub(super) deliveries: IntCounter,
    pub(super) delivered_bytes: IntCounter,
    pub(super) fanout: Histogram,
    pub(super) undelivered: Histogram,
    pub(super) queued_bytes: IntGauge,
}

impl SessionMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            live: make.gauge("fanfare_sessions", "Open sessions")?,
            catching_up: make
                .gauge("fanfare_sessions_catching_up", "Sessions that read from history")?,
            opened: make.counters( "fanfare_sessions_opened_total", "Sessions opened, by the result of their resume",
                "resume",
                ["live", "resumed", "gap", "reset"].into_iter())?,
            by_protocol: make.counters( "fanfare_sessions_opened_by_protocol_total", "Sessions opened, by protocol",
                "protocol",
                Protocol::ALL.iter().map(|r| r.as_str()))?,
            closed: make.counters( "fanfare_sessions_closed_total", "Sessions closed, by reason",
                "reason",
                CloseReason::ALL.iter().map(|r| r.as_str()))?,
            refused: make.counters( "fanfare_subscribers_refused_total", "Subscribers refused, by reason",
                "reason",
                SubscribeRejectReason::ALL.iter().map(|r| r.as_str()))?,
            replayed: make.counters( "fanfare_events_replayed_total", "Events sent to sessions from history, by where they were read",
                "source",
                ReplaySource::ALL.iter().map(|r| r.as_str()))?,
            gaps: make.counter(
                "fanfare_session_gaps_total",
                "Sessions notified of a gap because retention removed events before they read them",
            )?,
            due: make.counter(
                "fanfare_deliveries_due_total",
                "Deliveries due: for each published event the number of sessions that it matches, live or catching up",
            )?,
            deliveries: make.counter(
                "fanfare_deliveries_total",
                "Events delivered to live sessions, without control events, heartbeats and replays",
            )?,
            delivered_bytes: make
                .counter("fanfare_delivered_bytes_total", "Bytes of the events delivered to live sessions")?,
            fanout: make.histogram( "fanfare_fanout_seconds", "Time from the commit of a batch until a worker thread has written it to the sockets of all its live sessions that it matches",
                &LATENCY_BUCKETS)?,
            undelivered: make.histogram( "fanfare_undelivered_age_seconds", "Each second, for each worker thread with sessions: the age of the oldest \
                     event that one of its live sessions has not taken; 0 where there is none",
                &LATENCY_BUCKETS)?,
            queued_bytes: make.gauge(
                "fanfare_session_queue_bytes",
                "Bytes in memory that at least one live session has not taken",
            )?,
        })
    }
}

impl Telemetry {
    /// Counts an opened session; `resume` is the result of its resume.
    pub fn session_opened(&self, protocol: Protocol, resume: &str) {
        self.0.sessions.live.inc();
        self.0.sessions.by_protocol.with_label_values(&[protocol.as_str()]).inc();
        self.0.sessions.opened.with_label_values(&[resume]).inc();
    }

    /// Counts a closed session.
    pub fn session_closed(&self, reason: CloseReason) {
        self.0.sessions.live.dec();
        self.0.sessions.closed.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts a session that began (+1) or stopped (-1) to read from history.
    pub fn catching_up(&self, change: i64) {
        self.0.sessions.catching_up.add(change);
    }

    /// Counts a refused subscriber.
    pub fn subscriber_refused(&self, reason: SubscribeRejectReason) {
        self.0.sessions.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts events sent to a session from history.
    pub fn replayed(&self, source: ReplaySource, events: u64) {
        self.0.sessions.replayed.with_label_values(&[source.as_str()]).inc_by(events);
    }

    /// Counts a gap: retention removed events before a session read them.
    pub fn session_gap(&self) {
        self.0.sessions.gaps.inc();
    }
}
