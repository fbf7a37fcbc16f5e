//! Runs the sources of the hub, restarts them after a failure, and reports their state.

use super::own_streams::NodeName;
use super::publish_with_retry::{publish, publish_with_retry, unit};
use crate::backoff::Backoff;
use crate::event::{Draft, Invalid, StreamName};
use crate::journal::{PublishError, Publisher, now};
use crate::source::error::SourceError;
use crate::telemetry::{SourceMetrics, Telemetry};
use serde::Serialize;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Maximum first pause before a failed source is restarted, and maximum pause.
const RESTART_AFTER: Duration = Duration::from_millis(500);
const RESTART_WITHIN: Duration = Duration::from_secs(60);
/// Running time after which a failure restarts the backoff with the first pause.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(60);

/// The sources of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    telemetry: Telemetry,
    node: NodeName,
    all: Mutex<Vec<SourceHandle>>,
}

/// State of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SourceView {
    /// Name of the source.
    pub name: &'static str,
    /// `running`, or `waiting` until it is restarted.
    pub state: &'static str,
    /// Number of restarts.
    pub restarts: u64,
    /// Number of published events.
    pub events: u64,
    /// Number of events that were refused or lost.
    pub refused: u64,
    /// Last failure or refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Handle through which a source publishes. Cheap to clone.
#[derive(Clone)]
pub struct SourceHandle {
    publisher: Publisher,
    node: NodeName,
    metrics: SourceMetrics,
    view: Arc<Mutex<SourceView>>,
}

impl Supervisor {
    /// Creates an empty set of sources.
    pub fn new(publisher: Publisher, telemetry: Telemetry, node: NodeName) -> Self {
        Self(Arc::new(Inner { publisher, telemetry, node, all: Mutex::default() }))
    }

    /// Runs a source until the hub stops, and restarts it with backoff whenever `run` returns.
    pub async fn supervise<F: Future<Output = Result<(), SourceError>>>(
        self,
        name: &'static str,
        run: impl Fn(SourceHandle) -> F,
    ) {
        let feed = self.add(name);
        let mut backoff = Backoff::new(RESTART_AFTER, RESTART_WITHIN);
        loop {
            let began = Instant::now();
            let failed = run(feed.clone()).await.err().unwrap_or(SourceError::Ended);
            if began.elapsed() >= BACKOFF_RESET_AFTER {
                backoff.reset();
            }
            tracing::warn!(source = name, error = %failed, "source failed; restarting it");
            feed.metrics.stopped();
            feed.note(|view| {
                view.state = "waiting";
                view.error = Some(failed.to_string());
            });
            tokio::time::sleep(backoff.pause()).await;
            feed.metrics.restarted();
            feed.note(|view| {
                view.state = "running";
                view.restarts += 1;
            });
        }
    }

    fn add(&self, name: &'static str) -> SourceHandle {
        let view =
            SourceView { name, state: "running", restarts: 0, events: 0, refused: 0, error: None };
        let feed = SourceHandle {
            publisher: self.0.publisher.clone(),
            node: self.0.node.clone(),
            metrics: self.0.telemetry.of_source(name),
            view: Arc::new(Mutex::new(view)),
        };
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner).push(feed.clone());
        feed
    }

    /// Returns the state of all sources.
    pub fn views(&self) -> Vec<SourceView> {
        let all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|feed| feed.note(|view| view.clone())).collect()
    }
}

impl SourceHandle {
    /// Returns the stream of this hub for which `stream` is the name at a single hub.
    pub(super) fn own_stream(&self, stream: &str) -> Result<StreamName, Invalid> {
        self.node.stream(stream)
    }

    /// Publishes events in one unit, without a retry. Refused events are lost and counted; a source
    /// that must not lose any publishes them again.
    pub async fn publish(&self, drafts: Vec<Draft>) -> Result<(), SourceError> {
        let count = drafts.len() as u64;
        match publish(&self.publisher, unit(drafts)).await {
            Ok(()) => {
                self.published(count);
                Ok(())
            }
            Err(error) => {
                self.metrics.refused(count);
                let why = error.to_string();
                self.note(|view| {
                    view.refused += count;
                    view.error = Some(why);
                });
                Err(error.into())
            }
        }
    }

    /// Publishes events in one unit, and retries until they are accepted. Fails only if a retry
    /// would never help.
    pub async fn publish_with_retry(&self, drafts: Vec<Draft>) -> Result<(), PublishError> {
        let count = drafts.len() as u64;
        publish_with_retry(&self.publisher, unit(drafts), |why| self.set_error(why.to_string()))
            .await?;
        self.published(count);
        Ok(())
    }

    fn published(&self, events: u64) {
        self.metrics.published(events);
        self.note(|view| view.events += events);
    }

    /// Reports why the source cannot publish at the moment.
    pub(super) fn set_error(&self, why: String) {
        self.note(|view| view.error = Some(why));
    }

    /// Counts events that were lost before they reached this feed.
    pub fn lost(&self, events: u64) {
        self.metrics.refused(events);
        self.note(|view| view.refused += events);
    }

    fn note<T>(&self, change: impl FnOnce(&mut SourceView) -> T) -> T {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the current time of the clock that stamps events.
    pub fn now(&self) -> crate::event::Timestamp {
        now()
    }
}
