//! Reads the log in its order, from its leader.
//!
//! A reader begins with the message that was applied last, whose content must be the same: a log that was
//! rolled back and has grown again is detected before anything of it is applied. Messages come from the
//! server that leads the log, because another one may be behind or damaged.

use super::chain::ChainLink;
use super::connection::check_same;
use super::error::LogError;
use super::log::LogMessage;
use super::settings::ClusterSettings;
use super::status::LogStatus;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull::{Config, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{ClusterInfo, Info, Stream};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

/// Interval of heartbeats of the server; without two of them the consumer is created again.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Time after which a request for messages is repeated.
const REQUEST_EXPIRES: Duration = Duration::from_secs(2);
/// Maximum number of messages of a request.
const REQUEST_MESSAGES: usize = 1_000;
/// Maximum bytes of a request, more than a message has.
const REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Time after which the server deletes a consumer without requests.
const INACTIVE: Duration = Duration::from_secs(30);
/// Maximum times for the steps of an attempt to begin to read: during an election no server answers, and a long
/// wait would last beyond it. Later they are longer, because the servers may be slow.
const EARLY: StepTimes =
    StepTimes { find: Duration::from_millis(400), consume: Duration::from_secs(1) };
const LATE: StepTimes = StepTimes { find: Duration::from_secs(5), consume: Duration::from_secs(5) };
const EARLY_FOR: Duration = Duration::from_secs(10);
/// Pause before a failed read is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Maximum number of consumers that are created until one is at the leader of the log. The server
/// places each at random.
const MAX_PLACEMENTS: usize = 24;
/// Number of consumers that are created at a time.
const PARALLEL_PLACEMENTS: usize = 3;
/// Interval at which the state of the log is read.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time without contact after which a server that stores the log counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Maximum times for the steps of an attempt to begin to read.
#[derive(Clone, Copy)]
struct StepTimes {
    /// To find the server that leads the log.
    find: Duration,
    /// To create a consumer there.
    consume: Duration,
}

/// The log and the place of its reader.
pub(super) struct Tail {
    pub(super) context: Context,
    pub(super) settings: ClusterSettings,
    pub(super) epoch: u32,
    /// Last message that was read.
    pub(super) last: ChainLink,
    pub(super) messages: Sender<Result<LogMessage, LogError>>,
    pub(super) wake: Box<dyn Fn() + Send>,
    pub(super) status: Arc<LogStatus>,
}

/// Reason why reading ended.
enum Interrupted {
    /// The server did not answer, or another one leads.
    Retry(String),
    /// The log is not the one that was read before.
    Stop(LogError),
    /// The journal reads no more messages.
    Closed,
}

fn retry(error: &dyn std::fmt::Display) -> Interrupted {
    Interrupted::Retry(error.to_string())
}

impl Tail {
    /// Sends the messages after the last one, and calls `wake` after each. Ends with an error if the log
    /// does not continue there, or when the receiver is gone.
    pub(super) async fn read(mut self) {
        let mut since = Instant::now();
        loop {
            let times = if since.elapsed() < EARLY_FOR { EARLY } else { LATE };
            let interrupted = self.read_on(times).await;
            if self.status.state().is_checked {
                since = Instant::now();
            }
            match interrupted {
                Interrupted::Closed => return,
                Interrupted::Retry(reason) => {
                    let last = self.last.sequence;
                    let is_known = self.status.state().problem.as_ref() == Some(&reason);
                    if !is_known {
                        tracing::warn!(reason, last, "reading the log was interrupted");
                    }
                    self.status.update(|state| {
                        state.restarts += 1;
                        state.is_checked = false;
                        state.problem = Some(reason);
                    });
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Interrupted::Stop(error) => {
                    self.status.update(|state| state.problem = Some(error.to_string()));
                    let _ = self.messages.send(Err(error)).await;
                    (self.wake)();
                    return;
                }
            }
        }
    }

    /// Reads with one consumer.
    async fn read_on(&mut self, times: StepTimes) -> Interrupted {
        let (stream, first, leader, messages) = match self.begin(times).await {
            Ok(begun) => begun,
            Err(interrupted) => return interrupted,
        };
        let watch =
            watch(stream.clone(), self.settings.clone(), self.epoch, leader, self.status.clone());
        tokio::select! {
            interrupted = self.read_messages(stream, first, messages) => interrupted,
            interrupted = watch => interrupted,
        }
    }

    /// Returns the stream, its first message, its leader, and the messages of a consumer there.
    async fn begin(
        &self,
        times: StepTimes,
    ) -> Result<(Stream, u64, Option<String>, Messages), Interrupted> {
        let silent = |_| Interrupted::Retry("no server leads the log".to_owned());
        // Only the leader answers.
        let found = timeout(times.find, self.context.get_stream(&self.settings.name)).await;
        let stream = found.map_err(silent)?.map_err(|error| retry(&error))?;
        let info = stream.cached_info();
        record(&self.status, info);
        self.check(info)?;
        self.check_end(info)?;
        let (first, leader) = (info.state.first_sequence, leader_of(info.cluster.as_ref()));
        let consumed = timeout(times.consume, self.consume(&stream, leader.as_deref())).await;
        let messages = consumed.map_err(silent)??;
        Ok((stream, first, leader, messages))
    }

    /// Fails if the stream is not the one that this hub has joined.
    fn check(&self, info: &Info) -> Result<(), Interrupted> {
        check_same(&self.settings, &info.config, self.epoch).map_err(Interrupted::Stop)
    }

    /// Fails if the log ends before the last message, or begins after the one that follows it.
    fn check_end(&self, info: &Info) -> Result<(), Interrupted> {
        let (state, last) = (&info.state, self.last.sequence);
        if state.last_sequence < last {
            // A former leader that is cut off answers so, too. If the log has lost messages, the content of
            // the last one shows it once the log has grown again.
            let error = LogError::Behind { end: state.last_sequence, applied: last };
            self.status.update(|state| state.is_behind = true);
            return Err(Interrupted::Retry(error.to_string()));
        }
        self.status.update(|state| state.is_behind = false);
        if state.first_sequence > last + 1 {
            let error = LogError::Gap { last, found: state.first_sequence };
            return Err(Interrupted::Stop(error));
        }
        Ok(())
    }

    /// Creates a consumer at the leader that begins with the last message. The servers place each at random, and
    /// one may be placed at a server that does not answer, so that several are created at a time.
    async fn consume(
        &self,
        stream: &Stream,
        leader: Option<&str>,
    ) -> Result<Messages, Interrupted> {
        let create = || stream.create_consumer(self.consumer_config());
        let mut creations: FuturesUnordered<_> =
            (0..PARALLEL_PLACEMENTS).map(|_| create()).collect();
        let mut failure = None;
        for _ in 0..MAX_PLACEMENTS {
            let consumer = match creations.next().await {
                Some(Ok(consumer)) => consumer,
                Some(Err(error)) => {
                    failure = Some(retry(&error));
                    continue;
                }
                None => break,
            };
            let info = consumer.cached_info();
            // A server without a cluster names no leader.
            let at = leader_of(info.cluster.as_ref());
            if at.is_some() && at.as_deref() != leader {
                creations.push(create());
                let (stream, name) = (stream.clone(), info.name.clone());
                // If this fails, the server deletes it when it has been idle.
                tokio::spawn(async move { drop(stream.delete_consumer(&name).await) });
                continue;
            }
            let messages = consumer
                .stream()
                .max_messages_per_batch(REQUEST_MESSAGES)
                .max_bytes_per_batch(REQUEST_BYTES)
                .heartbeat(HEARTBEAT)
                .expires(REQUEST_EXPIRES)
                .messages();
            return messages.await.map_err(|error| retry(&error));
        }
        let misplaced = "the servers place no consumer at the leader of the log";
        Err(failure.unwrap_or_else(|| Interrupted::Retry(misplaced.to_owned())))
    }

    fn consumer_config(&self) -> Config {
        Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.last.sequence.max(1),
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        }
    }

    /// Records that the log has what this hub has applied, which `count` messages have shown.
    fn verified(&self, count: u64) {
        self.status.update(|state| {
            state.verified += count;
            state.is_checked = true;
            state.problem = None;
        });
    }

    /// Reads until something is wrong. `first` is the first message of the log.
    async fn read_messages(
        &mut self,
        mut stream: Stream,
        first: u64,
        mut messages: Messages,
    ) -> Interrupted {
        // The last message may have left the log, or be none.
        let mut is_verified = first > self.last.sequence || self.last.sequence == 0;
        if is_verified {
            self.verified(0);
        }
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => return retry(&error),
            };
            let (sequence, time) = match message.info() {
                Ok(info) => (info.stream_sequence, info.published),
                Err(error) => return retry(&error),
            };
            let id = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID));
            let id = id.map(|id| id.as_str().to_owned());
            let data = message.message.payload;
            if sequence == self.last.sequence && !is_verified {
                if !self.last.covers(&data) {
                    return Interrupted::Stop(LogError::Diverged { sequence });
                }
                is_verified = true;
                self.verified(1);
                continue;
            }
            if sequence != self.last.sequence + 1 || !is_verified {
                return self.gap(&mut stream, sequence).await;
            }
            let Ok(permit) = self.messages.reserve().await else { return Interrupted::Closed };
            self.last = self.last.next(&data);
            let time = (time.unix_timestamp_nanos() / 1_000_000) as u64;
            permit.send(Ok(LogMessage { link: self.last, time_ms: time, data }));
            self.status.read_back(id.as_deref());
            (self.wake)();
        }
        Interrupted::Retry("the consumer ended".to_owned())
    }

    /// Returns whether messages before `found` have left the log, or the server could only not read them.
    async fn gap(&self, stream: &mut Stream, found: u64) -> Interrupted {
        let last = self.last.sequence;
        match stream.info().await {
            Ok(info) if info.state.first_sequence > last + 1 => {
                Interrupted::Stop(LogError::Gap { last, found })
            }
            Ok(_) => Interrupted::Retry(format!(
                "the server sent message {found} after {last}, although it stores those between"
            )),
            Err(error) => retry(&error),
        }
    }
}

/// Watches the log until another server leads it or it is another stream.
async fn watch(
    mut stream: Stream,
    settings: ClusterSettings,
    epoch: u32,
    leader: Option<String>,
    status: Arc<LogStatus>,
) -> Interrupted {
    loop {
        match timeout(WATCH_INTERVAL * 2, stream.info()).await {
            Ok(Ok(info)) => {
                if let Err(error) = check_same(&settings, &info.config, epoch) {
                    return Interrupted::Stop(error);
                }
                record(&status, info);
                let now = leader_of(info.cluster.as_ref());
                if now.is_some() && now != leader {
                    return Interrupted::Retry("another server leads the log".to_owned());
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the log does not answer"),
            Err(_) => tracing::debug!("the log does not answer"),
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// Records the state of the log.
fn record(status: &LogStatus, info: &Info) {
    let replicas = info.cluster.as_ref().map_or(&[][..], |cluster| &cluster.replicas);
    let stale = replicas.iter().filter(|peer| !peer.current || peer.offline);
    let stale: Vec<String> = stale.map(|peer| peer.name.clone()).collect();
    let lost = replicas.iter().filter(|peer| peer.offline || peer.active > LOST_AFTER).count();
    let has_majority = (replicas.len() + 1 - lost) * 2 > replicas.len() + 1;
    let leader = leader_of(info.cluster.as_ref());
    status.update(|state| {
        state.record_end(info.state.last_sequence);
        state.stale_servers = stale;
        if has_majority && (leader.is_some() || replicas.is_empty()) {
            state.answered_at = Instant::now();
        }
        state.leader = leader;
    });
}

fn leader_of(cluster: Option<&ClusterInfo>) -> Option<String> {
    cluster.and_then(|cluster| cluster.leader.clone())
}
