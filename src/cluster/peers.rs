//! The other hubs of the cluster: what they report each second, and requests to them, over NATS.
//!
//! Reports may be lost. A request is answered within a second, or its hub counts as silent.

use super::report::{HubReport, KnownHub, Roster};
use super::settings::ClusterSettings;
use super::status::LogStatus;
use crate::limits::SharedCount;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time within which a hub answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The same for a request that changes something, which may wait for the log or for a run to end.
const CHANGED_WITHIN: Duration = Duration::from_secs(10);

/// Reason why another hub cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No hub has this name.
    #[error("the cluster has no hub {0:?}")]
    Unknown(String),
    /// The hub has not reported lately, or has not answered in time.
    #[error("hub {0:?} does not answer")]
    Silent(String),
    /// The hub has not answered a change in time.
    #[error("hub {0:?} does not answer; it may still do what the request asks for")]
    Unconfirmed(String),
}

/// A handle to the other hubs. Clones share what is known of them.
#[derive(Clone)]
pub struct Peers {
    client: Client,
    cluster: String,
    node: String,
    boot: u64,
    replicas: usize,
    isolation_timeout: Duration,
    is_leaving: Arc<AtomicBool>,
    roster: Arc<Mutex<Roster>>,
}

/// A request to another hub.
#[derive(Debug)]
pub struct HubRequest {
    /// Content.
    pub data: Bytes,
    /// True if it changes something.
    pub is_change: bool,
}

/// A request of another hub.
pub struct PeerRequest {
    /// Content.
    pub data: Bytes,
    message: Message,
    client: Client,
}

impl PeerRequest {
    /// Answers the request.
    pub async fn answer(self, data: Bytes) {
        let Some(reply) = self.message.reply else { return };
        // A hub that does not get the answer counts this one as silent.
        if let Err(error) = self.client.publish(reply, data).await {
            tracing::debug!(%error, "failed to answer a hub");
        }
    }
}

impl Peers {
    pub(super) fn new(client: Client, settings: &ClusterSettings) -> Self {
        let (cluster, node) = (settings.name.clone(), settings.node.clone());
        let boot = rand::random();
        let roster = Arc::new(Mutex::new(Roster::new(&node, boot)));
        let (replicas, isolation_timeout) = (settings.replicas, settings.isolation_timeout);
        let is_leaving = Arc::default();
        Self { client, cluster, node, boot, replicas, isolation_timeout, is_leaving, roster }
    }

    /// Returns the name of this hub.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns the number of this process in reports.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Returns the name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Returns the maximum size of a request and of an answer, in bytes.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.client.server_info().max_payload
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas
    }

    pub(super) fn report_subject(&self) -> String {
        format!("{}.report", self.cluster)
    }

    fn request_subject(&self, node: &str) -> String {
        format!("{}.hub.{node}", self.cluster)
    }

    /// Tells the other hubs about this one. Nothing is told after the report that it leaves.
    pub async fn report(&self, report: &HubReport) {
        if report.is_leaving {
            self.is_leaving.store(true, Ordering::Release);
        } else if self.is_leaving.load(Ordering::Acquire) {
            return;
        }
        let data = match serde_json::to_vec(report) {
            Ok(data) => data,
            Err(error) => return tracing::error!(%error, "failed to write a report"),
        };
        if let Err(error) = self.client.publish(self.report_subject(), data.into()).await {
            tracing::warn!(%error, "failed to report to the other hubs");
        }
    }

    /// Records the reports of other hubs, and compares what they have applied with `log`, whose
    /// ids belong to `epoch`.
    pub async fn follow_reports(&self, log: Arc<LogStatus>, epoch: u32) {
        let Some(mut reports) = self.subscribe(self.report_subject()).await else { return };
        while let Some(message) = reports.next().await {
            let report = match serde_json::from_slice::<HubReport>(&message.payload) {
                Ok(report) => report,
                Err(error) => {
                    tracing::warn!(%error, "ignoring a report that cannot be read");
                    continue;
                }
            };
            let mut roster = self.roster();
            roster.record(report);
            roster.compare(&log, epoch);
        }
    }

    /// Returns the hubs of which this one knows, sorted by name, without itself.
    #[must_use]
    pub fn hubs(&self) -> Vec<KnownHub> {
        self.roster().hubs()
    }

    /// Returns the number of hubs of which this one knows, without itself.
    #[must_use]
    pub fn count(&self) -> usize {
        self.roster().count()
    }

    /// Returns the sessions of subjects and streams at the other hubs.
    #[must_use]
    pub fn counts(&self) -> Vec<SharedCount> {
        self.roster().counts()
    }

    /// Returns the names of the hubs that have not reported for `--cluster-isolation-timeout`, although NATS
    /// delivers reports.
    #[must_use]
    pub fn gone(&self) -> Vec<String> {
        self.roster().gone(self.isolation_timeout, Instant::now())
    }

    /// Fails if a hub is not known, or has not reported lately.
    pub fn check_reports(&self, node: &str) -> Result<(), AskError> {
        match self.roster().is_silent(node) {
            Some(false) => Ok(()),
            Some(true) => Err(AskError::Silent(node.to_owned())),
            None => Err(AskError::Unknown(node.to_owned())),
        }
    }

    /// Sends a request to a hub, and returns its answer.
    pub async fn ask(&self, node: &str, request: HubRequest) -> Result<Bytes, AskError> {
        self.check_reports(node)?;
        let asked = self.client.request(self.request_subject(node), request.data);
        let within = if request.is_change { CHANGED_WITHIN } else { ANSWER_WITHIN };
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(answer)) => Ok(answer.payload),
            Ok(Err(_)) | Err(_) if request.is_change => Err(AskError::Unconfirmed(node.to_owned())),
            Ok(Err(_)) | Err(_) => Err(AskError::Silent(node.to_owned())),
        }
    }

    /// Sends the request that `request_for` makes for each hub, and returns their names and answers.
    pub async fn ask_all(
        &self,
        request_for: impl Fn(&str) -> HubRequest,
    ) -> Vec<(String, Result<Bytes, AskError>)> {
        let names: Vec<String> = self.hubs().into_iter().map(|hub| hub.report.node).collect();
        let asked = names.iter().map(|name| self.ask(name, request_for(name)));
        let answers = join_all(asked).await;
        names.into_iter().zip(answers).collect()
    }

    /// Calls `handle` with each request of another hub.
    pub async fn serve(&self, mut handle: impl FnMut(PeerRequest)) {
        let subject = self.request_subject(&self.node);
        let Some(mut requests) = self.subscribe(subject).await else { return };
        while let Some(mut message) = requests.next().await {
            let data = std::mem::take(&mut message.payload);
            handle(PeerRequest { data, message, client: self.client.clone() });
        }
    }

    pub(super) async fn subscribe(&self, subject: String) -> Option<Subscriber> {
        match self.client.subscribe(subject.clone()).await {
            Ok(subscriber) => Some(subscriber),
            Err(error) => {
                tracing::error!(%error, subject, "cannot subscribe to the other hubs");
                None
            }
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
