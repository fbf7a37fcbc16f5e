//! Laws of written Server-Sent Events, checked with a separate parser.

use fanfare::event::{
    Body, Draft, Entry, Epoch, EventId, EventType, Position, StreamName, Timestamp,
};
use fanfare::wire::{self, Format, View};
use serde_json::Value;

/// An event that an EventSource dispatches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub kind: String,
    pub data: String,
    pub last_id: String,
}

/// The result of a whole stream.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct InterpretedStream {
    pub messages: Vec<Message>,
    pub retry: Option<u64>,
    pub last_id: String,
}

/// Returns the lines of a text without its BOM. Text after the last line end is discarded (WHATWG
/// HTML §9.2.6).
fn lines(text: &str) -> Vec<&str> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    while let Some(index) = rest.find(['\n', '\r']) {
        lines.push(&rest[..index]);
        rest = match rest[index..].strip_prefix("\r\n") {
            Some(rest) => rest,
            None => &rest[index + 1..],
        };
    }
    lines
}

/// Interprets a stream as WHATWG HTML §9.2.6 says.
pub fn interpret(text: &str) -> InterpretedStream {
    let mut stream = InterpretedStream::default();
    let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
    for line in lines(text) {
        if line.is_empty() {
            stream.last_id.clone_from(&id);
            if data.is_empty() {
                kind.clear();
                continue;
            }
            if data.ends_with('\n') {
                data.pop();
            }
            let kind = std::mem::take(&mut kind);
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            let last_id = stream.last_id.clone();
            stream.messages.push(Message { kind, data: std::mem::take(&mut data), last_id });
            continue;
        }
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => kind = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                stream.retry = value.parse().ok();
            }
            _ => {}
        }
    }
    stream
}

/// Returns a text with each line end as LF, as clients read it.
pub fn normalized(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Any text of any type is read back unchanged, except that line ends become LF. The data of an
/// envelope is read back exactly.
pub fn block(kind: &str, text: &str, number: u64, retry_ms: u64) {
    let Ok(kind) = EventType::parse(kind) else { return };
    let now = Timestamp::from_ms(number % 250_000_000_000_000);
    let names = ["a.b", "c"].map(|name| StreamName::parse(name).expect("a name"));
    let Ok(draft) = Draft::from_text(names.to_vec(), kind.clone(), text, now) else { return };
    let position = Position::from_stored(number);
    let id = EventId { epoch: Epoch(number as u32), position };
    let body = Body::Event { kind: kind.clone(), payload: draft.payload().clone() };
    let entry = Entry { position, time: now, streams: draft.streams().into(), body };
    let payload = std::str::from_utf8(draft.payload().as_bytes()).expect("UTF-8");

    let mut plain = Vec::new();
    wire::retry(&mut plain, Format::Sse, retry_ms);
    wire::entry(&mut plain, id, &entry, &View::default(), None);
    wire::heartbeat(&mut plain, &View::default(), false, now);
    wire::heartbeat(&mut plain, &View::default(), true, now);
    let plain = String::from_utf8(plain).expect("UTF-8");
    let stream = interpret(&plain);
    let event = Message {
        kind: kind.as_str().to_owned(),
        data: normalized(payload),
        last_id: id.to_string(),
    };
    assert_eq!(stream.messages.len(), 2, "{plain:?}");
    assert_eq!(stream.messages[0], event, "{plain:?}");
    assert_eq!((stream.retry, stream.last_id), (Some(retry_ms), id.to_string()), "{plain:?}");

    let mut envelope_bytes = Vec::new();
    wire::entry(&mut envelope_bytes, id, &entry, &View { envelope: true, ..View::default() }, None);
    let stream = interpret(std::str::from_utf8(&envelope_bytes).expect("UTF-8"));
    let [message] = &stream.messages[..] else { panic!("{stream:?}") };
    let envelope: Value = serde_json::from_str(&message.data).expect("JSON");
    assert_eq!((&message.kind, &message.last_id), (&event.kind, &event.last_id));
    assert_eq!(envelope["stream"], serde_json::json!(["a.b", "c"]));
    assert_eq!(envelope["type"], kind.as_str());
    assert_eq!(envelope["time"], now.to_string());
    if draft.payload().is_json() {
        // The same characters, so that no number is rounded.
        assert!(message.data.ends_with(&format!("\"data\":{payload}}}")), "{envelope}");
    } else {
        assert_eq!(envelope["data"], payload);
    }
}
