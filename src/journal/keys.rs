//! Encoding of the journal: keys and values of the store.
//!
//! The first byte of a key is a letter for its kind; numbers are big-endian, so that keys sort by
//! number.
//!
//! | key | value |
//! |---|---|
//! | `e` position | the entry |
//! | `i` stream number, position | [`IndexItem`]: the fields that retention and counting need |
//! | `h` stream number | the stream's head |
//! | `k` stream number, idempotency key | [`KeyItem`] |
//! | `n` stream name | stream number |
//! | `t` time | position of the first entry at that time (sparse) |
//! | `x` stream name | [`Tombstone`] of a stream that was deleted or emptied |
//! | `g` stream number | deleted stream: position up to which its shared entries are subtracted |
//! | `d` stream number | properties of a stream that was created with some, and what forks and appends depend on |
//! | `p` stream number, producer | last append of a producer |
//! | `u` stream number, id, 0, position | nothing: an update that a publisher gave an id |
//! | `b` process | last batch that a process has proposed to the log of the cluster |
//! | `m` word | state of the whole hub |

use super::sealing::StreamKeys;
pub(super) use super::tombstone::Tombstone;
use crate::event::{
    Body, EndReason, Entry, EventType, Payload, PayloadKind, Position, StreamName, Timestamp,
};
use bytes::Bytes;

pub(super) const ENTRY: u8 = b'e';
pub(super) const INDEX: u8 = b'i';
pub(super) const HEAD: u8 = b'h';
pub(super) const KEY: u8 = b'k';
pub(super) const NAME: u8 = b'n';
pub(super) const TIME: u8 = b't';
pub(super) const TOMBSTONE: u8 = b'x';
pub(super) const DELETED_STREAM: u8 = b'g';
pub(super) const PROPOSER: u8 = b'b';
pub(super) const UPDATE_ID: u8 = b'u';
pub(super) const RECORD: u8 = b'd';
pub(super) const PRODUCER: u8 = b'p';

/// Time for which an idempotency key is remembered.
pub(super) const KEY_WINDOW_MS: u64 = 10 * 60 * 1000;

/// The key of the hub-wide totals.
pub(super) const TOTALS: &[u8] = b"m:totals";
/// The key of the epochs.
pub(super) const EPOCHS: &[u8] = b"m:epochs";
/// The key of the last message of the log that was applied.
pub(super) const LOG_LINK: &[u8] = b"m:log";

/// Internal number of a stream. Never reused, so that a stream that is created again under the same
/// name does not find the old history.
pub(super) type StreamNumber = u32;

pub(super) fn entry(position: Position) -> Vec<u8> {
    Encoder::new(ENTRY).u64(position.get()).0
}

pub(super) fn index(number: StreamNumber, position: Position) -> Vec<u8> {
    Encoder::new(INDEX).u32(number).u64(position.get()).0
}

pub(super) fn head(number: StreamNumber) -> Vec<u8> {
    Encoder::new(HEAD).u32(number).0
}

pub(super) fn key(number: StreamNumber, key: &str) -> Vec<u8> {
    Encoder::new(KEY).u32(number).bytes(key.as_bytes()).0
}

pub(super) fn name(name: &str) -> Vec<u8> {
    Encoder::new(NAME).bytes(name.as_bytes()).0
}

pub(super) fn time(time: Timestamp) -> Vec<u8> {
    Encoder::new(TIME).u64(time.ms()).0
}

pub(super) fn tombstone(name: &str) -> Vec<u8> {
    Encoder::new(TOMBSTONE).bytes(name.as_bytes()).0
}

pub(super) fn deleted_stream(number: StreamNumber) -> Vec<u8> {
    Encoder::new(DELETED_STREAM).u32(number).0
}

/// Returns the key of an update. No id contains the byte that follows it.
#[cfg(feature = "mercure")]
pub(super) fn update_id(number: StreamNumber, id: &str, position: Position) -> Vec<u8> {
    Encoder::new(UPDATE_ID).u32(number).bytes(id.as_bytes()).u8(0).u64(position.get()).0
}

pub(super) fn record(number: StreamNumber) -> Vec<u8> {
    Encoder::new(RECORD).u32(number).0
}

pub(super) fn producer(number: StreamNumber, id: &str) -> Vec<u8> {
    Encoder::new(PRODUCER).u32(number).bytes(id.as_bytes()).0
}

pub(super) fn proposer(boot: u128) -> Vec<u8> {
    Encoder::new(PROPOSER).u128(boot).0
}

/// Returns the process of the key of its last batch.
#[cfg(feature = "cluster")]
pub(super) fn boot_of(key: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// Returns the first key after all keys of a kind.
pub(super) fn end_of(kind: u8) -> Vec<u8> {
    vec![kind + 1]
}

/// Returns the position at the end of the key of an entry or index item.
pub(super) fn position_of(key: &[u8]) -> Option<Position> {
    let (_, tail) = key.split_last_chunk::<8>()?;
    Some(Position::from_stored(u64::from_be_bytes(*tail)))
}

/// Returns the stream number after the letter of a key.
pub(super) fn number_of(key: &[u8]) -> Option<StreamNumber> {
    Some(u32::from_be_bytes(*key.get(1..)?.first_chunk()?))
}

/// Writes fixed-width fields one after the other.
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn new(kind: u8) -> Self {
        let mut bytes = Vec::with_capacity(32);
        bytes.push(kind);
        Self(bytes)
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u128(self, value: u128) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// Reads fixed-width fields one after the other; `None` if the bytes end too early.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn position(&mut self) -> Option<Position> {
        self.u64().map(Position::from_stored)
    }
}

const TEXT: u8 = 0;
const JSON: u8 = 1;
const ENDED: u8 = 2;
const DELETED: u8 = 3;
/// Added to the tag of an event if the data is sealed with the stream's key.
const SEALED: u8 = 4;
const BINARY: u8 = 8;
const CREATED: u8 = 16;

/// Returns the kind of data of a tag without `SEALED`; `None` if it is that of no event.
fn payload_kind(tag: u8) -> Option<PayloadKind> {
    match tag {
        TEXT => Some(PayloadKind::Text),
        JSON => Some(PayloadKind::Json),
        BINARY => Some(PayloadKind::Binary),
        _ => None,
    }
}

/// Returns the value of an `e` key, with the data in clear or sealed. Layout: tag (u8), time
/// (u64), stream count (u8), stream numbers (u32 each). An event continues with the type's length
/// (u8), the type and the data; a creation or an end with the stream's name, because a deleted stream's
/// number cannot be resolved.
pub(super) fn write_entry(
    entry: &Entry,
    numbers: &[StreamNumber],
    sealed: Option<&[u8]>,
) -> Vec<u8> {
    let (tag, tail_bytes) = match &entry.body {
        Body::Event { payload, .. } => {
            let tag = match payload.kind() {
                PayloadKind::Text => TEXT,
                PayloadKind::Json => JSON,
                PayloadKind::Binary => BINARY,
            };
            let seal = if sealed.is_some() { SEALED } else { 0 };
            (tag | seal, sealed.unwrap_or(payload.as_bytes()).len())
        }
        Body::Created => (CREATED, 0),
        Body::End(EndReason::Ended) => (ENDED, 0),
        Body::End(EndReason::Deleted) => (DELETED, 0),
    };
    let mut out = Encoder(Vec::with_capacity(80 + 4 * numbers.len() + tail_bytes))
        .u8(tag)
        .u64(entry.time.ms())
        .u8(numbers.len() as u8);
    for number in numbers {
        out = out.u32(*number);
    }
    match &entry.body {
        Body::Event { kind, payload } => {
            let kind = if kind.is_default() { "" } else { kind.as_str() };
            let data = sealed.unwrap_or(payload.as_bytes());
            out.u8(kind.len() as u8).bytes(kind.as_bytes()).bytes(data).0
        }
        Body::Created | Body::End(_) => {
            out.bytes(entry.streams.first().map_or("", |s| s.as_str()).as_bytes()).0
        }
    }
}

/// A stored entry: its streams are numbers, and its body is not decoded yet.
pub(super) struct StoredEntry {
    pub(super) time: Timestamp,
    pub(super) numbers: Vec<StreamNumber>,
    tag: u8,
    tail: Bytes,
}

impl StoredEntry {
    /// Reads the value of an `e` key; returns `None` if it is damaged.
    pub(super) fn read(value: &Bytes) -> Option<Self> {
        let mut fields = Decoder(value);
        let tag = fields.u8()?;
        let time = Timestamp::from_ms(fields.u64()?);
        let count = fields.u8()?;
        let numbers = (0..count).map(|_| fields.u32()).collect::<Option<_>>()?;
        let tail = value.slice(value.len() - fields.0.len()..);
        // Sealed data names the stream whose key opens it.
        let is_sealed = payload_kind(tag & !SEALED).is_some() && count > 0;
        let is_plain = matches!(tag, TEXT | JSON | BINARY | CREATED | ENDED | DELETED);
        let is_known = is_plain || tag & SEALED != 0 && is_sealed;
        is_known.then_some(Self { time, numbers, tag, tail })
    }

    /// Returns true for events, false for creations and ends.
    pub(super) fn is_event(&self) -> bool {
        payload_kind(self.tag & !SEALED).is_some()
    }

    /// Returns the number of the stream whose key the data is sealed with, if it is sealed.
    pub(super) fn sealed_by(&self) -> Option<StreamNumber> {
        if self.tag & SEALED == 0 { None } else { self.numbers.first().copied() }
    }

    /// Returns true if the entry is the deletion of a stream.
    pub(super) fn is_deletion(&self) -> bool {
        self.tag == DELETED
    }

    /// Returns the entry, given the names of its streams that still exist; `None` if it is damaged
    /// or the key of its stream is erased.
    pub(super) fn into_entry(
        self,
        position: Position,
        streams: Vec<StreamName>,
        keys: &StreamKeys,
    ) -> Option<Entry> {
        let time = self.time;
        let of_stream = |body| -> Option<Entry> {
            let stream = StreamName::parse(std::str::from_utf8(&self.tail).ok()?).ok()?;
            Some(Entry { position, time, streams: [stream].into(), body })
        };
        match self.tag {
            CREATED => of_stream(Body::Created),
            ENDED => of_stream(Body::End(EndReason::Ended)),
            DELETED => of_stream(Body::End(EndReason::Deleted)),
            tag => {
                let length = usize::from(*self.tail.first()?);
                let kind = match std::str::from_utf8(self.tail.get(1..1 + length)?).ok()? {
                    "" => EventType::default(),
                    kind => EventType::parse(kind).ok()?,
                };
                let mut data = self.tail.slice(1 + length..);
                if let Some(number) = self.sealed_by() {
                    data = keys.open(number, position, &data)?.into();
                }
                let payload = Payload::from_stored(data, payload_kind(tag & !SEALED)?);
                let body = Body::Event { kind, payload };
                Some(Entry { position, time, streams: streams.into(), body })
            }
        }
    }
}

/// Index item of an entry, so that retention and counts need not read the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IndexItem {
    /// Number of the event in its stream, from 1; an end has the number of the last event.
    pub(super) ordinal: u64,
    pub(super) time: Timestamp,
    /// Bytes of the stored entry.
    pub(super) bytes: u32,
    /// Number of streams that the entry belongs to.
    pub(super) streams: u8,
    pub(super) is_event: bool,
}

impl IndexItem {
    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(22))
            .u64(self.ordinal)
            .u64(self.time.ms())
            .u32(self.bytes)
            .u8(self.streams)
            .u8(u8::from(self.is_event))
            .0
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        Some(Self {
            ordinal: fields.u64()?,
            time: Timestamp::from_ms(fields.u64()?),
            bytes: fields.u32()?,
            streams: fields.u8()?,
            is_event: fields.u8()? == 1,
        })
    }
}

/// Value of an idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeyItem {
    pub(super) position: Position,
    pub(super) time: Timestamp,
    pub(super) fingerprint: u128,
}

impl KeyItem {
    /// Returns true if the item is within the window. An item far ahead of `now` is not: the clock
    /// was set back since.
    pub(super) fn is_remembered(&self, now: Timestamp) -> bool {
        self.time.ms().abs_diff(now.ms()) < KEY_WINDOW_MS
    }

    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(32))
            .u64(self.position.get())
            .u64(self.time.ms())
            .bytes(&self.fingerprint.to_be_bytes())
            .0
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        Some(Self {
            position: fields.position()?,
            time: Timestamp::from_ms(fields.u64()?),
            fingerprint: fields.u128()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    #[test]
    fn entries_round_trip() {
        let streams = |list: &[&str]| -> Vec<StreamName> {
            list.iter().map(|n| StreamName::parse(n).expect("a name")).collect()
        };
        let event = |kind, payload_kind, data: &'static [u8]| Body::Event {
            kind: EventType::parse(kind).expect("a type"),
            payload: Payload::from_stored(Bytes::from_static(data), payload_kind),
        };
        for (body, names) in [
            (event("message", PayloadKind::Text, b""), streams(&["a"])),
            (event("log", PayloadKind::Json, b"{}"), streams(&["a", "b"])),
            (event("message", PayloadKind::Binary, b"\xff\0"), streams(&["a", "b"])),
            (Body::Created, streams(&["a"])),
            (Body::End(EndReason::Ended), streams(&["a"])),
            (Body::End(EndReason::Deleted), streams(&["a"])),
        ] {
            let position = Position::of(7, 3);
            let time = Timestamp::from_ms(99);
            let entry = Entry { position, time, streams: names.clone().into(), body };
            let numbers: Vec<u32> = (0..names.len() as u32).collect();
            let bytes = Bytes::from(write_entry(&entry, &numbers, None));
            let stored = StoredEntry::read(&bytes).expect("whole");
            assert_eq!(stored.numbers, numbers);
            assert_eq!(stored.into_entry(position, names, &StreamKeys::default()), Some(entry));
        }
    }

    #[test]
    fn short_values_are_damaged_and_do_not_panic() {
        for length in 0..9 {
            assert!(StoredEntry::read(&Bytes::from(vec![1; length])).is_none());
        }
        assert!(IndexItem::read(&[0; 5]).is_none());
        assert!(KeyItem::read(&[0; 5]).is_none());
        assert!(Tombstone::read(&[0; 5]).is_none());
    }

    fn body() -> impl Strategy<Value = Body> {
        let kind = "message|log|[a-zé]{1,30}".prop_map(|kind| EventType::parse(&kind).expect("ok"));
        let kinds = [PayloadKind::Text, PayloadKind::Json, PayloadKind::Binary];
        let payload_kind = proptest::sample::select(kinds.to_vec());
        let event = (kind, payload_kind, any::<String>()).prop_map(|(kind, payload_kind, text)| {
            Body::Event { kind, payload: Payload::from_stored(text.into(), payload_kind) }
        });
        let end = proptest::sample::select(&[EndReason::Ended, EndReason::Deleted][..]);
        prop_oneof![3 => event, 1 => end.prop_map(Body::End), 1 => Just(Body::Created)]
    }

    #[test]
    fn sealed_entry_without_a_stream_is_damaged() {
        let with_stream = Encoder(Vec::new()).u8(JSON | SEALED).u64(1).u8(1).u32(7).u8(0).0;
        assert_eq!(
            StoredEntry::read(&with_stream.into()).and_then(|entry| entry.sealed_by()),
            Some(7)
        );
        let without_stream = Encoder(Vec::new()).u8(JSON | SEALED).u64(1).u8(0).u8(0).0;
        assert!(StoredEntry::read(&without_stream.into()).is_none());
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn any_entry_round_trips_and_its_prefixes_are_not_mistaken_for_others(
            body in body(),
            names in proptest::collection::btree_set("[a-zé]{1,9}", 1..=16),
            numbers in any::<[u32; 16]>(),
            (position, time) in (any::<u64>(), any::<u64>()),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut names: Vec<_> =
                names.iter().map(|name| StreamName::parse(name).expect("a name")).collect();
            if !matches!(body, Body::Event { .. }) {
                names.truncate(1);
            }
            let (position, time) = (Position::from_stored(position), Timestamp::from_ms(time));
            let numbers = &numbers[..names.len()];
            let entry = Entry { position, time, streams: names.clone().into(), body };
            let bytes = Bytes::from(write_entry(&entry, numbers, None));
            let stored = StoredEntry::read(&bytes).expect("whole");
            prop_assert_eq!((&stored.numbers[..], stored.time), (numbers, time));
            prop_assert_eq!(stored.is_event(), matches!(entry.body, Body::Event { .. }));
            prop_assert_eq!(stored.into_entry(position, names.clone(), &StreamKeys::default()), Some(entry.clone()));
            let cut = bytes.slice(..cut.index(bytes.len()));
            let prefix = StoredEntry::read(&cut);
            if let Some(partial) = prefix.and_then(|b| b.into_entry(position, names, &StreamKeys::default())) {
                // Only a field without a stored length may be shorter; all others are complete.
                match (&partial.body, &entry.body) {
                    (Body::Event { kind, payload }, Body::Event { kind: k, payload: p }) => {
                        prop_assert_eq!(kind, k);
                        prop_assert!(p.as_bytes().starts_with(payload.as_bytes()));
                    }
                    (Body::End(_) | Body::Created, Body::End(_) | Body::Created) => {
                        prop_assert_eq!(&partial.body, &entry.body);
                        let (part, full) = (&partial.streams[0], &entry.streams[0]);
                        prop_assert!(full.as_str().starts_with(part.as_str()));
                    }
                    _ => prop_assert!(false, "an event and an end were confused"),
                }
            }
        }

        #[test]
        fn items_round_trip_and_are_damaged_if_truncated(
            (ordinal, time, bytes, streams) in any::<(u64, u64, u32, u8)>(),
            (first, second, fingerprint, flag, keys_number) in any::<(u64, u64, u128, bool, u32)>(),
        ) {
            let time = Timestamp::from_ms(time);
            let (position, last) = (Position::from_stored(first), Position::from_stored(second));
            let item = IndexItem { ordinal, time, bytes, streams, is_event: flag };
            let key = KeyItem { position, time, fingerprint };
            let tombstone = Tombstone { position, last, time, deleted: flag, keys_number };
            prop_assert_eq!(IndexItem::read(&item.write()), Some(item));
            prop_assert_eq!(KeyItem::read(&key.write()), Some(key));
            prop_assert_eq!(Tombstone::read(&tombstone.write()), Some(tombstone));
            let short = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
            prop_assert_eq!(IndexItem::read(&short(item.write())), None);
            prop_assert_eq!(KeyItem::read(&short(key.write())), None);
            prop_assert_eq!(Tombstone::read(&short(tombstone.write())), None);
        }

        #[test]
        fn keys_sort_by_number_and_decode(
            (first, second) in any::<(u64, u64)>(),
            (stream, sibling) in any::<(u32, u32)>(),
        ) {
            let (a, b) = (Position::from_stored(first), Position::from_stored(second));
            prop_assert_eq!(entry(a).cmp(&entry(b)), a.cmp(&b));
            prop_assert_eq!(index(stream, a).cmp(&index(sibling, b)), (stream, a).cmp(&(sibling, b)));
            prop_assert_eq!(position_of(&entry(a)), Some(a));
            prop_assert_eq!(position_of(&index(stream, a)), Some(a));
            prop_assert_eq!(number_of(&index(stream, a)), Some(stream));
            prop_assert!(entry(a) < end_of(ENTRY) && end_of(ENTRY) <= head(stream));
        }
    }
}
