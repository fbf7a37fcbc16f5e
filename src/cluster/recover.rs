//! A new log for a cluster whose log cannot be continued.

use super::connection::{connect, epoch_of, is_missing};
use super::error::LogError;
use super::report::HubReport;
use super::settings::ClusterSettings;
use async_nats::jetstream::context::{Context, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Time for which reports are awaited: hubs that run report once a second.
const REPORTS_FOR: Duration = Duration::from_millis(3_500);
/// Time within which the servers do what they have not confirmed.
const DONE_WITHIN: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(500);

/// A log, as the servers have it.
#[derive(Debug)]
pub struct FoundLog {
    /// Epoch of its ids.
    pub epoch: u32,
    /// First message, or the one after the last if there is none.
    pub first: u64,
    /// Last message.
    pub end: u64,
    /// Number of messages.
    pub messages: u64,
    /// Content of the message with the number that was asked for, or of the last one if that is earlier; `None`
    /// if the servers do not have it.
    pub content: Option<Bytes>,
}

/// A connection to the servers, to compare and replace the log.
pub struct LogRecovery {
    context: Context,
    settings: ClusterSettings,
}

impl LogRecovery {
    /// Connects to the servers.
    pub async fn connect(settings: &ClusterSettings) -> Result<Self, LogError> {
        Ok(Self { context: connect(settings).await?, settings: settings.clone() })
    }

    /// Returns the names of the hubs that run.
    pub async fn running_hubs(&self) -> Result<BTreeSet<String>, LogError> {
        let subject = format!("{}.report", self.settings.name);
        let client = self.context.client();
        let subscribed = client.subscribe(subject).await;
        let mut reports = subscribed.map_err(|error| self.failed("read reports of", &error))?;
        let mut running = BTreeSet::new();
        let deadline = tokio::time::Instant::now() + REPORTS_FOR;
        while let Ok(Some(message)) = tokio::time::timeout_at(deadline, reports.next()).await {
            match serde_json::from_slice::<HubReport>(&message.payload) {
                Ok(report) if report.is_leaving => running.remove(&report.node),
                Ok(report) => running.insert(report.node),
                Err(_) => running.insert("a hub of another version".to_owned()),
            };
        }
        Ok(running)
    }

    /// Returns the log with its message `number`; `None` if there is none. Fails if a stream with its name is not
    /// the log of a cluster. While the servers elect a leader, requests get lost, so that they are repeated.
    pub async fn find(&self, number: u64) -> Result<Option<FoundLog>, LogError> {
        let began = Instant::now();
        loop {
            match self.try_find(number).await {
                Err(error @ LogError::Lost { .. }) if began.elapsed() < DONE_WITHIN => {
                    tracing::debug!(%error, "the servers did not answer; asking them again");
                    tokio::time::sleep(POLL).await;
                }
                found => return found,
            }
        }
    }

    async fn try_find(&self, number: u64) -> Result<Option<FoundLog>, LogError> {
        let mut stream = match self.context.get_stream(&self.settings.name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) if error.kind() == GetStreamErrorKind::Request => {
                return Err(self.lost("find", &error));
            }
            Err(error) => return Err(self.failed("find", &error)),
        };
        let info = stream.info().await.map_err(|error| self.lost("read", &error))?.clone();
        let is_log = info.config.subjects == [self.settings.subject()];
        let Some(epoch) = epoch_of(&info.config).filter(|_| is_log) else {
            return Err(self.failed("use", &"it is not the log of a cluster of hubs"));
        };
        let (first, end) = (info.state.first_sequence, info.state.last_sequence);
        let content = match stream.get_raw_message(number.min(end)).await {
            Ok(message) => Some(message.payload),
            Err(error) if error.kind() == LastRawMessageErrorKind::Other => {
                return Err(self.lost("read", &error));
            }
            Err(_) => None,
        };
        Ok(Some(FoundLog { epoch, first, end, messages: info.state.messages, content }))
    }

    /// Deletes the log that was found, and creates a new one that begins with message `first` and has ids of
    /// `epoch`. While the servers elect a leader, requests and answers may get lost, so that they are repeated until
    /// the log is as it should be. Fails if another process replaces it meanwhile.
    pub async fn begin(
        &self,
        found: Option<&FoundLog>,
        epoch: u32,
        first: u64,
    ) -> Result<(), LogError> {
        let name = &self.settings.name;
        let delete = async || {
            let deleted = self.context.delete_stream(name).await;
            let hint = "an account that may not delete it never gets an answer";
            deleted.map(drop).map_err(|error| self.failed("delete", &format!("{error} ({hint})")))
        };
        self.repeat_until(found.map(|log| log.epoch), None, delete).await?;
        let config = Config { first_sequence: Some(first), ..self.settings.config(epoch) };
        let create = async || {
            let created = self.context.create_stream(config.clone()).await;
            created.map(drop).map_err(|error| self.failed("create", &error))
        };
        self.repeat_until(None, Some(epoch), create).await
    }

    /// Repeats a request until it has changed the epoch of the log; there is none without a log.
    async fn repeat_until(
        &self,
        before: Option<u32>,
        after: Option<u32>,
        request: impl AsyncFn() -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let began = Instant::now();
        let mut failure = None;
        loop {
            match self.epoch().await {
                Ok(found) if found == after => return Ok(()),
                Ok(found) if found == before => failure = request().await.err(),
                Ok(_) => {
                    let reason = "another process has replaced it meanwhile; run this again";
                    return Err(self.failed("replace", &reason));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
            if began.elapsed() >= DONE_WITHIN {
                return failure.map_or(Ok(()), Err);
            }
            if failure.is_some() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Returns the epoch of the log, if there is one.
    async fn epoch(&self) -> Result<Option<u32>, LogError> {
        match self.context.get_stream(&self.settings.name).await {
            Ok(stream) => Ok(epoch_of(&stream.cached_info().config)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failed("find", &error)),
        }
    }

    fn lost(&self, action: &'static str, error: &dyn std::fmt::Display) -> LogError {
        let (stream, reason) = (self.settings.name.clone(), error.to_string());
        LogError::Lost { action, stream, reason }
    }

    fn failed(&self, action: &'static str, error: &dyn std::fmt::Display) -> LogError {
        let (stream, reason) = (self.settings.name.clone(), error.to_string());
        LogError::Stream { action, stream, reason }
    }
}
