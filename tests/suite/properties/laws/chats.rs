//! Laws of chats: events of an upstream, requests to it, and formats of its answer.

use super::sse::interpret;
use fanfare::event::{
    Body, Draft, Entry, Epoch, EventId, EventType, MAX_ENTRIES_PER_BATCH, Position, StreamName,
    Timestamp,
};
use fanfare::wire::chat::{
    ChatEvent, ChatRequest, Completions, Decoder, Native, ResponseFormat, StreamUsage,
    UpstreamEvent, UpstreamFailure,
};
use fanfare::wire::{self, Format, SseDecoder, SseFrame, View};
use serde_json::Value;

/// Returns the frames of bytes that arrive in these pieces.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<SseFrame>> {
    let (mut decoder, mut frames) = (SseDecoder::new(1024 * 1024), Vec::new());
    for piece in pieces {
        decoder.take(piece, &mut frames).ok()?;
    }
    decoder.end(&mut frames);
    Some(frames)
}

/// Bytes of an upstream decode to the same events in chunks of any size, as any reader finds them.
pub fn upstream(step: u8, bytes: &[u8]) {
    let frames = decode(std::iter::once(bytes)).expect("it is small");
    assert_eq!(decode(bytes.chunks(usize::from(step).max(1))).as_ref(), Some(&frames));
    let data = frames.iter().filter_map(|frame| match frame {
        SseFrame::Event(event) => Some(event.data.trim_ascii().to_vec()),
        SseFrame::Error(_) | SseFrame::Comment => None,
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Unlike `interpret`, the decoder needs no blank line after the last event.
    let expected = interpret(&format!("{text}\n\n"));
    let expected =
        expected.messages.iter().map(|message| message.data.as_bytes().trim_ascii().to_vec());
    let expected: Vec<Vec<u8>> = expected.filter(|data| !data.is_empty()).collect();
    let data: Vec<Vec<u8>> = data.filter(|data| !data.is_empty()).collect();
    assert_eq!(data, expected, "{text:?}");
}

/// Any event decodes to non-empty texts and bounded messages, and an error takes precedence.
pub fn event(data: &[u8]) {
    match Decoder::default().decode(data) {
        UpstreamEvent::Alive => panic!("data is no comment"),
        UpstreamEvent::End => assert_eq!(data.trim_ascii(), b"[DONE]"),
        UpstreamEvent::Failure(failure) => check_message(&failure),
        UpstreamEvent::Delta(delta) => {
            // Data that the decoder repairs is not JSON, and becomes null here.
            let value = serde_json::from_slice::<Value>(data).unwrap_or_default();
            assert!(!value["error"].is_object(), "an error is missed");
            let texts = [&delta.content, &delta.reasoning, &delta.refusal, &delta.finish];
            assert!(texts.into_iter().flatten().all(|text| !text.is_empty()), "{delta:?}");
            assert!(delta.redact.is_none_or(|(from, to)| from < to));
            delta.trouble.iter().for_each(check_message);
        }
    }
    check_message(&UpstreamFailure::of_body(data, 500));
}

fn check_message(failure: &UpstreamFailure) {
    let length = failure.message.chars().count();
    assert!((1..=1_001).contains(&length), "{failure:?}");
}

/// An accepted request can be forwarded, and its fingerprint does not depend on its spelling.
pub fn request(body: &[u8]) {
    for parse in [ChatRequest::native, ChatRequest::completion] {
        let Ok(request) = parse(body) else { continue };
        let sent: Value =
            serde_json::from_slice(&request.for_upstream("m", Some(7), Some(StreamUsage::Auto)))
                .expect("JSON");
        assert_eq!((&sent["model"], &sent["stream"]), (&"m".into(), &true.into()));
        assert!(sent["messages"].as_array().is_some_and(|all| !all.is_empty()));
        assert!(
            ["max_tokens", "max_completion_tokens"]
                .iter()
                .all(|name| { sent[name].is_null() || sent[name] == 7 })
        );
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let reparsed = parse(value.to_string().as_bytes()).expect("valid before");
        assert_eq!(reparsed.fingerprint, request.fingerprint);
    }
}

/// Returns what a session of the chat writes for an event.
fn record(index: usize, event: &ChatEvent) -> Vec<u8> {
    let now = Timestamp::from_ms(0);
    let stream = StreamName::parse("c").expect("a name");
    let json = serde_json::value::to_raw_value(event).expect("JSON");
    let draft = Draft::from_json(vec![stream], EventType::default(), &json, now).expect("valid");
    let position = Position::of(1, index % MAX_ENTRIES_PER_BATCH);
    let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
    let entry = Entry { position, time: now, streams: draft.streams().into(), body };
    let view = View { format: Format::Records, ..View::default() };
    let mut out = Vec::new();
    wire::entry(&mut out, EventId { epoch: Epoch(1), position }, &entry, &view, None);
    out
}

/// A reader of either format gets the whole text of an answer in order, even if blocks are flushed
/// together, as `together` says.
pub fn response_formats(parts: &[String], together: &[bool]) {
    let mut events = vec![ChatEvent::Start {
        chat: "c".into(),
        model: "m".into(),
        created: 1,
        metadata: serde_json::Map::new(),
        messages: None,
    }];
    let mut characters = 0;
    for part in parts {
        events.push(ChatEvent::token(part.clone(), characters));
        characters += part.chars().count() as u64;
    }
    events.push(ChatEvent::Done { finish_reason: "stop".into(), is_final: true });
    let native = ResponseFormat::Native(Native::new(Vec::new(), None));
    let completions = ResponseFormat::Completions(Completions::new(0, false, Vec::new()));
    for (mut format, content) in [(native, "/content"), (completions, "/choices/0/delta/content")] {
        let mut out = Vec::new();
        for (index, event) in events.iter().enumerate() {
            format.take(&record(index, event), &mut out);
            if !together.get(index).copied().unwrap_or_default() {
                format.flush(&mut out);
            }
        }
        assert!(format.has_ended());
        let stream = interpret(std::str::from_utf8(&out).expect("UTF-8"));
        let text: String = stream
            .messages
            .iter()
            .filter_map(|message| serde_json::from_str::<Value>(&message.data).ok())
            .filter_map(|value| Some(value.pointer(content)?.as_str()?.to_owned()))
            .collect();
        assert_eq!(text, parts.concat());
    }
}
