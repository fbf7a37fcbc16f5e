//! Laws of the Durable Streams protocol: offsets, headers, messages.

use bytes::Bytes;
use fanfare::event::durable::{ContentType, Lifetime, MAX_PRODUCER_NUMBER};
use fanfare::event::{Epoch, EventId, Position};
use fanfare::http::probe;
use serde_json::Value;

/// An offset that is accepted is one that the hub writes, apart from the case of its digits and from names.
pub fn offset(text: &str) {
    let Some(id) = probe::durable_offset(text) else { return };
    match id {
        Some(id) => assert_eq!(fanfare::wire::offset(id), text.to_ascii_lowercase()),
        // The start, the end, and offsets of epochs that no hub has.
        None => assert!(["-1", "now"].contains(&text) || text.len() == 33, "{text:?}"),
    }
}

/// Offsets are read as they were written, and sort as text.
pub fn offsets(first: (u32, u64), second: (u32, u64)) {
    let id = |(epoch, position)| EventId {
        epoch: Epoch(epoch),
        position: Position::from_stored(position),
    };
    let text = |number| fanfare::wire::offset(id(number));
    for number in [first, second] {
        let expected = Some(id(number)).filter(|_| number != (0, 0));
        assert_eq!(probe::durable_offset(&text(number)), Some(expected));
    }
    assert_eq!(text(first).cmp(&text(second)), first.cmp(&second));
}

/// Numbers in headers that are accepted are written as they are understood.
pub fn headers(text: &str) {
    let mut headers = Vec::new();
    for line in text.lines() {
        headers.extend(line.split_once(':').map(|(name, value)| (name.trim(), value.trim())));
    }
    let Some(read) = probe::durable_headers(&headers) else { return };
    let value = |name: &str| {
        let found = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    };
    if let Some(Lifetime::AfterUse { seconds }) = read.lifetime {
        assert_eq!(value("stream-ttl"), Some(seconds.to_string().as_str()));
    }
    if let Some(write) = read.producer {
        assert_eq!(value("producer-epoch"), Some(write.epoch.to_string().as_str()));
        assert_eq!(value("producer-seq"), Some(write.seq.to_string().as_str()));
        assert!(write.epoch.max(write.seq) <= MAX_PRODUCER_NUMBER && !write.id.is_empty());
    }
    if let Some(kind) = read.content_type {
        assert_eq!(ContentType::parse(kind.as_str()), Ok(kind));
    }
}

/// The messages of a body have all of it: the values of a JSON array, another value, or the bytes.
pub fn messages(kind: &str, body: &[u8], max_bytes: usize) {
    let Ok(kind) = ContentType::parse(kind) else { return };
    let Some(drafts) = probe::durable_messages(&kind, &Bytes::copy_from_slice(body), max_bytes)
    else {
        return;
    };
    let data = |n: usize| drafts[n].payload().as_bytes();
    if kind.is_json() {
        let expected: Vec<Value> = match serde_json::from_slice(body).expect("it was accepted") {
            Value::Array(values) => values,
            value => vec![value],
        };
        assert_eq!(drafts.len(), expected.len());
        for (n, value) in expected.iter().enumerate() {
            assert!(drafts[n].payload().is_json());
            assert_eq!(&serde_json::from_slice::<Value>(data(n)).expect("JSON"), value);
        }
        return;
    }
    let pieces: Vec<_> = drafts.iter().map(|draft| draft.payload()).collect();
    assert_eq!(pieces.iter().flat_map(|piece| piece.as_bytes()).copied().collect::<Vec<_>>(), body);
    let is_text = kind.is_text() && std::str::from_utf8(body).is_ok();
    for piece in pieces {
        assert!((1..=max_bytes).contains(&piece.as_bytes().len()));
        // A character may be larger than a piece.
        assert!(!is_text || max_bytes < 4 || !piece.is_binary());
    }
}
