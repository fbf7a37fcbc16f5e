//! Stored state of streams that were created with properties, and of their producers.

use super::keys::{Decoder, Encoder};
use crate::event::durable::{ContentType, ForkSource, Lifetime, ProducerWrite, StreamProperties};
use crate::event::{Position, StreamName, Timestamp};

/// Version of the layout.
const FORMAT: u8 = 1;
/// Time for which the last append of a producer is remembered.
pub(super) const PRODUCER_WINDOW_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// State of a stream beside its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamRecord {
    /// Properties with which it was created.
    pub properties: StreamProperties,
    /// Position of its creation; zero if it was created by its first event.
    pub created: Position,
    /// Time of its last use, as far as it is recorded.
    pub used: Timestamp,
    /// Sequence of the last append that had one.
    pub(super) seq: Option<Box<str>>,
    /// Write of a producer that closed it.
    pub(super) closed_by: Option<ProducerWrite>,
    /// Number of forks that read its entries.
    pub(super) forks: u32,
    /// True if it was deleted, and stays for its forks.
    pub is_deleted: bool,
}

/// Value of a `p` key: the last append of a producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProducerState {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) time: Timestamp,
}

impl StreamRecord {
    pub(super) fn new(properties: StreamProperties, created: Position, used: Timestamp) -> Self {
        Self { properties, created, used, seq: None, closed_by: None, forks: 0, is_deleted: false }
    }

    /// Returns the last position of its source that it begins with, if it is a fork.
    pub fn source(&self) -> Option<&ForkSource> {
        self.properties.source.as_ref()
    }

    /// Returns the value of a `d` key.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = write_properties(Encoder::new(FORMAT), &self.properties)
            .u64(self.created.get())
            .u64(self.used.ms())
            .u32(self.forks)
            .u8(u8::from(self.is_deleted));
        out = short(out.u8(u8::from(self.seq.is_some())), self.seq.as_deref().unwrap_or_default());
        out = out.u8(u8::from(self.closed_by.is_some()));
        if let Some(write) = &self.closed_by {
            out = short(out, &write.id).u64(write.epoch).u64(write.seq);
        }
        out.0
    }

    /// Reads the value of a `d` key; returns `None` if it is damaged.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        if fields.u8()? != FORMAT {
            return None;
        }
        let properties = read_properties(&mut fields)?;
        let (created, used) = (fields.position()?, Timestamp::from_ms(fields.u64()?));
        let (forks, is_deleted) = (fields.u32()?, fields.u8()? == 1);
        let has_seq = fields.u8()? == 1;
        let seq = Some(text(&mut fields)?.into()).filter(|_| has_seq);
        let mut closed_by = None;
        if fields.u8()? == 1 {
            let id = text(&mut fields)?.into();
            closed_by = Some(ProducerWrite { id, epoch: fields.u64()?, seq: fields.u64()? });
        }
        let record = Self { properties, created, used, seq, closed_by, forks, is_deleted };
        fields.0.is_empty().then_some(record)
    }
}

/// Writes properties. Layout: content type (length u8, text), kind of the lifetime (u8), its seconds or end (u64),
/// source (present u8; stream, creation, end, requested offset, sub-offset, u64 each).
pub(super) fn write_properties(out: Encoder, properties: &StreamProperties) -> Encoder {
    let (kind, end) = match properties.lifetime {
        Lifetime::Unlimited => (0, 0),
        Lifetime::AfterUse { seconds } => (1, seconds),
        Lifetime::Until(end) => (2, end.ms()),
    };
    let out = short(out, properties.content_type.as_str()).u8(kind).u64(end);
    let Some(source) = &properties.source else { return out.u8(0) };
    let (offset, sub_offset) = source.requested;
    short(out.u8(1), source.stream.as_str())
        .u64(source.created.get())
        .u64(source.until.get())
        .u64(offset.get())
        .u64(sub_offset)
}

/// Reads properties; returns `None` if they are damaged.
pub(super) fn read_properties(fields: &mut Decoder<'_>) -> Option<StreamProperties> {
    let content_type = ContentType::parse(text(fields)?).ok()?;
    let lifetime = match (fields.u8()?, fields.u64()?) {
        (0, _) => Lifetime::Unlimited,
        (1, seconds) => Lifetime::AfterUse { seconds },
        (2, end) => Lifetime::Until(Timestamp::from_ms(end)),
        _ => return None,
    };
    let mut source = None;
    if fields.u8()? == 1 {
        let stream = StreamName::parse(text(fields)?).ok()?;
        let (created, until) = (fields.position()?, fields.position()?);
        let requested = (fields.position()?, fields.u64()?);
        source = Some(ForkSource { stream, created, until, requested });
    }
    Some(StreamProperties { content_type, lifetime, source })
}

impl ProducerState {
    /// Returns true if the append is remembered at `now`.
    pub(super) fn is_remembered(&self, now: Timestamp) -> bool {
        self.time.ms().abs_diff(now.ms()) < PRODUCER_WINDOW_MS
    }

    pub(super) fn write(&self) -> Vec<u8> {
        Encoder(Vec::with_capacity(24)).u64(self.epoch).u64(self.seq).u64(self.time.ms()).0
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Decoder(value);
        let (epoch, seq) = (fields.u64()?, fields.u64()?);
        Some(Self { epoch, seq, time: Timestamp::from_ms(fields.u64()?) })
    }
}

/// Appends a text of at most 255 bytes after its length.
fn short(out: Encoder, text: &str) -> Encoder {
    out.u8(text.len() as u8).bytes(text.as_bytes())
}

/// Reads a text after its length.
fn text<'a>(fields: &mut Decoder<'a>) -> Option<&'a str> {
    let length = fields.u8()?;
    std::str::from_utf8(fields.take(usize::from(length))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_are_damaged_if_truncated() {
        let properties = |source, lifetime| StreamProperties {
            content_type: ContentType::parse("text/plain; charset=utf-8").expect("a type"),
            lifetime,
            source,
        };
        let source = ForkSource {
            stream: StreamName::parse("é").expect("a name"),
            created: Position::of(1, 2),
            until: Position::of(3, 4),
            requested: (Position::of(3, 1), 3),
        };
        let at = Timestamp::from_ms;
        let plain =
            StreamRecord::new(properties(None, Lifetime::Unlimited), Position::of(7, 1), at(9));
        let fork = properties(Some(source), Lifetime::AfterUse { seconds: u64::MAX });
        let full = StreamRecord {
            seq: Some("".into()),
            closed_by: Some(ProducerWrite { id: "p".into(), epoch: 1, seq: 2 }),
            forks: 3,
            is_deleted: true,
            ..StreamRecord::new(fork, Position::ZERO, at(1))
        };
        let until = properties(None, Lifetime::Until(at(5)));
        let until = StreamRecord::new(until, Position::of(1, 0), at(2));
        for record in [plain, full, until] {
            let bytes = record.write();
            assert_eq!(StreamRecord::read(&bytes), Some(record));
            for length in 0..bytes.len() {
                assert_eq!(StreamRecord::read(&bytes[..length]), None, "{length} bytes");
            }
        }
        let state = ProducerState { epoch: 1, seq: u64::MAX, time: at(3) };
        assert_eq!(ProducerState::read(&state.write()), Some(state));
        assert_eq!(ProducerState::read(&state.write()[1..]), None);
    }
}
