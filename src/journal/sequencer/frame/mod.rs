//! Format of a proposed batch in a replicated log: one message holds one batch.
//!
//! Layout, integers big-endian: format (u8), version of the hub (length u8, text), epoch of the log (u32),
//! ticket (u64), boot (u128), node (length u8, text), number of emptied streams (u32), each a stream and
//! the position of its last entry (u64), limits on streams (number of scopes u32, the hub first; each with
//! the number of its selectors u32, selectors, has a maximum u8, maximum u64), number of units (u32). Every
//! format begins with the first two. A selector or a stream is its length (u8) and its name. A unit is its number of items (u32) and the items:
//!
//! - event: 0 (u8), number of streams (u8), streams, type (length u8, text; empty for
//!   the default), key (length u8, text; empty for none), fingerprint (u128), kind of the data (u8), data
//!   (length u32, bytes)
//! - end: 1 (u8), stream
//! - deletion: 2 (u8), has readers (u8), stream
//! - command: 3 (u8), a unit of its own, see `command.rs`

mod command;

use super::Ticket;
use crate::event::{
    Draft, Epoch, EventType, Key, MAX_ENTRIES_PER_BATCH, Payload, PayloadKind, Position, Selector,
    StreamName,
};
use crate::journal::batch::{Item, PublishUnit};
use crate::journal::keys::{Decoder, Encoder};
use crate::limits::{Bound, Bounds, Limit, Limits, Rule};
use bytes::Bytes;

/// Highest version of the format that this hub reads. It has commands and binary data; a batch without them is
/// written in the version before.
const FORMAT: u8 = 2;
const FORMAT_OF_EVENTS: u8 = 1;
/// Version of this hub.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const EVENT: u8 = 0;
const END: u8 = 1;
const DELETION: u8 = 2;
const COMMAND: u8 = 3;

/// The process that proposed a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::journal) struct Proposer {
    /// Name of the node.
    pub(in crate::journal) node: String,
    /// Random number of the process. Tickets ascend within it.
    pub(in crate::journal) boot: u128,
}

/// A batch with its proposer.
#[derive(Debug)]
pub(in crate::journal) struct Frame {
    /// Epoch of the log for which the batch was proposed.
    pub(in crate::journal) epoch: Epoch,
    pub(in crate::journal) proposer: Proposer,
    pub(in crate::journal) ticket: Ticket,
    /// Streams that retention has emptied, with the position of their last entry.
    pub(in crate::journal) emptied: Vec<(StreamName, Position)>,
    /// Limits on the number of streams, if the batch may add some.
    pub(in crate::journal) stream_limits: Option<Limits>,
    pub(in crate::journal) units: Vec<PublishUnit>,
}

/// Reason why a message of the log is not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A newer hub wrote it.
    #[error(
        "hub version {version} wrote the batch in format {found}; this is version {VERSION}, which reads \
         formats up to {FORMAT}"
    )]
    Newer {
        /// Format of the batch.
        found: u8,
        /// Version of the hub that wrote it.
        version: String,
    },
    /// The message is incomplete or inconsistent.
    #[error("the message is not a batch")]
    Malformed,
}

impl Frame {
    /// Writes the batch.
    pub(in crate::journal) fn write(&self) -> Vec<u8> {
        let mut out = short(Encoder::new(self.format()), VERSION)
            .u32(self.epoch.0)
            .u64(self.ticket)
            .u128(self.proposer.boot);
        out = short(out, &self.proposer.node).u32(self.emptied.len() as u32);
        for (stream, last) in &self.emptied {
            out = short(out, stream.as_str()).u64(last.get());
        }
        out = write_limits(out, self.stream_limits.as_ref()).u32(self.units.len() as u32);
        for unit in &self.units {
            out = unit.iter().fold(out.u32(unit.len() as u32), write_item);
        }
        out.0
    }

    /// Returns the lowest version of the format that has everything of the batch.
    fn format(&self) -> u8 {
        let is_new = |item: &Item| match item {
            Item::Event(draft) => draft.payload().is_binary(),
            Item::Command(_) => true,
            Item::End(_) | Item::Delete { .. } => false,
        };
        let has_new = self.units.iter().flatten().any(is_new);
        if has_new { FORMAT } else { FORMAT_OF_EVENTS }
    }

    /// Reads a batch.
    pub(in crate::journal) fn read(bytes: &Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader { bytes, rest: Decoder(bytes) };
        let format = reader.rest.u8().ok_or(FrameError::Malformed)?;
        let version = reader.short().ok_or(FrameError::Malformed)?;
        match format {
            FORMAT_OF_EVENTS..=FORMAT => reader.frame().ok_or(FrameError::Malformed),
            found if found > FORMAT => {
                Err(FrameError::Newer { found, version: version.to_owned() })
            }
            _ => Err(FrameError::Malformed),
        }
    }
}

fn write_limits(mut out: Encoder, limits: Option<&Limits>) -> Encoder {
    let Some(limits) = limits else { return out.u32(0) };
    out = out.u32(limits.rules.len() as u32 + 1);
    let rules = limits.rules.iter().map(|rule| (&rule.streams[..], &rule.bounds));
    for (selectors, bounds) in std::iter::once((&[][..], &limits.hub)).chain(rules) {
        out = out.u32(selectors.len() as u32);
        for selector in selectors {
            out = short(out, selector.as_str());
        }
        let max = bounds.get(Limit::Streams).map(|bound| bound.max);
        out = out.u8(u8::from(max.is_some())).u64(max.unwrap_or_default());
    }
    out
}

fn short(out: Encoder, text: &str) -> Encoder {
    out.u8(text.len() as u8).bytes(text.as_bytes())
}

fn write_item(out: Encoder, item: &Item) -> Encoder {
    match item {
        Item::Event(draft) => write_event(out.u8(EVENT), draft),
        Item::Command(command) => command::write(out.u8(COMMAND), command),
        Item::End(stream) => short(out.u8(END), stream.as_str()),
        Item::Delete { stream, has_readers } => {
            short(out.u8(DELETION).u8(u8::from(*has_readers)), stream.as_str())
        }
    }
}

/// Writes an event after its tag.
fn write_event(out: Encoder, draft: &Draft) -> Encoder {
    let mut out = out.u8(draft.streams().len() as u8);
    for stream in draft.streams() {
        out = short(out, stream.as_str());
    }
    let kind = if draft.kind().is_default() { "" } else { draft.kind().as_str() };
    let payload_kind = match draft.payload().kind() {
        PayloadKind::Text => 0,
        PayloadKind::Json => 1,
        PayloadKind::Binary => 2,
    };
    let data = draft.payload().as_bytes();
    out = short(short(out, kind), draft.key().map_or("", Key::as_str));
    out.u128(draft.fingerprint()).u8(payload_kind).u32(data.len() as u32).bytes(data)
}

/// Reads fields; data shares the memory of the message.
struct Reader<'a> {
    bytes: &'a Bytes,
    rest: Decoder<'a>,
}

impl<'a> Reader<'a> {
    fn frame(mut self) -> Option<Frame> {
        let epoch = Epoch(self.rest.u32()?);
        let ticket = self.rest.u64()?;
        let boot = self.rest.u128()?;
        let node = self.short()?.to_owned();
        let mut emptied = Vec::new();
        for _ in 0..self.rest.u32()? {
            emptied.push((self.stream()?, self.rest.position()?));
        }
        let stream_limits = self.limits()?;
        let mut count = 0;
        let mut units = Vec::new();
        for _ in 0..self.rest.u32()? {
            let mut unit = Vec::new();
            for _ in 0..self.rest.u32()? {
                let item = self.item()?;
                count += item.max_entries();
                unit.push(item);
            }
            let has_command = unit.iter().any(|item| matches!(item, Item::Command(_)));
            if has_command && unit.len() > 1 {
                return None;
            }
            units.push(unit);
        }
        // Positions have room for no more, and a batch is all of its message.
        let is_whole = count <= MAX_ENTRIES_PER_BATCH && self.rest.0.is_empty();
        let proposer = Proposer { node, boot };
        is_whole.then_some(Frame { epoch, proposer, ticket, emptied, stream_limits, units })
    }

    fn limits(&mut self) -> Option<Option<Limits>> {
        let mut limits = Limits::default();
        let scopes = self.rest.u32()?;
        for scope in 0..scopes {
            let selectors = (0..self.rest.u32()?).map(|_| Selector::parse(self.short()?).ok());
            let streams = selectors.collect::<Option<Vec<_>>>()?;
            let (has_max, max) = (self.flag()?, self.rest.u64()?);
            let mut bounds = Bounds::default();
            bounds.set(Limit::Streams, has_max.then_some(Bound { max, is_explicit: true }));
            if scope == 0 {
                limits.hub = bounds;
            } else {
                limits.rules.push(Rule { streams, bounds });
            }
        }
        Some((scopes > 0).then_some(limits))
    }

    fn item(&mut self) -> Option<Item> {
        match self.rest.u8()? {
            EVENT => self.event().map(Item::Event),
            END => self.stream().map(Item::End),
            COMMAND => self.command().map(|command| Item::Command(Box::new(command))),
            DELETION => {
                let has_readers = self.flag()?;
                Some(Item::Delete { stream: self.stream()?, has_readers })
            }
            _ => None,
        }
    }

    fn event(&mut self) -> Option<Draft> {
        let streams = (0..self.rest.u8()?).map(|_| self.stream()).collect::<Option<Vec<_>>>()?;
        let kind = match self.short()? {
            "" => EventType::default(),
            kind => EventType::parse(kind).ok()?,
        };
        let key = match self.short()? {
            "" => None,
            key => Some(Key::parse("key", key).ok()?),
        };
        let fingerprint = self.rest.u128()?;
        let payload_kind = match self.rest.u8()? {
            0 => PayloadKind::Text,
            1 => PayloadKind::Json,
            2 => PayloadKind::Binary,
            _ => return None,
        };
        let length = self.rest.u32()? as usize;
        let end = self.bytes.len() - self.rest.0.len() + length;
        let data = self.rest.take(length)?;
        if payload_kind != PayloadKind::Binary {
            std::str::from_utf8(data).ok()?;
        }
        let payload = Payload::from_stored(self.bytes.slice(end - length..end), payload_kind);
        Draft::from_log(streams, kind, payload, key, fingerprint)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.rest.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn short(&mut self) -> Option<&'a str> {
        let length = self.rest.u8()?;
        std::str::from_utf8(self.rest.take(usize::from(length))?).ok()
    }

    fn stream(&mut self) -> Option<StreamName> {
        StreamName::parse(self.short()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::event::durable::{
        Append, ContentType, Creation, ForkSource, Lifetime, ProducerWrite, StreamChange,
        StreamCommand, StreamProperties,
    };
    use serde_json::value::RawValue;

    fn name(text: &str) -> StreamName {
        StreamName::parse(text).expect("a name")
    }

    fn frame() -> Frame {
        let json = RawValue::from_string(r#"{"n": [1, "ü"]}"#.into()).expect("JSON");
        let now = Timestamp::from_ms(7);
        let kind = EventType::parse("order").expect("a type");
        let event = Draft::from_json(vec![name("a"), name("b.c")], kind, &json, now).expect("ok");
        let key = Some(Key::parse("key", "k1").expect("a key"));
        let text = Draft::from_text(vec![name("a")], EventType::default(), "x\ny", now);
        let deletion = Item::Delete { stream: name("d"), has_readers: true };
        let proposer = Proposer { node: "n1".into(), boot: u128::MAX - 5 };
        let units = vec![
            vec![Item::Event(event.with_key(key)), Item::Event(text.expect("ok"))],
            vec![Item::End(name("e"))],
            vec![deletion],
        ];
        let emptied = vec![(name("f"), Position::of(5, 1))];
        let mut limits = Limits::default();
        limits.hub.set(Limit::Streams, Some(Bound { max: 9, is_explicit: true }));
        let streams = ["a.*", "b"].map(|text| Selector::parse(text).expect("a selector")).to_vec();
        limits.rules.push(Rule { streams, bounds: Bounds::default() });
        let stream_limits = Some(limits);
        Frame { epoch: Epoch(9), proposer, ticket: 3, emptied, stream_limits, units }
    }

    fn command(change: StreamChange) -> PublishUnit {
        vec![Item::Command(Box::new(StreamCommand { stream: name("c"), change }))]
    }

    /// Returns a batch with commands and binary data.
    fn new_frame() -> Frame {
        let message = |data: &'static [u8]| {
            Draft::message(name("c"), Payload::bytes(Bytes::from_static(data), false))
        };
        let source = ForkSource {
            stream: name("s"),
            created: Position::of(1, 0),
            until: Position::of(2, 0),
            requested: (Position::of(2, 0), 1),
        };
        let properties = StreamProperties {
            content_type: ContentType::json(),
            lifetime: Lifetime::AfterUse { seconds: 5 },
            source: Some(source),
        };
        let replaces = Some(Position::of(3, 1));
        let drafts = vec![message(b"\xff"), message(b"")];
        let creation = Creation { properties, drafts: drafts.clone(), close: true, replaces };
        let producer = Some(ProducerWrite { id: "p".into(), epoch: 1, seq: u64::MAX });
        let created = Position::of(9, 9);
        let append = Append { created, drafts, seq: Some("".into()), producer, close: false };
        let units = vec![
            command(StreamChange::Create(creation)),
            command(StreamChange::Append(append)),
            command(StreamChange::Expire { created }),
            command(StreamChange::Touch { created }),
        ];
        Frame { units, ..frame() }
    }

    #[test]
    fn batches_are_read_as_they_were_written() {
        for written in [frame(), new_frame()] {
            let bytes = Bytes::from(written.write());
            let read = Frame::read(&bytes).expect("a batch");
            assert_eq!(format!("{read:?}"), format!("{written:?}"));
        }
        assert_eq!(frame().write()[0], FORMAT_OF_EVENTS, "hubs of the version before read it");
        assert_eq!(new_frame().write()[0], FORMAT);
    }

    #[test]
    fn a_command_is_a_unit_of_its_own() {
        let created = Position::of(1, 1);
        let mut unit = command(StreamChange::Touch { created });
        unit.extend(command(StreamChange::Touch { created }));
        let bytes = Bytes::from(Frame { units: vec![unit], ..frame() }.write());
        assert_eq!(Frame::read(&bytes).expect_err("refused"), FrameError::Malformed);
    }

    #[test]
    fn other_messages_are_refused() {
        let bytes = Bytes::from(new_frame().write());
        for length in 0..bytes.len() {
            let part = Frame::read(&bytes.slice(..length));
            assert_eq!(part.expect_err("refused"), FrameError::Malformed, "{length} bytes");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(Frame::read(&longer.into()).expect_err("refused"), FrameError::Malformed);
        let mut newer = bytes.to_vec();
        newer[0] = FORMAT + 1;
        let newer = Frame::read(&newer.into()).expect_err("refused").to_string();
        let versions =
            format!("hub version {VERSION} wrote the batch in format 3; this is version");
        assert!(newer.starts_with(&versions), "{newer}");
    }
}
