//! A chat: its owner, its progress, and its readers.

use super::super::own_streams::CHAT_PREFIX;
use crate::event::{StreamName, Timestamp};
use crate::journal::{PublishError, now};
use crate::wire::chat::ChatEvent;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Time for which an answer that no reader was sent completely is available to a repeated request,
/// in milliseconds.
const TAKEN_OVER_WITHIN_MS: u64 = 60_000;

/// Progress of a chat.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The first event is being published.
    Beginning,
    /// The first event was refused, and there is no chat.
    Refused(PublishError),
    /// The first event is published, and the upstream has not answered yet.
    Begun,
    /// The upstream has started to answer.
    Answered,
    /// The chat has ended, with this event; `None` if that was before the start of the hub.
    Over(Timestamp, Option<ChatEvent>),
}

impl Progress {
    /// Returns true if no event follows.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over(..) | Self::Refused(_))
    }
}

/// Reason for stopping a chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopBy {
    /// A caller that may change it stopped it.
    User,
    /// The chat had no readers for too long.
    NoReaders,
    /// The chat is deleted.
    Deleted,
    /// The hub stops.
    Hub,
}

/// A chat.
#[derive(Debug)]
pub struct Chat {
    /// Id, which cannot be guessed: 32 hexadecimal digits.
    pub id: String,
    /// Stream of its events.
    pub stream: StreamName,
    /// Owner; `None` for anonymous callers.
    pub owner: Option<Arc<str>>,
    /// Subject whose limit it counts towards while it runs.
    pub(super) counted_as: Option<Arc<str>>,
    /// Model.
    pub model: String,
    /// Time of creation.
    pub created: Timestamp,
    /// Fingerprint of the request.
    pub fingerprint: String,
    /// Hash of the idempotency key that it was created with.
    pub(super) key: Option<String>,
    /// True if a repeated request takes the chat over from a client whose connection broke.
    pub(super) is_adoptable: bool,
    /// True if it stops when it has no readers.
    pub(super) stops_without_readers: bool,
    /// Stream of its records, if another hub of the cluster runs it.
    pub(super) foreign: Option<StreamName>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) stop: watch::Sender<Option<StopBy>>,
    /// Held while the chat is deleted.
    pub(super) deletion: tokio::sync::Mutex<()>,
    /// Ticket that its creator was given, and the time at which it expires.
    pub ticket: OnceLock<(String, String)>,
    /// True if a part of it must no longer be shown.
    pub(super) is_redacted: AtomicBool,
    readers: Mutex<Readers>,
}

/// Readers of a chat.
#[derive(Debug)]
struct Readers {
    now: usize,
    peak: usize,
    /// Time since which there is no reader.
    none_since: Option<Instant>,
    /// True once a reader was sent all of it.
    was_read_completely: bool,
    is_deleted: Option<Timestamp>,
}

/// Properties of a new chat.
pub(super) struct ChatSetup {
    pub(super) id: String,
    pub(super) owner: Option<Arc<str>>,
    pub(super) counted_as: Option<Arc<str>>,
    pub(super) model: String,
    pub(super) created: Timestamp,
    pub(super) fingerprint: String,
    pub(super) key: Option<String>,
    pub(super) is_adoptable: bool,
    pub(super) stops_without_readers: bool,
    pub(super) foreign: Option<StreamName>,
}

impl Chat {
    /// Creates a chat; `None` if the id is not valid in a stream name.
    pub(super) fn new(of: ChatSetup, progress: Progress) -> Option<Arc<Self>> {
        let ChatSetup { id, owner, counted_as, model, created, fingerprint, key, .. } = of;
        let readers = Readers {
            now: 0,
            peak: 0,
            none_since: Some(Instant::now()),
            was_read_completely: false,
            is_deleted: None,
        };
        Some(Arc::new(Self {
            stream: StreamName::parse(&format!("{CHAT_PREFIX}{id}")).ok()?,
            id,
            owner,
            counted_as,
            model,
            created,
            fingerprint,
            key,
            is_adoptable: of.is_adoptable,
            stops_without_readers: of.stops_without_readers,
            foreign: of.foreign,
            progress: watch::Sender::new(progress),
            stop: watch::Sender::new(None),
            deletion: tokio::sync::Mutex::default(),
            ticket: OnceLock::new(),
            is_redacted: AtomicBool::new(false),
            readers: Mutex::new(readers),
        }))
    }

    /// Returns true if this hub runs it or has run it, and not another one of the cluster.
    pub fn is_own(&self) -> bool {
        self.foreign.is_none()
    }

    /// Returns its progress.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until `is_enough` accepts the progress, and returns it.
    pub async fn until(&self, is_enough: impl Fn(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.subscribe();
        match progress.wait_for(is_enough).await {
            Ok(progress) => progress.clone(),
            // The chat itself holds the sender, so this does not happen.
            Err(_) => self.progress(),
        }
    }

    /// Returns the time of its end, if it has ended.
    pub fn ended(&self) -> Option<Timestamp> {
        match &*self.progress.borrow() {
            Progress::Over(at, _) => Some(*at),
            _ => None,
        }
    }

    /// Returns true if a part of it must no longer be shown.
    pub fn is_redacted(&self) -> bool {
        self.is_redacted.load(Ordering::Acquire)
    }

    /// Returns true if its history was deleted.
    pub fn is_deleted(&self) -> bool {
        self.readers().is_deleted.is_some()
    }

    pub(super) fn deleted(&self) -> Option<Timestamp> {
        self.readers().is_deleted
    }

    pub(super) fn set_deleted(&self, at: Timestamp) {
        self.readers().is_deleted = Some(at);
    }

    /// Adds a reader.
    pub fn read(self: &Arc<Self>) -> Reader {
        self.readers().enter();
        Reader(self.clone())
    }

    /// Returns true if it is running or has just ended normally: failed and stopped chats are run
    /// again.
    pub(super) fn may_be_taken_over(&self) -> bool {
        match &*self.progress.borrow() {
            Progress::Beginning | Progress::Begun | Progress::Answered => true,
            Progress::Over(at, Some(ChatEvent::Done { .. })) => {
                now().ms() < at.ms().saturating_add(TAKEN_OVER_WITHIN_MS)
            }
            Progress::Over(..) | Progress::Refused(_) => false,
        }
    }

    /// Takes it over for a repeated request, unless a reader was sent all of it. A current reader
    /// may be the first request, whose connection broke unnoticed.
    pub(super) fn take_over(self: &Arc<Self>) -> Option<Reader> {
        let mut readers = self.readers();
        if readers.was_read_completely || readers.is_deleted.is_some() {
            return None;
        }
        readers.enter();
        Some(Reader(self.clone()))
    }

    /// Returns true if it has readers.
    pub(super) fn has_readers(&self) -> bool {
        self.readers().now > 0
    }

    /// Returns the time since which it has no readers.
    pub(super) fn without_readers_since(&self) -> Option<Instant> {
        self.readers().none_since
    }

    pub(super) fn most_readers(&self) -> usize {
        self.readers().peak
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    fn enter(&mut self) {
        self.now += 1;
        self.peak = self.peak.max(self.now);
        self.none_since = None;
    }
}

/// Reader of a chat, counted until this is dropped.
#[derive(Debug)]
pub struct Reader(Arc<Chat>);

impl Reader {
    /// Records that the reader was sent all of it.
    pub fn acknowledge_all(&self) {
        self.0.readers().was_read_completely = true;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.0.readers();
        readers.now -= 1;
        if readers.now == 0 {
            readers.none_since = Some(Instant::now());
        }
    }
}

impl StopBy {
    /// Returns the name that clients see.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::NoReaders => "no_readers",
            Self::Deleted => "deleted",
            Self::Hub => "hub",
        }
    }
}
