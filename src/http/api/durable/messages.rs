//! Bodies of appends as messages.

use super::headers::malformed;
use crate::event::durable::ContentType;
use crate::event::{Draft, MAX_ENTRIES_PER_BATCH, Payload, StreamName};
use crate::http::error::{Code, Problem};
use bytes::Bytes;
use serde_json::value::RawValue;

/// Maximum number of messages of one append, which is one atomic batch with a creation and an end.
const MAX_MESSAGES: usize = MAX_ENTRIES_PER_BATCH - 3;

/// Returns the messages of a body: the elements of a JSON array, another JSON value, or bytes in pieces of at most
/// `max_bytes`.
pub(crate) fn read(
    stream: &StreamName,
    content_type: &ContentType,
    body: &Bytes,
    max_bytes: usize,
) -> Result<Vec<Draft>, Problem> {
    let payloads = if content_type.is_json() {
        json(body, max_bytes)?
    } else {
        pieces(body, content_type.is_text(), max_bytes)
    };
    check_count(payloads.len(), max_bytes)?;
    Ok(payloads.into_iter().map(|payload| Draft::message(stream.clone(), payload)).collect())
}

/// Fails if an append has too many messages.
pub(super) fn check_count(count: usize, max_bytes: usize) -> Result<(), Problem> {
    if count <= MAX_MESSAGES {
        return Ok(());
    }
    let why =
        format!("an append has at most {MAX_MESSAGES} messages or pieces of {max_bytes} bytes");
    Err(Problem::new(Code::PayloadTooLarge, why).field("body"))
}

fn json(body: &[u8], max_bytes: usize) -> Result<Vec<Payload>, Problem> {
    let not_json = |why: serde_json::Error| malformed("body", format!("not JSON: {why}"));
    let values: Vec<&RawValue> = if body.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(body).map_err(not_json)?
    } else {
        vec![serde_json::from_slice(body).map_err(not_json)?]
    };
    if let Some(at) = values.iter().position(|value| value.get().len() > max_bytes) {
        let why = format!("message [{at}] has more than {max_bytes} bytes (--max-event-bytes)");
        return Err(Problem::new(Code::PayloadTooLarge, why).field("body"));
    }
    Ok(values.into_iter().map(Payload::json_message).collect())
}

/// Cuts bytes into pieces. Text is cut between characters.
fn pieces(body: &Bytes, is_text: bool, max_bytes: usize) -> Vec<Payload> {
    let text = if is_text { std::str::from_utf8(body).ok() } else { None };
    let mut pieces = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let mut end = rest.len().min(max_bytes);
        if let Some(text) = text {
            let fits = (1..=end).rev().find(|end| text.is_char_boundary(at + end));
            end = fits.unwrap_or(end);
        }
        pieces.push(Payload::bytes(rest.split_to(end), is_text));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(content_type: &str, body: &'static [u8], max: usize) -> Result<Vec<Vec<u8>>, Code> {
        let stream = StreamName::parse("s").expect("a name");
        let content_type = ContentType::parse(content_type).expect("a type");
        let drafts = read(&stream, &content_type, &Bytes::from_static(body), max);
        let data = |draft: &Draft| draft.payload().as_bytes().to_vec();
        drafts.map(|drafts| drafts.iter().map(data).collect()).map_err(|problem| problem.code)
    }

    #[test]
    fn arrays_are_flattened_by_one_level_and_numbers_stay_as_they_are() {
        let json = |body| messages("application/json", body, 64);
        let texts = |list: &[&str]| Ok(list.iter().map(|text| text.as_bytes().to_vec()).collect());
        assert_eq!(json(b" [1.0, [2], \"a\"]"), texts(&["1.0", "[2]", "\"a\""]));
        assert_eq!(json(b"{\"a\": 1e2}"), texts(&["{\"a\":1e2}"]));
        assert_eq!(json(b"[]"), Ok(Vec::new()));
        for bad in [&b""[..], b"{", b"[1", b"1 2", b"\xff"] {
            assert_eq!(json(bad), Err(Code::Malformed));
        }
        assert_eq!(messages("application/json", b"[1,12345]", 4), Err(Code::PayloadTooLarge));
    }

    #[test]
    fn bytes_are_cut_and_text_between_characters() {
        let cut = |kind, body, max| messages(kind, body, max).map(|list| list.len());
        assert_eq!(cut("application/octet-stream", b"\x00\x01\x02\x03\x04", 2), Ok(3));
        let text = messages("text/plain", "aéé".as_bytes(), 2).expect("messages");
        assert_eq!(text, ["a".as_bytes(), "é".as_bytes(), "é".as_bytes()]);
        assert_eq!(cut("text/plain", b"\xff\xff\xff", 2), Ok(2));
        assert_eq!(cut("text/plain", &[b'a'; 4_094], 1), Err(Code::PayloadTooLarge));
    }
}
