//! Active subscriptions of the Mercure protocol: an update when one begins and ends, and a list of all.
//!
//! Promises: a subscription whose begin was published gets its end published, also if the hub is killed
//! meanwhile: the next start, or another hub of the cluster, publishes it, if retention has kept the begin.

use super::last_values::{off_thread, read_stream};
use super::own_streams::NodeName;
use super::supervisor::SourceHandle;
use crate::access::Dialect;
use crate::event::topic::{PublishedUpdate, UPDATES, Update};
use crate::event::{Draft, Invalid, Key};
use crate::journal::{History, Item, PublishError, Publisher, now};
use crate::source::error::SourceError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Characters that are encoded in a variable of a path (RFC 6570 §3.2.2).
const VARIABLE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Maximum number of ends in one unit.
const MAX_ENDS: usize = 1_000;
/// Size of the ends in one unit, in bytes, from which on it is full.
const MAX_UNIT_BYTES: usize = 256 * 1024;
/// Overhead of an update in the publish queue, in bytes.
const OVERHEAD_BYTES: usize = 256;

/// A subscription: one matcher of one subscriber.
#[derive(Clone, PartialEq, Debug)]
pub struct ActiveSubscription {
    /// Dialect of its documents.
    pub dialect: Dialect,
    /// Name of the kind of matcher.
    pub match_type: &'static str,
    /// The matcher.
    pub matcher: String,
    /// IRI of the subscriber.
    pub subscriber: String,
    /// Payload of the subscriber's token.
    pub payload: Option<Value>,
}

/// Active subscriptions of this hub. Cheap to clone.
#[derive(Clone)]
pub struct Subscriptions(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    node: NodeName,
    /// Path of the hub.
    path: String,
    state: Mutex<State>,
    has_ended: Notify,
}

#[derive(Default)]
struct State {
    /// Active subscriptions by their topic.
    active: BTreeMap<String, ActiveSubscription>,
    /// Ends that are not published yet. There are no more than subscriptions whose begin was published.
    ended: Vec<End>,
}

/// End of a subscription that is not published yet.
#[derive(Clone)]
struct End {
    topic: String,
    document: Value,
    /// Name of the hub that had the subscription. Whichever hub publishes the end, the update is the same.
    hub: Option<String>,
}

/// Ends the subscriptions of a session when it is dropped.
pub struct SubscriptionGuard {
    subscriptions: Subscriptions,
    topics: Vec<String>,
}

impl ActiveSubscription {
    /// Returns the topic of its updates, which is also the path of its document.
    pub fn topic(&self, hub_path: &str) -> String {
        let matcher = encoded(&self.matcher);
        let subscriber = encoded(&self.subscriber);
        match self.dialect {
            Dialect::One => {
                format!("{hub_path}/subscriptions/{}/{matcher}/{subscriber}", self.match_type)
            }
            Dialect::Zero => format!("{hub_path}/subscriptions/{matcher}/{subscriber}"),
        }
    }

    /// Returns its document (Mercure protocol, "Subscription Events").
    pub fn document(&self, hub_path: &str, is_active: bool) -> Value {
        let id = self.topic(hub_path);
        let mut document = match self.dialect {
            Dialect::One => json!({
                "id": id,
                "type": "subscription",
                "match_type": self.match_type,
                "match": self.matcher,
                "subscriber": self.subscriber,
                "active": is_active,
            }),
            Dialect::Zero => json!({
                "@context": "https://mercure.rocks/",
                "id": id,
                "type": "Subscription",
                "topic": self.matcher,
                "subscriber": self.subscriber,
                "active": is_active,
            }),
        };
        if let Some(payload) = &self.payload {
            document["payload"] = payload.clone();
        }
        document
    }
}

/// Returns a text as the value of a variable in a path.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, VARIABLE).to_string()
}

impl Subscriptions {
    /// Creates an empty list. `path` is that of the hub.
    pub fn new(publisher: Publisher, node: NodeName, path: String) -> Self {
        Self(Arc::new(Inner {
            publisher,
            node,
            path,
            state: Mutex::default(),
            has_ended: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes that the subscriptions of a session begin. They end when the guard is dropped.
    pub async fn begin(
        &self,
        subscriptions: Vec<ActiveSubscription>,
    ) -> Result<SubscriptionGuard, PublishError> {
        let documents = subscriptions.iter().map(|one| one.document(&self.0.path, true));
        let topics: Vec<_> = subscriptions.iter().map(|one| one.topic(&self.0.path)).collect();
        let unit: Result<Vec<_>, Invalid> = topics
            .iter()
            .zip(documents)
            .map(|(topic, document)| Self::draft(topic, &document, self.0.node.name()))
            .map(|draft| draft.map(Item::Event))
            .collect();
        let unit = unit.map_err(|invalid| PublishError::TooLarge(invalid.detail))?;
        self.state().active.extend(topics.iter().cloned().zip(subscriptions));
        let mut guard = SubscriptionGuard { subscriptions: self.clone(), topics };
        let bytes = unit.iter().map(|item| OVERHEAD_BYTES + item.data_bytes()).sum();
        match self.0.publisher.publish(unit, bytes).await {
            Ok(_) => Ok(guard),
            Err(error) => {
                if !matches!(error, PublishError::Unconfirmed | PublishError::Poisoned(_)) {
                    guard.forget();
                }
                // Otherwise the begin may be published, and the end follows.
                Err(error)
            }
        }
    }

    /// Returns the update about a subscription of a hub.
    fn draft(topic: &str, document: &Value, hub: Option<&str>) -> Result<Draft, Invalid> {
        let update = PublishedUpdate {
            topics: vec![topic.to_owned()],
            data: document.to_string(),
            ..PublishedUpdate::default()
        };
        let is_typed = document["type"] == "subscription";
        update.into_hub_draft(is_typed, hub, now())
    }

    /// Returns the documents of the active subscriptions that a filter selects, by their topics.
    pub fn documents(&self, selects: impl Fn(&ActiveSubscription) -> bool) -> Vec<Value> {
        let state = self.state();
        let selected = state.active.values().filter(|one| selects(one));
        selected.map(|one| one.document(&self.0.path, true)).collect()
    }

    /// Publishes ends until the hub stops; at first those of an earlier process.
    pub async fn run(self, source: SourceHandle, history: Arc<History>) -> Result<(), SourceError> {
        let (own, node) = (self.clone(), self.0.node.name().map(str::to_owned));
        let left = off_thread(move || own.left_active(&history, node.as_deref())).await?;
        self.state().ended.extend(left);
        loop {
            let ended = self.take_ended();
            if ended.is_empty() {
                self.0.has_ended.notified().await;
                continue;
            }
            let drafts: Result<Vec<_>, Invalid> = ended.iter().map(End::draft).collect();
            match source.publish_with_retry(drafts?).await {
                Ok(()) => {}
                Err(error @ (PublishError::Refused(_) | PublishError::TooLarge(_))) => {
                    tracing::warn!(%error, count = ended.len(), "refused the ends of subscriptions");
                }
                Err(error) => {
                    // The next run begins with them.
                    self.state().ended.extend(ended);
                    return Err(error.into());
                }
            }
        }
    }

    /// Takes ends for one unit.
    fn take_ended(&self) -> Vec<End> {
        let mut state = self.state();
        let mut bytes = 0;
        let count = state.ended.iter().take(MAX_ENDS).take_while(|end| {
            let is_within = bytes < MAX_UNIT_BYTES;
            bytes += 2 * end.topic.len() + end.document.to_string().len();
            is_within
        });
        let count = count.count();
        state.ended.drain(..count).collect()
    }

    /// Publishes the ends of the subscriptions of a hub that is gone.
    pub fn end_those_of(&self, history: &History, node: &NodeName) -> Result<(), SourceError> {
        let left = self.left_active(history, node.name())?;
        self.state().ended.extend(left);
        self.0.has_ended.notify_one();
        Ok(())
    }

    /// Returns the ends of the subscriptions of a hub that are active in the journal and not here.
    fn left_active(&self, history: &History, node: Option<&str>) -> Result<Vec<End>, SourceError> {
        let prefix = format!("{}/subscriptions/", self.0.path);
        let mut left = BTreeMap::new();
        read_stream(history, UPDATES, &mut |entry| {
            let update = Update::of(entry).filter(|update| update.hub() == node);
            let Some(update) = update else { return };
            let topic = update.topics().next().filter(|topic| topic.starts_with(&prefix));
            let (Some(topic), Ok(document)) = (topic, serde_json::from_slice::<Value>(update.data))
            else {
                return;
            };
            match document["active"].as_bool() {
                Some(true) => drop(left.insert(topic.to_owned(), document)),
                _ => drop(left.remove(topic)),
            }
        })?;
        // A subscription of this process is listed before its begin is published.
        let state = self.state();
        left.retain(|topic, _| !state.active.contains_key(topic));
        let end = |(topic, mut document): (String, Value)| {
            document["active"] = json!(false);
            End { topic, document, hub: node.map(str::to_owned) }
        };
        Ok(left.into_iter().map(end).collect())
    }
}

impl End {
    /// Returns the update. Several hubs may publish it; only the first one counts.
    fn draft(&self) -> Result<Draft, Invalid> {
        let hash = xxhash_rust::xxh3::xxh3_128(self.topic.as_bytes());
        let key = Key::parse("key", &format!("end of {hash:032x}"))?;
        let draft = Subscriptions::draft(&self.topic, &self.document, self.hub.as_deref())?;
        Ok(draft.with_key(Some(key)))
    }
}

impl SubscriptionGuard {
    /// Removes the subscriptions from the list without an end, because their begin was not published.
    fn forget(&mut self) {
        let mut state = self.subscriptions.state();
        for topic in self.topics.drain(..) {
            state.active.remove(&topic);
        }
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        let mut state = self.subscriptions.state();
        for topic in &self.topics {
            if let Some(ended) = state.active.remove(topic) {
                let document = ended.document(&self.subscriptions.0.path, false);
                let hub = self.subscriptions.0.node.name().map(str::to_owned);
                state.ended.push(End { topic: topic.clone(), document, hub });
            }
        }
        drop(state);
        self.subscriptions.0.has_ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(dialect: Dialect) -> ActiveSubscription {
        ActiveSubscription {
            dialect,
            match_type: "urlpattern",
            matcher: "https://example.com/:selector%".to_owned(),
            subscriber: "urn:uuid:1".to_owned(),
            payload: Some(json!({ "foo": "bar" })),
        }
    }

    #[test]
    fn documents_have_the_form_of_their_dialect() {
        let matcher = "https%3A%2F%2Fexample.com%2F%3Aselector%25";
        let one = subscription(Dialect::One).document("/.well-known/mercure", true);
        let id = format!("/.well-known/mercure/subscriptions/urlpattern/{matcher}/urn%3Auuid%3A1");
        assert_eq!(
            one,
            json!({
                "id": id, "type": "subscription", "match_type": "urlpattern",
                "match": "https://example.com/:selector%", "subscriber": "urn:uuid:1",
                "active": true, "payload": { "foo": "bar" },
            })
        );
        let zero = subscription(Dialect::Zero).document("/hub", false);
        assert_eq!(zero["id"], format!("/hub/subscriptions/{matcher}/urn%3Auuid%3A1"));
        assert_eq!((&zero["type"], &zero["active"]), (&json!("Subscription"), &json!(false)));
    }
}
