//! Updates: events with topics, all of one stream.
//!
//! The payload of such an event has the fields of the update in its first line, separated by the control
//! character US, which no field can contain; the data follows unchanged.

use super::{WILDCARD, check_clean};
use crate::event::{Body, Draft, Entry, EventType, Invalid, StreamName, Timestamp};
use std::sync::LazyLock;
use url::Url;

/// Stream of all updates. Only the hub writes to it, and no wildcard reaches it.
pub const UPDATES: &str = "hub.mercure";
/// Type of the events in it.
pub const UPDATE_TYPE: &str = "update";
/// Type of the updates about subscriptions, which only the hub publishes.
const HUB_TYPE: &str = "mercure";
/// The id that stands for the begin of the history.
pub(crate) const EARLIEST: &str = "earliest";
/// First character of the ids that the hub generates.
pub(crate) const GENERATED: char = '#';
/// Maximum number of topics of an update.
pub const MAX_TOPICS: usize = 1_000;
const SEPARATOR: char = '\u{1f}';
const PRIVATE: &str = "p";
/// Character before the name of the hub that published an update, after [`PRIVATE`].
const NODE: char = '@';

/// Returns the stream of all updates.
pub fn updates() -> &'static StreamName {
    #[expect(clippy::expect_used, reason = "a constant")]
    static NAME: LazyLock<StreamName> =
        LazyLock::new(|| StreamName::parse(UPDATES).expect("a valid name"));
    &NAME
}

/// A published update, as it was sent. Empty optional fields are absent.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PublishedUpdate {
    /// Topics; the first is the canonical one.
    pub topics: Vec<String>,
    /// Data.
    pub data: String,
    /// True if only subscribers with a grant for a topic get it.
    pub is_private: bool,
    /// Id that the publisher gave it.
    pub id: Option<String>,
    /// Type, for the line `event:`.
    pub kind: Option<String>,
    /// Reconnection time in milliseconds, as decimal digits.
    pub retry: Option<String>,
}

impl PublishedUpdate {
    /// Checks the update of a publisher and returns its event (Mercure protocol, "Publication"). `hub` is the URL
    /// of the hub.
    pub fn into_draft(self, hub: &Url, now: Timestamp) -> Result<Draft, Invalid> {
        let refuse = |field: &str, why: &str| Err(Invalid::new(field, why));
        if self.topics.is_empty() {
            return refuse("topic", "at least one topic is needed");
        }
        for topic in &self.topics {
            check_clean("topic", topic)?;
            if topic == WILDCARD {
                return refuse("topic", "\"*\" is the matcher of all topics, and no topic");
            }
            if is_reserved(topic, hub) {
                return refuse("topic", RESERVED_TOPIC);
            }
        }
        if let Some(id) = &self.id {
            check_clean("id", id)?;
            if id.starts_with(GENERATED) {
                return refuse("id", "an id that starts with \"#\" is one that the hub generates");
            }
            if id == EARLIEST {
                return refuse("id", "\"earliest\" is reserved");
            }
        }
        if let Some(kind) = &self.kind {
            check_clean("type", kind)?;
            if kind == HUB_TYPE {
                return refuse("type", "\"mercure\" is the type of updates that the hub publishes");
            }
        }
        if self.retry.as_ref().is_some_and(|retry| !retry.bytes().all(|b| b.is_ascii_digit())) {
            return refuse("retry", "a reconnection time has only digits");
        }
        self.unchecked_draft(now)
    }

    /// Returns the event of an update of the hub itself, which is private. `node` is the name of the hub in its
    /// cluster.
    pub fn into_hub_draft(
        self,
        is_typed: bool,
        node: Option<&str>,
        now: Timestamp,
    ) -> Result<Draft, Invalid> {
        let kind = is_typed.then(|| HUB_TYPE.to_owned());
        let update = Self { is_private: true, kind, ..self };
        match node {
            Some(node) => update.encode(&format!("{PRIVATE}{NODE}{node}"), now),
            None => update.unchecked_draft(now),
        }
    }

    fn unchecked_draft(self, now: Timestamp) -> Result<Draft, Invalid> {
        let flags = if self.is_private { PRIVATE } else { "" };
        self.encode(flags, now)
    }

    fn encode(self, flags: &str, now: Timestamp) -> Result<Draft, Invalid> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (id, kind, retry) = (text(&self.id), text(&self.kind), text(&self.retry));
        let mut line = [flags, &id, &kind, &retry].join(&SEPARATOR.to_string());
        for topic in &self.topics {
            line.push(SEPARATOR);
            line.push_str(topic);
        }
        line.push('\n');
        line.push_str(&self.data);
        Draft::from_text(vec![updates().clone()], EventType::parse(UPDATE_TYPE)?, &line, now)
    }
}

/// Detail of the error of a topic that only the hub may publish to.
pub(crate) const RESERVED_TOPIC: &str = "topics below the hub's own URL are reserved";

/// Returns true if a topic addresses the hub or a resource below it, on whatever host.
pub(crate) fn is_reserved(topic: &str, hub: &Url) -> bool {
    let Ok(url) = hub.join(topic) else { return false };
    let (path, hub) = (normalized(url.path()), normalized(hub.path()));
    let rest = path.strip_prefix(&hub);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a path with its characters decoded that need no encoding (RFC 3986 §6.2.2.2), and without dot segments.
fn normalized(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let mut rest = bytes.clone();
        let value = digit(rest.next()).zip(digit(rest.next()));
        let value = value.filter(|_| byte == b'%').map(|(high, low)| (high * 16 + low) as u8);
        match value {
            Some(value) if value.is_ascii_alphanumeric() || b"-._~".contains(&value) => {
                decoded.push(value);
                bytes = rest;
            }
            _ if byte == b'\\' => decoded.push(b'/'),
            _ => decoded.push(byte),
        }
    }
    let decoded = String::from_utf8_lossy(&decoded);
    let mut parts = Vec::new();
    for part in decoded.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// An update of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update<'a> {
    /// True if only subscribers with a grant for a topic get it.
    pub is_private: bool,
    /// Id that the publisher gave it.
    pub id: Option<&'a str>,
    /// Type, for the line `event:`.
    pub kind: Option<&'a str>,
    /// Reconnection time in milliseconds, as decimal digits.
    pub retry: Option<&'a str>,
    hub: Option<&'a str>,
    topics: &'a str,
    /// Data: UTF-8, as the publisher's was.
    pub data: &'a [u8],
}

impl<'a> Update<'a> {
    /// Returns the update of an entry; `None` for an entry of another stream, and for an end.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        match (&entry.streams[..], &entry.body) {
            ([stream], Body::Event { payload, .. }) if stream.as_str() == UPDATES => {
                Self::parse(payload.as_bytes())
            }
            _ => None,
        }
    }

    /// Reads a payload.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (line, data) = payload.split_at_checked(memchr::memchr(b'\n', payload)?)?;
        let (line, data) = (std::str::from_utf8(line).ok()?, data.get(1..)?);
        let mut topics = line;
        let flags = next_field(&mut topics)?;
        let mut optional = || next_field(&mut topics).map(|f| Some(f).filter(|f| !f.is_empty()));
        let (id, kind, retry) = (optional()?, optional()?, optional()?);
        let (flags, hub) = match flags.split_once(NODE) {
            Some((flags, hub)) => (flags, Some(hub)),
            None => (flags, None),
        };
        Some(Self { is_private: flags == PRIVATE, id, kind, retry, hub, topics, data })
    }

    /// Returns the topics; the first is the canonical one.
    pub fn topics(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.topics.split(SEPARATOR)
    }

    /// Returns the name of the hub that published it, if it is about a subscription at a hub of a cluster.
    pub fn hub(&self) -> Option<&'a str> {
        self.hub
    }
}

/// Takes the text before the first separator. Most fields are empty, so a search byte by byte is fastest.
fn next_field<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let end = rest.bytes().position(|byte| byte == SEPARATOR as u8)?;
    let (field, tail) = rest.split_at(end);
    *rest = tail.get(1..)?;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Url {
        Url::parse("https://hub.example/.well-known/mercure").expect("a URL")
    }

    fn update(topic: &str) -> PublishedUpdate {
        PublishedUpdate { topics: vec![topic.to_owned()], ..PublishedUpdate::default() }
    }

    fn error(update: PublishedUpdate) -> Option<String> {
        update.into_draft(&hub(), Timestamp::from_ms(0)).err().map(|invalid| invalid.field)
    }

    #[test]
    fn an_update_is_stored_and_read_unchanged() {
        let published = PublishedUpdate {
            topics: vec!["https://example.com/é?x".to_owned(), "a b".to_owned()],
            data: "1\n\u{1f}2\r\n\r3".to_owned(),
            is_private: true,
            id: Some("id-[\"x\"]".to_owned()),
            kind: Some("my type".to_owned()),
            retry: Some("0500".to_owned()),
        };
        let draft = published.clone().into_draft(&hub(), Timestamp::from_ms(0)).expect("valid");
        assert_eq!(draft.streams(), [updates().clone()]);
        let read = Update::parse(draft.payload().as_bytes()).expect("an update");
        assert_eq!(read.topics().collect::<Vec<_>>(), published.topics);
        assert_eq!((read.id, read.kind), (published.id.as_deref(), published.kind.as_deref()));
        assert_eq!((read.retry, read.data), (Some("0500"), published.data.as_bytes()));
        assert!(read.is_private && read.hub().is_none());
        let own = PublishedUpdate { retry: None, ..published };
        let own = own.into_hub_draft(true, Some("h1"), Timestamp::from_ms(0)).expect("valid");
        let read = Update::parse(own.payload().as_bytes()).expect("an update");
        assert!(read.is_private && read.hub() == Some("h1") && read.kind == Some("mercure"));
        let plain = update("a").into_draft(&hub(), Timestamp::from_ms(0)).expect("valid");
        let read = Update::parse(plain.payload().as_bytes()).expect("an update");
        assert_eq!((read.id, read.kind, read.retry, read.data), (None, None, None, &b""[..]));
        assert!(!read.is_private);
    }

    #[test]
    fn invalid_fields_are_named() {
        let with = |change: &dyn Fn(&mut PublishedUpdate)| {
            let mut changed = update("a");
            change(&mut changed);
            error(changed)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(error(PublishedUpdate::default()).as_deref(), Some("topic"));
        assert_eq!(error(update("*")).as_deref(), Some("topic"));
        assert_eq!(error(update("a\nb")).as_deref(), Some("topic"));
        for id in ["#x", "earliest", "a\u{200b}"] {
            assert_eq!(with(&|update| update.id = some(id)).as_deref(), Some("id"), "{id:?}");
        }
        for kind in ["mercure", "a\u{7f}"] {
            let found = with(&|update| update.kind = some(kind));
            assert_eq!(found.as_deref(), Some("type"), "{kind:?}");
        }
        for retry in ["1.5", "-1", " 1", "٣"] {
            let found = with(&|update| update.retry = some(retry));
            assert_eq!(found.as_deref(), Some("retry"), "{retry:?}");
        }
        assert_eq!(with(&|update| update.kind = some("error")), None);
    }

    #[test]
    fn topics_of_the_hub_are_reserved_however_they_are_spelled() {
        for reserved in [
            "/.well-known/mercure",
            "mercure/../mercure",
            "/.well-known/mercure/",
            "/.well-known/mercure/subscriptions/exact/a/b",
            "/.well-known/%6Dercure/x",
            "/.well-known/x/../mercure/x",
            "/.well-known/%2e%2e/.well-known/mercure",
            "https://other.example/.well-known/mercure",
            "https://other.example\\.well-known\\mercure\\x",
            "foo:/.well-known/mercure",
            "/.well-known/mercure?x#y",
            "mercure",
            "",
        ] {
            assert!(is_reserved(reserved, &hub()), "{reserved}");
        }
        for free in [
            "/.well-known/mercurex",
            "/x?u=/.well-known/mercure",
            "a",
            "https://example.com/books/1",
            "http://[",
            "/a/.well-known/mercure",
            "/.well-known%2Fmercure",
        ] {
            assert!(!is_reserved(free, &hub()), "{free}");
        }
        let encoded = Url::parse("https://hub.example/h%C3%BCb/%7Emercure").expect("a URL");
        for reserved in ["/h%C3%BCb/~mercure/x", "/h\u{fc}b/%7emercure", "/h%C3%BCb/%7Emercure"] {
            assert!(is_reserved(reserved, &encoded), "{reserved}");
        }
    }
}
