//! Chats: streams `chat.{id}`, each filled by one call of a model.
//!
//! Promises: a run belongs to the hub and not to a request; the output of a chat is in the journal
//! and read only from there; a key has one run, also across a restart; a chat has exactly one end.
//! Never: logs content, or lets an upstream wait for a reader.

mod answer;
mod chat;
mod endpoint;
mod event_batcher;
mod failure;
#[cfg(feature = "cluster")]
mod follow;
mod janitor;
mod ledger;
mod permits;
mod restore;
mod run;
mod spec;
mod stored;

pub use chat::{Chat, Progress, Reader, StopBy};
pub use spec::{ChatSettings, ECHO, Kind, Timeouts, Upstream, UpstreamKey};

use super::own_streams::{CHAT_PREFIX, CHATS_STREAM, NodeName};
use super::publish_with_retry::publish_with_retry;
use crate::event::{Position, StreamName};
use crate::journal::{History, Item, PublishError, Publisher, now};
use crate::limits::{Client, Limit, Limits, Usage};
use crate::source::error::SourceError;
use crate::telemetry::{ChatMetrics, Telemetry};
use crate::wire::chat::{ChatEvent, ChatRequest, Transcript};
use arc_swap::ArcSwap;
use chat::ChatSetup;
use endpoint::Endpoints;
use event_batcher::{EventBatcher, item, publish};
use failure::outcome;
use ledger::{Ledger, Record, limit_subject};
use permits::UpstreamPermits;
use run::Run;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The chats of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Chats(Arc<Inner>);

struct Inner {
    settings: Arc<ChatSettings>,
    publisher: Publisher,
    history: Arc<History>,
    /// Stream of the records of the chats of this hub.
    records: Option<StreamName>,
    node: NodeName,
    limits: Arc<ArcSwap<Limits>>,
    metrics: ChatMetrics,
    endpoints: Arc<Endpoints>,
    permits: Arc<UpstreamPermits>,
    ledger: Mutex<Ledger>,
}

/// A request to create a chat.
pub struct CreateChat {
    /// Request to the model.
    pub ask: ChatRequest,
    /// Owner.
    pub owner: Option<Arc<str>>,
    /// Client.
    pub client: Client,
    /// Hash of the idempotency key.
    pub key: Option<String>,
    /// True if a repeated request takes the chat over from a client that is gone.
    pub is_adoptable: bool,
    /// True if the chat stops after a minute without readers.
    pub stops_without_readers: bool,
    /// True if no new chat may be created: unless the key is known, the chat to continue is gone.
    pub must_exist: bool,
}

/// A chat that was created, or existed already.
pub struct CreatedChat {
    /// The chat.
    pub chat: Arc<Chat>,
    /// True if the key was known.
    pub replayed: bool,
}

/// Reason why no chat was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateChatError {
    /// The model does not exist.
    #[error("unknown model {0:?}")]
    UnknownModel(String),
    /// The key was used for another request.
    #[error("the Idempotency-Key was used with another request")]
    KeyTaken,
    /// The chat to continue is deleted or never existed.
    #[error("the chat to resume no longer exists")]
    Gone,
    /// The maximum number of chats is stored or remembered.
    #[error("the maximum number of stored chats is reached")]
    TooManyKnown,
    /// The maximum number of chats is running.
    #[error("{limit} ({1}) reached: too many chats are running", limit = .0.as_str())]
    AtMost(Limit, u64),
    /// The first event was refused.
    #[error(transparent)]
    Refused(#[from] PublishError),
}

impl Chats {
    /// Creates the chats of a hub, without any chat yet.
    pub fn new(
        settings: ChatSettings,
        publisher: Publisher,
        history: Arc<History>,
        node: NodeName,
        limits: Arc<ArcSwap<Limits>>,
        telemetry: &Telemetry,
    ) -> Result<Self, reqwest::Error> {
        let metrics = telemetry.chats();
        settings.upstream_names().for_each(|name| metrics.register_upstream(name));
        Ok(Self(Arc::new(Inner {
            permits: Arc::new(UpstreamPermits::new(&settings.upstreams)),
            endpoints: Arc::new(Endpoints::new(&settings)?),
            settings: Arc::new(settings),
            publisher,
            history,
            records: node.stream(CHATS_STREAM).ok(),
            node,
            limits,
            metrics,
            ledger: Mutex::default(),
        })))
    }

    /// Creates a chat. Returns once its first event is in the journal. If the key is known, returns
    /// the chat that was created with it.
    pub async fn create(&self, wanted: CreateChat) -> Result<CreatedChat, CreateChatError> {
        let model = self.model_of(&wanted.ask)?;
        let (chat, ask, replayed) = self.reserve(wanted, model)?;
        if let Some(ask) = ask {
            // A separate task: the run continues even if the request is dropped.
            tokio::spawn(self.clone().run(chat.clone(), ask));
        }
        let is_begun = |progress: &Progress| !matches!(progress, Progress::Beginning);
        match chat.until(is_begun).await {
            Progress::Refused(why) => Err(why.into()),
            _ if chat.is_deleted() => Err(CreateChatError::Gone),
            _ => Ok(CreatedChat { chat, replayed }),
        }
    }

    fn model_of(&self, ask: &ChatRequest) -> Result<String, CreateChatError> {
        let models = self.0.settings.models();
        let found = match &ask.model {
            Some(name) => models.iter().find(|(model, _)| model == name),
            None => models.first(),
        };
        let unknown = || CreateChatError::UnknownModel(ask.model.clone().unwrap_or_default());
        found.map(|(model, _)| (*model).to_owned()).ok_or_else(unknown)
    }

    /// Adds a running chat and returns it with its request; or returns the chat of a known key,
    /// without a request and with true.
    fn reserve(
        &self,
        wanted: CreateChat,
        model: String,
    ) -> Result<(Arc<Chat>, Option<ChatRequest>, bool), CreateChatError> {
        let CreateChat { ask, owner, key, .. } = wanted;
        let mut ledger = self.ledger();
        let known = key.as_ref().and_then(|key| ledger.by_key(owner.as_ref(), key));
        if let Some(chat) = known {
            return if chat.fingerprint == ask.fingerprint {
                Ok((chat.clone(), None, true))
            } else {
                Err(CreateChatError::KeyTaken)
            };
        }
        if wanted.must_exist {
            return Err(CreateChatError::Gone);
        }
        if ledger.is_stopping {
            return Err(PublishError::Draining.into());
        }
        if !ledger.has_room() {
            return Err(CreateChatError::TooManyKnown);
        }
        let limits = self.0.limits.load();
        let beginning = ChatSetup {
            id: Uuid::new_v4().simple().to_string(),
            counted_as: limit_subject(owner.as_ref(), &wanted.client, &limits),
            owner,
            model,
            created: now(),
            fingerprint: ask.fingerprint.clone(),
            key,
            is_adoptable: wanted.is_adoptable,
            stops_without_readers: wanted.stops_without_readers,
            foreign: None,
        };
        let chat = Chat::new(beginning, Progress::Beginning).ok_or(CreateChatError::Gone)?;
        let entered = ledger.reserve(&chat, &limits);
        entered.map_err(|(limit, most)| CreateChatError::AtMost(limit, most))?;
        self.0.metrics.running(ledger.running());
        Ok((chat, Some(ask), false))
    }

    async fn run(self, chat: Arc<Chat>, ask: ChatRequest) {
        let publisher = self.0.publisher.clone();
        let begun = publish(&publisher, self.first_unit(&chat, &ask)).await;
        if let Err(why) = begun {
            let mut ledger = self.ledger();
            ledger.forget(&chat);
            ledger.release(&chat);
            self.0.metrics.running(ledger.running());
            chat.progress.send_replace(Progress::Refused(why));
            return;
        }
        chat.progress.send_replace(Progress::Begun);
        let run = Run {
            chat: chat.clone(),
            ask,
            endpoints: self.0.endpoints.clone(),
            settings: self.0.settings.clone(),
            permits: self.0.permits.clone(),
            metrics: self.0.metrics.clone(),
        };
        let mut batcher = EventBatcher::new(publisher, chat.stream.clone());
        let last = run.run(&mut batcher).await;
        self.end(&chat, batcher.take(), last).await;
        {
            let mut ledger = self.ledger();
            ledger.release(&chat);
            self.0.metrics.running(ledger.running());
        }
        self.0.metrics.record_readers(chat.most_readers());
    }

    fn first_unit(&self, chat: &Chat, ask: &ChatRequest) -> Vec<Item> {
        let start = ChatEvent::Start {
            chat: chat.id.clone(),
            model: chat.model.clone(),
            created: chat.created.ms() / 1000,
            metadata: ask.metadata.clone(),
            messages: self.0.settings.keeps_prompts.then(|| ask.messages().clone()),
        };
        let record = self.record(chat, &Record::begun(chat));
        record.into_iter().chain(item(&chat.stream, &start)).collect()
    }

    /// Returns a record of a chat as an item of the stream of its records.
    fn record(&self, chat: &Chat, record: &Record) -> Option<Item> {
        item(chat.foreign.as_ref().or(self.0.records.as_ref())?, record)
    }

    /// Publishes the remaining events of a chat, its end and the record of the end, as soon as the
    /// journal accepts them.
    async fn end(&self, chat: &Chat, rest: Vec<Item>, last: Vec<ChatEvent>) {
        let at = now();
        let end = last.last().cloned();
        let outcome = end.as_ref().map_or("error", outcome);
        let record = Record::Ended {
            chat: chat.id.clone(),
            outcome: outcome.to_owned(),
            at_ms: at.ms(),
            is_redacted: chat.is_redacted(),
        };
        let mut unit = rest;
        unit.extend(last.iter().filter_map(|event| item(&chat.stream, event)));
        unit.push(Item::End(chat.stream.clone()));
        unit.extend(self.record(chat, &record));
        let waits = |why: &PublishError| {
            tracing::warn!(
                chat = chat.id,
                error = %why,
                "failed to publish the end of a chat; trying again"
            );
        };
        if let Err(why) = publish_with_retry(&self.0.publisher, unit, waits).await {
            tracing::warn!(
                chat = chat.id,
                error = %why,
                "failed to publish the end of a chat; the next start ends it"
            );
        }
        let upstream = self.0.settings.upstream_name(&chat.model);
        self.0.metrics.ended(upstream, outcome);
        let ms = at.ms().saturating_sub(chat.created.ms());
        match &end {
            Some(ChatEvent::Error { upstream_status, .. }) => tracing::warn!(
                chat = chat.id,
                outcome,
                upstream,
                upstream_status,
                model = chat.model,
                ms,
                "chat failed"
            ),
            _ => tracing::info!(
                chat = chat.id,
                outcome,
                upstream,
                model = chat.model,
                ms,
                "chat ended"
            ),
        }
        chat.progress.send_replace(Progress::Over(at, end));
    }

    /// Returns the chat with an id.
    pub fn find(&self, id: &str) -> Option<Arc<Chat>> {
        self.ledger().get(id).cloned()
    }

    /// Returns true if a stream belongs to a chat, even if the chat does not exist.
    pub fn is_of_chat(&self, stream: &StreamName) -> bool {
        stream.as_str().starts_with(CHAT_PREFIX)
    }

    /// Returns the chat of a stream.
    pub fn of_stream(&self, stream: &StreamName) -> Option<Arc<Chat>> {
        self.find(stream.as_str().strip_prefix(CHAT_PREFIX)?)
    }

    /// Takes over a chat with the same owner and the same request, whose client has not received
    /// all of it: the newest one without readers, or else the newest.
    pub fn adopt(
        &self,
        owner: Option<&Arc<str>>,
        fingerprint: &str,
    ) -> Option<(Arc<Chat>, Reader)> {
        let ledger = self.ledger();
        let is_it = |chat: &&Arc<Chat>| {
            chat.is_adoptable
                && chat.owner.as_ref() == owner
                && chat.fingerprint == fingerprint
                && chat.may_be_taken_over()
        };
        let mut found: Vec<&Arc<Chat>> = ledger.all().filter(is_it).collect();
        found.sort_by_cached_key(|chat| (chat.has_readers(), std::cmp::Reverse(chat.created)));
        let adopted = found.into_iter().find_map(|chat| Some((chat.clone(), chat.take_over()?)))?;
        self.0.metrics.adopted();
        Some(adopted)
    }

    /// Stops a chat, if it runs.
    pub fn stop(&self, chat: &Chat, by: StopBy) {
        chat.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(by);
            is_first
        });
    }

    /// Reads a chat up to a position, or all of it so far. May wait for the disk.
    pub fn transcript(
        history: &History,
        chat: &Chat,
        until: Option<Position>,
    ) -> Result<Transcript, SourceError> {
        stored::transcript(history, &chat.stream, until)
    }

    /// Returns all models and the names of their owners, the default model first.
    pub fn models(&self) -> Vec<(String, String)> {
        let models = self.0.settings.models();
        models.into_iter().map(|(model, of)| (model.to_owned(), of.to_owned())).collect()
    }

    /// Returns the maximum size of a request, in bytes.
    pub fn max_request_bytes(&self) -> usize {
        self.0.settings.max_request_bytes
    }

    /// Returns the time for which a chat is kept after its end.
    pub fn kept(&self) -> Duration {
        self.0.settings.kept
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &ChatMetrics {
        &self.0.metrics
    }

    /// Returns the use of the limits on chats.
    pub fn usage(&self) -> Vec<Usage> {
        self.ledger().usage(&self.0.limits.load())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
