//! Records: a session's output for a converter inside the process, which needs events and not
//! their text. A record is a tag, the length of its content (4 bytes, little-endian) and the content.

use super::sse;
use super::view::View;
use crate::event::{Body, Entry, Epoch, EventId, Position};

const EVENT: u8 = 0;
const CONTROL: u8 = 1;
const HEARTBEAT: u8 = 2;
const RETRY: u8 = 3;

/// Length of a tag and a length, in bytes.
const HEAD_BYTES: usize = 5;

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record<'a> {
    /// An event of the default type, with its data as it was published.
    Event { id: EventId, data: &'a [u8] },
    /// A block of Server-Sent Events that is sent as it is: a control event of the hub, or an event
    /// of a type of its own.
    Control(&'a [u8]),
    /// A heartbeat without an event.
    Heartbeat,
    /// Time to wait before a reconnect, in milliseconds.
    Retry(u64),
}

/// Appends the record of `entry`, whose id is `id`.
pub(super) fn entry(out: &mut Vec<u8>, id: EventId, entry: &Entry, view: &View) {
    match &entry.body {
        Body::Event { kind, payload } if kind.is_default() => {
            event(out, id, payload.as_bytes());
        }
        _ => {
            let mut block = Vec::new();
            sse::entry(&mut block, id, entry, view, None);
            if !block.is_empty() {
                control(out, &block);
            }
        }
    }
}

/// Appends an event of the default type.
pub(super) fn event(out: &mut Vec<u8>, id: EventId, data: &[u8]) {
    let (epoch, position) = (id.epoch.0.to_le_bytes(), id.position.get().to_le_bytes());
    append(out, EVENT, &[&epoch, &position, data]);
}

/// Appends a block of Server-Sent Events.
pub(super) fn control(out: &mut Vec<u8>, block: &[u8]) {
    append(out, CONTROL, &[block]);
}

/// Appends a heartbeat.
pub(super) fn heartbeat(out: &mut Vec<u8>) {
    append(out, HEARTBEAT, &[]);
}

/// Appends the time to wait before a reconnect.
pub(super) fn retry(out: &mut Vec<u8>, retry_ms: u64) {
    append(out, RETRY, &[&retry_ms.to_le_bytes()]);
}

fn append(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    // An event has at most `--max-event-bytes` bytes, which is far below 4 GiB.
    out.extend_from_slice(&(length as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Returns the records of `bytes`, which must end with a complete record.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let ([tag, length @ ..], after) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (content, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        read(*tag, content)
    })
}

fn read(tag: u8, content: &[u8]) -> Option<Record<'_>> {
    match tag {
        EVENT => {
            let (epoch, rest) = content.split_first_chunk::<4>()?;
            let (position, data) = rest.split_first_chunk::<8>()?;
            let epoch = Epoch(u32::from_le_bytes(*epoch));
            let position = Position::from_stored(u64::from_le_bytes(*position));
            Some(Record::Event { id: EventId { epoch, position }, data })
        }
        CONTROL => Some(Record::Control(content)),
        HEARTBEAT => Some(Record::Heartbeat),
        RETRY => Some(Record::Retry(u64::from_le_bytes(content.try_into().ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn records_are_read_as_they_were_appended() {
        let id = EventId { epoch: Epoch(7), position: Position::of(1, 0) };
        let mut bytes = Vec::new();
        retry(&mut bytes, 3_000);
        entry(&mut bytes, id, &example(&["a"], "message", "{\"n\":1}"), &View::default());
        heartbeat(&mut bytes);
        entry(&mut bytes, id, &example(&["a"], "x", "1"), &View::default());
        let block = b"event: x\nid: 00000007-0000000000001000\ndata: 1\n\n";
        let expected = [
            Record::Retry(3_000),
            Record::Event { id, data: b"{\"n\":1}" },
            Record::Heartbeat,
            Record::Control(block),
        ];
        assert_eq!(records(&bytes).collect::<Vec<_>>(), expected);
        assert_eq!(records(&bytes[..bytes.len() - 1]).count(), 3, "the last is incomplete");
    }
}
