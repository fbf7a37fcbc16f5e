//! A handle to the log, for one thread.

use super::chain::ChainLink;
use super::connection::{OpenedStream, connect, open_stream};
use super::error::LogError;
use super::peers::Peers;
use super::settings::ClusterSettings;
use super::status::LogStatus;
use super::tail::Tail;
use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::context::Context;
use bytes::Bytes;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TryRecvError};

/// Maximum number of messages that were read and wait to be applied.
const MAX_WAITING_MESSAGES: usize = 16;
/// Maximum number of appends that wait for their acknowledgement.
const MAX_WAITING_APPENDS: usize = 16;
/// Room for the headers of a message.
const HEADER_BYTES: usize = 1024;
/// Time for which a start waits for the servers.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Time after which an append is repeated that was not acknowledged.
const ACK_TIMEOUT: Duration = Duration::from_millis(500);
/// Time within which an acknowledged message is read.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Interval at which an append checks whether it may begin.
const RECHECK_AFTER: Duration = Duration::from_millis(20);
/// Pause before an append is repeated whose outcome is unknown.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A message of the log.
#[derive(Debug)]
pub struct LogMessage {
    /// Number of the message, consecutive, and the hash of all messages up to it.
    pub link: ChainLink,
    /// Time at which the log stored it, in milliseconds since 1970.
    pub time_ms: u64,
    /// Content.
    pub data: Bytes,
}

/// A message to append.
struct Append {
    id: String,
    data: Bytes,
}

/// A connection to the log. Its tasks run on a thread of their own, which ends when this is dropped.
pub struct Log {
    stream: OpenedStream,
    max_payload_bytes: usize,
    node: String,
    status: Arc<LogStatus>,
    peers: Peers,
    start: Option<SyncSender<Start>>,
    appends: Option<Sender<Append>>,
    messages: Option<Receiver<Result<LogMessage, LogError>>>,
}

/// Input of the tasks.
struct Start {
    last: ChainLink,
    wake: Box<dyn Fn() + Send>,
    appends: Receiver<Append>,
    messages: Sender<Result<LogMessage, LogError>>,
}

impl Log {
    /// Connects, and checks the stream. Creates it, unless this hub is a member of the cluster already.
    pub fn open(settings: ClusterSettings, is_member: bool) -> Result<Self, LogError> {
        let (start, started) = std::sync::mpsc::sync_channel(1);
        let (opened, result) = std::sync::mpsc::sync_channel(1);
        let node = settings.node.clone();
        let status = Arc::new(LogStatus::default());
        let tasks = Tasks { settings, is_member, status: status.clone() };
        let thread = std::thread::Builder::new().name("log".into());
        thread
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                match runtime.map_err(LogError::Thread) {
                    Ok(runtime) => runtime.block_on(tasks.run(&opened, &started)),
                    Err(error) => drop(opened.send(Err(error))),
                }
            })
            .map_err(LogError::Thread)?;
        let (stream, peers) = result.recv().unwrap_or(Err(LogError::Stopped))?;
        Ok(Self {
            stream,
            max_payload_bytes: peers.max_message_bytes(),
            peers,
            node,
            status,
            start: Some(start),
            appends: None,
            messages: None,
        })
    }

    /// Returns the epoch of the ids of all events in the log.
    pub fn epoch(&self) -> u32 {
        self.stream.epoch
    }

    /// Returns the number of the first message that is stored, when the log was opened.
    pub fn first(&self) -> u64 {
        self.stream.first
    }

    /// Returns the maximum size of a message, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_payload_bytes - HEADER_BYTES
    }

    /// Returns the name of this hub.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns a handle to the other hubs.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the state of the log.
    pub fn status(&self) -> &Arc<LogStatus> {
        &self.status
    }

    /// Begins to read after message `last`, and to append. `wake` is called when there is something to
    /// read.
    pub fn start(&mut self, last: ChainLink, wake: impl Fn() + Send + 'static) {
        let Some(start) = self.start.take() else { return };
        let (sender, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let (appends, receiver) = mpsc::channel(MAX_WAITING_APPENDS);
        let command = Start { last, wake: Box::new(wake), appends: receiver, messages: sender };
        // Without its thread, the first read fails.
        let _ = start.send(command);
        (self.appends, self.messages) = (Some(appends), Some(messages));
    }

    /// Begins to append a message. It is repeated with the same id until the log has it. Fails if too many
    /// wait.
    pub fn append(&mut self, id: String, data: Bytes) -> Result<(), LogError> {
        let appends = self.appends.as_ref().ok_or(LogError::Stopped)?;
        appends.try_send(Append { id, data }).map_err(|_| LogError::Stopped)
    }

    /// Returns the next message, or `None` if there is none yet.
    pub fn read(&mut self) -> Result<Option<LogMessage>, LogError> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        match messages.try_recv() {
            Ok(message) => message.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(LogError::Stopped),
        }
    }
}

/// The tasks of the thread.
struct Tasks {
    settings: ClusterSettings,
    is_member: bool,
    status: Arc<LogStatus>,
}

impl Tasks {
    /// Connects, reports the epoch, and reads and appends once it is started.
    async fn run(
        self,
        opened: &SyncSender<Result<(OpenedStream, Peers), LogError>>,
        started: &std::sync::mpsc::Receiver<Start>,
    ) {
        let (context, stream) = match open(&self.settings, self.is_member).await {
            Ok(opened) => opened,
            Err(error) => return drop(opened.send(Err(error))),
        };
        let peers = Peers::new(context.client(), &self.settings);
        let _ = opened.send(Ok((stream, peers)));
        // The journal is opened meanwhile, for which the connection is not needed.
        let Ok(Start { last, wake, appends, messages }) = started.recv() else { return };
        let Self { settings, status, .. } = self;
        status.update(|state| state.answered_at = Instant::now());
        let is_over = messages.clone();
        let append = append_all(context.clone(), settings.clone(), appends, status.clone());
        let epoch = stream.epoch;
        let tail = Tail { context, settings, epoch, last, messages, wake, status };
        tokio::select! {
            // Without a reader, nothing may be appended.
            () = tail.read() => is_over.closed().await,
            () = append => {}
            () = is_over.closed() => {}
        }
    }
}

/// Connects, and opens the stream. The servers may be starting, too.
async fn open(
    settings: &ClusterSettings,
    is_member: bool,
) -> Result<(Context, OpenedStream), LogError> {
    let began = Instant::now();
    loop {
        let result = async {
            let context = connect(settings).await?;
            let stream = open_stream(&context, settings, is_member).await?;
            Ok((context, stream))
        };
        match result.await {
            Err(error @ (LogError::Connect { .. } | LogError::Stream { .. }))
                if began.elapsed() < OPEN_WITHIN =>
            {
                let cause = error.source().map(ToString::to_string);
                tracing::warn!(%error, cause, "waiting for the log of the cluster");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            result => return result,
        }
    }
}

/// Appends messages one after the other, which keeps their order. Each is repeated until it was read: a
/// server that acknowledges a message may still lose it.
async fn append_all(
    context: Context,
    settings: ClusterSettings,
    mut waiting: Receiver<Append>,
    status: Arc<LogStatus>,
) {
    while let Some(append) = waiting.recv().await {
        status.set_awaited(&append.id);
        loop {
            while !status.state().may_append() {
                tokio::time::sleep(RECHECK_AFTER).await;
            }
            let failure = tokio::select! {
                () = status.until_read_back() => break,
                failure = append_once(&context, &settings, &append) => failure,
            };
            // Whether the log has the message is unknown; with the same id it is not stored twice.
            status.update(|state| state.repeated_appends += 1);
            tracing::warn!(reason = failure, id = append.id, "repeating an append to the log");
            tokio::select! {
                () = status.until_read_back() => break,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
    }
}

/// Appends a message, and returns why it has to be appended again.
async fn append_once(context: &Context, settings: &ClusterSettings, append: &Append) -> String {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, append.id.as_str());
    headers.insert(NATS_EXPECTED_STREAM, settings.name.as_str());
    let acknowledged = async {
        context.publish_with_headers(settings.subject(), headers, append.data.clone()).await?.await
    };
    match tokio::time::timeout(ACK_TIMEOUT, acknowledged).await {
        Ok(Ok(_)) => {
            tokio::time::sleep(READ_WITHIN).await;
            "it was acknowledged and not read".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it was not acknowledged".to_owned(),
    }
}
