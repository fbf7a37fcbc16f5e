//! One chat: who has it, how far it is, and who reads it.

use crate::event::{StreamName, Timestamp};
use crate::journal::{PublishError, now};
use crate::wire::chat::ChatEvent;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// How long an answer that nobody took is there for a repeated request.
const TAKEN_OVER_WITHIN_MS: u64 = 60_000;
/// What the streams of chats begin with.
pub(super) const STREAMS: &str = "chat.";

/// How far a chat is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Its first event is on its way to the journal.
    Beginning,
    /// That was refused, and there is no chat.
    Refused(PublishError),
    /// The upstream is being asked.
    Begun,
    /// The upstream has begun to answer.
    Answered,
    /// It has ended, so: `None` where that was before the hub was started.
    Over(Timestamp, Option<ChatEvent>),
}

impl Progress {
    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over(..) | Self::Refused(_))
    }
}

/// How somebody wants a chat to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopBy {
    /// Somebody who may.
    User,
    /// Nobody has read it for too long.
    NoReaders,
    /// It is deleted.
    Deleted,
    /// The hub stops.
    Hub,
}

/// One chat.
#[derive(Debug)]
pub struct Chat {
    /// Its name, which nobody guesses: 32 hexadecimal digits.
    pub id: String,
    /// Its stream.
    pub stream: StreamName,
    /// Whose it is; `None` for those who showed nothing.
    pub owner: Option<Arc<str>>,
    /// Among whose running ones it counts.
    pub(super) counted_as: Option<Arc<str>>,
    /// Of which model.
    pub model: String,
    /// When it was begun.
    pub created: Timestamp,
    /// What was asked.
    pub fingerprint: String,
    /// The hash of the key that it was begun with.
    pub(super) key: Option<String>,
    /// Whether a repeated request of a client whose first one broke takes it over.
    pub(super) is_adoptable: bool,
    /// Whether it stops when nobody reads it.
    pub(super) stops_alone: bool,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) stop: watch::Sender<Option<StopBy>>,
    /// Held by whoever deletes it.
    pub(super) deletion: tokio::sync::Mutex<()>,
    /// The ticket that whoever began it was given, and until when it opens.
    pub ticket: OnceLock<(String, String)>,
    /// Whether a part of it may not be shown any more.
    pub(super) is_redacted: AtomicBool,
    readers: Mutex<Readers>,
}

/// Who reads a chat.
#[derive(Debug)]
struct Readers {
    now: usize,
    peak: usize,
    /// Since when nobody does.
    none_since: Option<Instant>,
    /// Whether somebody was sent all of it.
    is_taken: bool,
    is_deleted: Option<Timestamp>,
}

/// What a chat is begun as.
pub(super) struct ChatSetup {
    pub(super) id: String,
    pub(super) owner: Option<Arc<str>>,
    pub(super) counted_as: Option<Arc<str>>,
    pub(super) model: String,
    pub(super) created: Timestamp,
    pub(super) fingerprint: String,
    pub(super) key: Option<String>,
    pub(super) is_adoptable: bool,
    pub(super) stops_alone: bool,
}

impl Chat {
    /// `None` where its id makes no name of a stream.
    pub(super) fn new(of: ChatSetup, progress: Progress) -> Option<Arc<Self>> {
        let ChatSetup { id, owner, counted_as, model, created, fingerprint, key, .. } = of;
        let readers = Readers {
            now: 0,
            peak: 0,
            none_since: Some(Instant::now()),
            is_taken: false,
            is_deleted: None,
        };
        Some(Arc::new(Self {
            stream: StreamName::parse(&format!("{STREAMS}{id}")).ok()?,
            id,
            owner,
            counted_as,
            model,
            created,
            fingerprint,
            key,
            is_adoptable: of.is_adoptable,
            stops_alone: of.stops_alone,
            progress: watch::Sender::new(progress),
            stop: watch::Sender::new(None),
            deletion: tokio::sync::Mutex::default(),
            ticket: OnceLock::new(),
            is_redacted: AtomicBool::new(false),
            readers: Mutex::new(readers),
        }))
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until it is so far.
    pub async fn until(&self, is_enough: impl Fn(&Progress) -> bool) -> Progress {
        let mut progress = self.progress.subscribe();
        match progress.wait_for(is_enough).await {
            Ok(progress) => progress.clone(),
            // The chat itself keeps the other end.
            Err(_) => self.progress(),
        }
    }

    /// When it ended, if it has.
    pub fn ended(&self) -> Option<Timestamp> {
        match &*self.progress.borrow() {
            Progress::Over(at, _) => Some(*at),
            _ => None,
        }
    }

    /// Whether a part of it may not be shown any more.
    pub fn is_redacted(&self) -> bool {
        self.is_redacted.load(Ordering::Acquire)
    }

    /// Whether its history has been deleted.
    pub fn is_deleted(&self) -> bool {
        self.readers().is_deleted.is_some()
    }

    pub(super) fn deleted(&self) -> Option<Timestamp> {
        self.readers().is_deleted
    }

    pub(super) fn set_deleted(&self, at: Timestamp) {
        self.readers().is_deleted = Some(at);
    }

    /// Somebody reads it.
    pub fn read(self: &Arc<Self>) -> Reader {
        self.readers().enter();
        Reader(self.clone())
    }

    /// Whether it runs, or has just ended well: what failed or was stopped is asked anew.
    pub(super) fn may_be_taken_over(&self) -> bool {
        match &*self.progress.borrow() {
            Progress::Beginning | Progress::Begun | Progress::Answered => true,
            Progress::Over(at, Some(ChatEvent::Done { .. })) => {
                now().ms() < at.ms().saturating_add(TAKEN_OVER_WITHIN_MS)
            }
            Progress::Over(..) | Progress::Refused(_) => false,
        }
    }

    /// Takes it over for a repeated request, unless somebody was sent all of it. A reader that is
    /// there may be the first request, whose connection is gone without a word.
    pub(super) fn take_over(self: &Arc<Self>) -> Option<Reader> {
        let mut readers = self.readers();
        if readers.is_taken || readers.is_deleted.is_some() {
            return None;
        }
        readers.enter();
        Some(Reader(self.clone()))
    }

    /// Returns true while somebody reads it.
    pub(super) fn has_readers(&self) -> bool {
        self.readers().now > 0
    }

    /// How long nobody has read it.
    pub(super) fn alone_since(&self) -> Option<Instant> {
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

/// Somebody who reads a chat, until this is dropped.
#[derive(Debug)]
pub struct Reader(Arc<Chat>);

impl Reader {
    /// They were sent all of it.
    pub fn acknowledge_all(&self) {
        self.0.readers().is_taken = true;
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
    /// The word that clients read.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::NoReaders => "no_readers",
            Self::Deleted => "deleted",
            Self::Hub => "hub",
        }
    }
}
