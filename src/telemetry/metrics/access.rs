//! Refused credentials, requests and connections.

use super::super::reasons::{ConnectionRefused, CredentialRefused, RequestRefused};
use super::{MetricFactory, Telemetry};
use prometheus::{IntCounter, IntCounterVec};

pub(super) struct AccessMetrics {
    pub(super) credentials: IntCounterVec,
    pub(super) requests: IntCounterVec,
    abandoned: IntCounter,
    pub(super) connections: IntCounterVec,
}

impl AccessMetrics {
    pub(super) fn new(make: &MetricFactory) -> Result<Self, prometheus::Error> {
        Ok(Self {
            credentials: make.counters( "fanfare_credentials_refused_total", "Credentials refused, by reason",
                "reason",
                CredentialRefused::ALL.iter().map(|r| r.as_str()))?,
            requests: make.counters( "fanfare_requests_refused_total", "Requests refused before authentication, by reason",
                "reason",
                RequestRefused::ALL.iter().map(|r| r.as_str()))?,
            abandoned: make.counter(
                "fanfare_requests_abandoned_total",
                "Requests whose client disconnected before the response; a publish may have been committed",
            )?,
            connections: make.counters( "fanfare_connections_refused_total", "Connections closed before the first request, by reason",
                "reason",
                ConnectionRefused::ALL.iter().map(|r| r.as_str()))?,
        })
    }
}

impl Telemetry {
    /// Counts a credential that was refused or missing.
    pub fn credential_refused(&self, reason: CredentialRefused) {
        self.0.access.credentials.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts a request that was refused before authentication.
    pub fn request_refused(&self, reason: RequestRefused) {
        self.0.access.requests.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts a request whose client disconnected before the response.
    pub fn request_abandoned(&self) {
        self.0.access.abandoned.inc();
    }

    /// Counts a connection that was closed before its first request.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        self.0.access.connections.with_label_values(&[reason.as_str()]).inc();
    }
}
