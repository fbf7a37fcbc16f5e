//! A new log for a cluster whose log cannot be continued.

use super::chain::ChainLink;
use super::connection::{connect, epoch_of, is_missing};
use super::error::LogError;
use super::report::HubReport;
use super::settings::ClusterSettings;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, Stream};
use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// Time for which reports are awaited: hubs that run report once a second.
const REPORTS_FOR: Duration = Duration::from_millis(3_500);

/// State of a log, compared with the copy of a hub that has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogComparison {
    /// There is no log.
    Missing,
    /// The log has other ids.
    OtherEpoch {
        /// Last message of the log.
        end: u64,
    },
    /// The log has fewer messages than the copy.
    Behind {
        /// Last message of the log.
        end: u64,
    },
    /// The log has another message in the place of the last one of the copy.
    Diverged {
        /// Last message of the log.
        end: u64,
    },
    /// The log has all that the copy has.
    Continues {
        /// Last message of the log.
        end: u64,
    },
    /// The log begins after the end of the copy.
    LeftBehind {
        /// First message of the log.
        first: u64,
    },
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
            if let Ok(report) = serde_json::from_slice::<HubReport>(&message.payload)
                && !report.is_leaving
            {
                running.insert(report.node);
            }
        }
        Ok(running)
    }

    /// Compares the log with a copy that ends with `last` and has ids of `epoch`.
    pub async fn compare(&self, last: ChainLink, epoch: u32) -> Result<LogComparison, LogError> {
        let mut stream = match self.context.get_stream(&self.settings.name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => return Ok(LogComparison::Missing),
            Err(error) => return Err(self.failed("find", &error)),
        };
        let info = stream.info().await.map_err(|error| self.failed("read", &error))?;
        let (first, end) = (info.state.first_sequence, info.state.last_sequence);
        if epoch_of(&info.config) != Some(epoch) {
            return Ok(LogComparison::OtherEpoch { end });
        }
        if end < last.sequence {
            return Ok(LogComparison::Behind { end });
        }
        if first > last.sequence {
            let is_next = first == last.sequence + 1;
            let left_behind = LogComparison::LeftBehind { first };
            return Ok(if is_next { LogComparison::Continues { end } } else { left_behind });
        }
        let is_same = self.has(&stream, last).await?;
        Ok(if is_same { LogComparison::Continues { end } } else { LogComparison::Diverged { end } })
    }

    async fn has(&self, stream: &Stream, link: ChainLink) -> Result<bool, LogError> {
        let message = stream.get_raw_message(link.sequence).await;
        let message = message.map_err(|error| self.failed("read", &error))?;
        Ok(link.covers(&message.payload))
    }

    /// Deletes the log, and creates a new one that begins with message `first` and has ids of `epoch`.
    pub async fn begin(&self, epoch: u32, first: u64) -> Result<(), LogError> {
        let name = &self.settings.name;
        match self.context.get_stream(name).await {
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(self.failed("find", &error)),
            Ok(_) => {
                let deleted = self.context.delete_stream(name).await;
                deleted.map_err(|error| {
                    let hint = "an account that may not delete it never gets an answer";
                    self.failed("delete", &format!("{error} ({hint})"))
                })?;
            }
        }
        let config = Config { first_sequence: Some(first), ..self.settings.config(epoch) };
        let created = self.context.create_stream(config).await;
        created.map(drop).map_err(|error| self.failed("create", &error))
    }

    fn failed(&self, action: &'static str, error: &dyn std::fmt::Display) -> LogError {
        let (stream, reason) = (self.settings.name.clone(), error.to_string());
        LogError::Stream { action, stream, reason }
    }
}
