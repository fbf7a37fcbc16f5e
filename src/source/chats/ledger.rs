//! All known chats, and their records on `hub.chats`, from which they are restored after a restart.
//!
//! Promises: the record of a new chat and its first event are one unit, and so are its last event,
//! its end and the record of the end. So a key never starts a second run, whenever the hub is
//! killed.

use super::chat::{Chat, ChatSetup, Progress};
use crate::event::{Body, Entry, StreamName, Timestamp};
use crate::limits::{Bound, Client, Limit, Limits, Usage};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Maximum number of known chats, including deleted ones that are remembered for their keys: some
/// hundred bytes each.
const MAX_KNOWN: usize = 400_000;

/// Record of a change of a chat.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Record {
    /// A chat was created.
    Begun {
        chat: String,
        owner: Option<String>,
        model: String,
        created_ms: u64,
        fingerprint: String,
        /// Hash of the idempotency key.
        key: Option<String>,
    },
    /// The chat ended.
    Ended {
        chat: String,
        outcome: String,
        at_ms: u64,
        /// True if a part of it must not be shown.
        is_redacted: bool,
    },
    /// The history of the chat is deleted.
    Deleted { chat: String, at_ms: u64 },
}

impl Record {
    /// Returns the record in an entry, if there is one.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        match &entry.body {
            Body::Event { payload, .. } => serde_json::from_slice(payload.as_bytes()).ok(),
            Body::Created | Body::End(_) => None,
        }
    }

    pub(super) fn begun(chat: &Chat) -> Self {
        Self::Begun {
            chat: chat.id.clone(),
            owner: chat.owner.as_deref().map(str::to_owned),
            model: chat.model.clone(),
            created_ms: chat.created.ms(),
            fingerprint: chat.fingerprint.clone(),
            key: chat.key.clone(),
        }
    }
}

/// Returns the subject whose limit a chat counts towards: its owner, or the address of the client.
/// For a client on the hub's own machine there is a limit only if it is set explicitly.
pub(super) fn limit_subject(
    owner: Option<&Arc<str>>,
    client: &Client,
    limits: &Limits,
) -> Option<Arc<str>> {
    let is_set = limits.hub.get(Limit::ChatsPerSubject).is_some_and(|bound| bound.is_explicit);
    let by_address = || format!("client {}", client.key()).into();
    owner.cloned().or_else(|| (is_set || !client.is_local).then(by_address))
}

/// Owner and idempotency key.
type KeyOf = (Option<Arc<str>>, String);

/// Usage of a limit.
#[derive(Default)]
struct LimitUsage {
    now: u64,
    peak: u64,
    refusals: u64,
}

/// The known chats.
#[derive(Default)]
pub(super) struct Ledger {
    chats: HashMap<String, Arc<Chat>>,
    keys: HashMap<KeyOf, String>,
    running: LimitUsage,
    of_subject: LimitUsage,
    by_subject: HashMap<Arc<str>, u64>,
    pub(super) is_stopping: bool,
}

impl Ledger {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Chat>> {
        self.chats.get(id)
    }

    /// Returns the chat that was created with a key.
    pub(super) fn by_key(&self, owner: Option<&Arc<str>>, key: &str) -> Option<&Arc<Chat>> {
        let id = self.keys.get(&(owner.cloned(), key.to_owned()))?;
        self.chats.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Chat>> {
        self.chats.values()
    }

    /// Returns the chats that this hub runs or has run.
    pub(super) fn own(&self) -> impl Iterator<Item = &Arc<Chat>> {
        self.all().filter(|chat| chat.is_own())
    }

    /// Returns true if another chat may be created.
    pub(super) fn has_room(&self) -> bool {
        self.chats.len() < MAX_KNOWN
    }

    /// Adds a running chat. Fails with the limit and its maximum if that is reached.
    pub(super) fn reserve(
        &mut self,
        chat: &Arc<Chat>,
        limits: &Limits,
    ) -> Result<(), (Limit, u64)> {
        let over = |bound: Option<Bound>, used: u64| {
            bound.filter(|bound| used >= bound.max).map(|bound| bound.max)
        };
        if let Some(most) = over(limits.hub.get(Limit::Chats), self.running.now) {
            self.running.refusals += 1;
            return Err((Limit::Chats, most));
        }
        if let Some(subject) = &chat.counted_as {
            let mine = self.by_subject.entry(subject.clone()).or_insert(0);
            if let Some(most) = over(limits.hub.get(Limit::ChatsPerSubject), *mine) {
                self.of_subject.refusals += 1;
                return Err((Limit::ChatsPerSubject, most));
            }
            *mine += 1;
            self.of_subject.peak = self.of_subject.peak.max(*mine);
        }
        self.running.now += 1;
        self.running.peak = self.running.peak.max(self.running.now);
        self.add(chat);
        Ok(())
    }

    fn add(&mut self, chat: &Arc<Chat>) {
        if let Some(key) = &chat.key {
            self.keys.insert((chat.owner.clone(), key.clone()), chat.id.clone());
        }
        self.chats.insert(chat.id.clone(), chat.clone());
    }

    /// Removes a chat from the running ones.
    pub(super) fn release(&mut self, chat: &Chat) {
        self.running.now = self.running.now.saturating_sub(1);
        if let Some(subject) = &chat.counted_as
            && let Some(mine) = self.by_subject.get_mut(subject)
        {
            *mine -= 1;
            if *mine == 0 {
                self.by_subject.remove(subject);
            }
        }
    }

    /// Forgets a chat.
    pub(super) fn forget(&mut self, chat: &Chat) {
        self.chats.remove(&chat.id);
        if let Some(key) = &chat.key {
            let key = (chat.owner.clone(), key.clone());
            // The key may belong to another chat by now.
            if self.keys.get(&key).is_some_and(|id| *id == chat.id) {
                self.keys.remove(&key);
            }
        }
    }

    pub(super) fn running(&self) -> u64 {
        self.running.now
    }

    /// Returns the use of the limits on chats.
    pub(super) fn usage(&self, limits: &Limits) -> Vec<Usage> {
        let most_of_one = self.by_subject.values().copied().max().unwrap_or_default();
        let of = |limit: Limit, used: &LimitUsage, now: u64| Usage {
            limit: limit.as_str(),
            streams: None,
            max: limits.hub.get(limit).map(|bound| bound.max),
            r#use: Some(now),
            peak: Some(used.peak),
            refusals: used.refusals,
        };
        vec![
            of(Limit::Chats, &self.running, self.running.now),
            of(Limit::ChatsPerSubject, &self.of_subject, most_of_one),
        ]
    }

    /// Applies a record of an earlier run of the hub, or of another hub, whose records are on the stream
    /// `foreign`. Chats without an end remain [`Progress::Begun`].
    pub(super) fn restore(&mut self, record: Record, foreign: Option<&StreamName>) {
        match record {
            Record::Begun { chat, .. } if foreign.is_some() && self.chats.contains_key(&chat) => {}
            Record::Begun { chat, owner, model, created_ms, fingerprint, key } => {
                let beginning = ChatSetup {
                    id: chat,
                    owner: owner.map(Arc::from),
                    counted_as: None,
                    model,
                    created: Timestamp::from_ms(created_ms),
                    fingerprint,
                    key,
                    is_adoptable: false,
                    stops_without_readers: false,
                    foreign: foreign.cloned(),
                };
                if let Some(chat) = Chat::new(beginning, Progress::Begun) {
                    // Redacted until the record of its end says otherwise.
                    chat.is_redacted.store(true, Ordering::Release);
                    self.add(&chat);
                }
            }
            Record::Ended { chat, at_ms, is_redacted, .. } => {
                if let Some(chat) = self.chats.get(&chat) {
                    chat.is_redacted.store(is_redacted, Ordering::Release);
                    let over = Progress::Over(Timestamp::from_ms(at_ms), None);
                    chat.progress.send_replace(over);
                }
            }
            Record::Deleted { chat, at_ms } => {
                if let Some(chat) = self.chats.get(&chat) {
                    chat.set_deleted(Timestamp::from_ms(at_ms));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(id: &str, owner: Option<&str>, key: Option<&str>) -> Arc<Chat> {
        let beginning = ChatSetup {
            id: id.into(),
            owner: owner.map(Arc::from),
            counted_as: owner.map(Arc::from),
            model: "m".into(),
            created: Timestamp::from_ms(1),
            fingerprint: "f".into(),
            key: key.map(str::to_owned),
            is_adoptable: false,
            stops_without_readers: false,
            foreign: None,
        };
        Chat::new(beginning, Progress::Beginning).expect("a chat")
    }

    fn limits(all: u64, of_one: u64) -> Limits {
        let mut limits = Limits::default();
        for (limit, most) in [(Limit::Chats, all), (Limit::ChatsPerSubject, of_one)] {
            limits.hub.set(limit, Some(Bound { max: most, is_explicit: true }));
        }
        limits
    }

    #[test]
    fn running_chats_are_limited_and_free_their_slots() {
        let (mut ledger, limits) = (Ledger::default(), limits(3, 2));
        let one = chat("1", Some("a"), None);
        assert_eq!(ledger.reserve(&one, &limits), Ok(()));
        assert_eq!(ledger.reserve(&chat("2", Some("a"), None), &limits), Ok(()));
        let refused = ledger.reserve(&chat("3", Some("a"), None), &limits);
        assert_eq!(refused, Err((Limit::ChatsPerSubject, 2)));
        assert_eq!(ledger.reserve(&chat("4", None, None), &limits), Ok(()));
        assert_eq!(ledger.reserve(&chat("5", Some("b"), None), &limits), Err((Limit::Chats, 3)));
        ledger.release(&one);
        assert_eq!(ledger.reserve(&chat("6", Some("a"), None), &limits), Ok(()));
        let used: Vec<_> =
            ledger.usage(&limits).iter().map(|u| (u.r#use, u.peak, u.refusals)).collect();
        assert_eq!(used, [(Some(3), Some(3), 1), (Some(2), Some(2), 1)]);
    }

    #[test]
    fn keys_belong_to_an_owner_and_are_restored() {
        let mut ledger = Ledger::default();
        let limits = Limits::default();
        let chat = chat("1", Some("a"), Some("k"));
        ledger.reserve(&chat, &limits).expect("no limit");
        let record = serde_json::to_vec(&Record::begun(&chat)).expect("JSON");
        let mut other = Ledger::default();
        other.restore(serde_json::from_slice(&record).expect("a record"), None);
        for ledger in [&ledger, &other] {
            assert!(ledger.by_key(Some(&"a".into()), "k").is_some());
            assert!(
                ledger.by_key(Some(&"b".into()), "k").is_none()
                    && ledger.by_key(None, "k").is_none()
            );
        }
        other.restore(
            Record::Ended {
                chat: "1".into(),
                outcome: "done".into(),
                at_ms: 9,
                is_redacted: false,
            },
            None,
        );
        assert_eq!(other.get("1").expect("there").ended(), Some(Timestamp::from_ms(9)));
        ledger.forget(&chat);
        assert!(ledger.by_key(Some(&"a".into()), "k").is_none());
    }
}
