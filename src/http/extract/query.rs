//! Strict parser of a subscription's query.

use crate::config::{HEARTBEAT_RANGE, duration};
use crate::event::{EventType, Interest, Invalid, Selector, StreamName, Timestamp};
use crate::hub::{FlushOptions, Heartbeat};
use crate::journal::Start;
use crate::wire::{Columns, Format, View};
use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Query parameters of the last event id, for clients that cannot send the header.
const LAST_ID_NAMES: [&str; 4] = ["last_event_id", "lastEventID", "lastEventId", "Last-Event-ID"];

/// Range of `flush_ms`: longer delays look like a broken connection.
const FLUSH_MS_RANGE: RangeInclusive<u64> = 1..=5_000;
const FLUSH_MS: u64 = 1_000;
/// Range of `flush_bytes`: up to half of a session's queue.
const FLUSH_BYTES_RANGE: RangeInclusive<u64> = 1..=256 * 1024;
const FLUSH_BYTES: u64 = 64 * 1024;

/// Other parameters with a text value.
const TEXT_NAMES: [&str; 8] =
    ["from", "format", "heartbeat", "heartbeat_as", "control", "refusal", "ticket", "as"];

/// Parameters with their values.
pub(crate) type Pairs = Vec<(String, String)>;

/// Query of a subscription.
#[derive(Debug)]
pub(crate) struct SubscribeQuery {
    pub(crate) interest: Interest,
    /// View of the events; its format is that of `Accept` unless `format` is set.
    pub(crate) view: View,
    pub(crate) format: Option<Format>,
    pub(crate) last_event_id: Option<String>,
    pub(crate) start: Start,
    /// False if the response ends with the newest event.
    pub(crate) follow: bool,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) flush: Option<FlushOptions>,
    pub(crate) refusal_as_status: bool,
}

/// Options of a reader, except the streams and types that it reads; `None` if not set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderOptions {
    pub(crate) start: Option<Start>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) has_control: Option<bool>,
    pub(crate) refusal_as_status: Option<bool>,
}

impl ReaderOptions {
    /// Returns the options of a reader that sets none; `heartbeat` is the hub's interval.
    #[cfg(feature = "chat")]
    pub(crate) fn new(heartbeat: Duration) -> Self {
        let beat = Heartbeat { every_s: heartbeat.as_secs().max(1), as_event: false };
        Self { start: None, heartbeat: beat, has_control: None, refusal_as_status: None }
    }

    /// Reads the options from a query.
    pub(crate) fn read(
        pairs: &[(String, String)],
        heartbeat: Duration,
        now: Timestamp,
    ) -> Result<Self, Invalid> {
        let value = |name: &'static str| single(pairs, &[name]);
        let start = match (value("last")?, value("from")?) {
            (Some(count), _) => Some(Start::Last(last(count)?)),
            (None, Some(from)) => Some(start(from, now)?),
            (None, None) => None,
        };
        let beat_as = choice("heartbeat_as", value("heartbeat_as")?, &["comment", "event"])?;
        let interval = value("heartbeat")?.map_or(Ok(heartbeat), heartbeat_interval)?;
        let flag = |name: &'static str, choices: [&'static str; 2]| {
            let given = value(name)?.map(|word| choice(name, Some(word), &choices)).transpose()?;
            Ok::<_, Invalid>(given.map(|word| word == choices[0]))
        };
        Ok(Self {
            start,
            heartbeat: Heartbeat {
                every_s: interval.as_secs().max(1),
                as_event: beat_as == "event",
            },
            has_control: flag("control", ["on", "off"])?,
            refusal_as_status: flag("refusal", ["status", "event"])?,
        })
    }
}

#[cfg(feature = "chat")]
impl SubscribeQuery {
    /// Returns a subscription to one stream, from its oldest event unless `options` has a start.
    pub(crate) fn of_stream(stream: StreamName, options: ReaderOptions) -> Result<Self, Invalid> {
        let control_off = options.has_control == Some(false);
        Ok(Self {
            interest: Interest::new(vec![Selector::Exact(stream)], None)?,
            view: View { without_control: control_off, ..View::default() },
            format: None,
            last_event_id: None,
            start: options.start.unwrap_or(Start::Oldest),
            follow: true,
            heartbeat: options.heartbeat,
            flush: None,
            refusal_as_status: control_off || options.refusal_as_status == Some(true),
        })
    }
}

/// Reads the query of a subscription; `stream` is the stream in the path, if there is one.
pub(crate) fn read(
    pairs: &[(String, String)],
    stream: Option<StreamName>,
    heartbeat: Duration,
    now: Timestamp,
) -> Result<SubscribeQuery, Invalid> {
    let value = |name: &'static str| single(pairs, &[name]);
    let follow = choice("follow", value("follow")?, &["true", "false"])? == "true";
    let options = ReaderOptions::read(pairs, heartbeat, now)?;
    // A response that begins and ends with the newest event would be empty.
    let default_start = if follow { Start::Now } else { Start::Oldest };
    let control_off = options.has_control == Some(false);
    let envelope = choice("envelope", value("envelope")?, &["false", "true"])?;
    let without_types = choice("as", value("as")?, &["event", "message"])? == "message";
    let escapes = choice("escape_formulas", value("escape_formulas")?, &["false", "true"])?;
    let format = value("format")?.map(|name| choice("format", Some(name), &Format::NAMES));
    let format = format.transpose()?.and_then(Format::named);
    let flush = flush(value("flush_ms")?, value("flush_bytes")?)?;
    Ok(SubscribeQuery {
        interest: interest(pairs, stream)?,
        view: View {
            // Without an `event:` line, the type is only in the envelope.
            envelope: envelope == "true" || without_types,
            without_types,
            columns: value("columns")?.map(Columns::parse).transpose()?.map(Arc::new),
            without_control: control_off,
            escape_formulas: escapes == "true",
            ..View::default()
        },
        format,
        last_event_id: last_event_id(pairs)?.map(str::to_owned),
        start: options.start.unwrap_or(default_start),
        follow,
        heartbeat: options.heartbeat,
        flush,
        refusal_as_status: control_off || options.refusal_as_status == Some(true),
    })
}

/// Returns the streams and types that a query selects; `stream` is the stream in the path, if there
/// is one.
pub(crate) fn interest(
    pairs: &[(String, String)],
    stream: Option<StreamName>,
) -> Result<Interest, Invalid> {
    let selectors = match stream {
        Some(stream) => vec![Selector::Exact(stream)],
        None => values(pairs, "stream").map(Selector::parse).collect::<Result<Vec<_>, _>>()?,
    };
    let types = single(pairs, &["types"])?
        .map(|list| list.split(',').map(|t| EventType::parse(t.trim())).collect())
        .transpose()
        .map_err(|e: Invalid| Invalid::new("types", e.detail))?;
    Interest::new(selectors, types)
}

/// Returns the last event id of a query.
pub(crate) fn last_event_id(pairs: &[(String, String)]) -> Result<Option<&str>, Invalid> {
    Ok(single(pairs, &LAST_ID_NAMES)?.filter(|id| !id.is_empty()))
}

/// Returns the stream in a path, `/streams/{stream}…`.
pub(crate) fn stream_of(request: &HttpRequest) -> Result<StreamName, Invalid> {
    // The router's own decoding replaces bytes that are not UTF-8.
    let segment = request.uri().path().split('/').nth(2).unwrap_or_default();
    let name = percent_decode_str(segment).decode_utf8();
    StreamName::parse(&name.map_err(|_| Invalid::new("stream", "the path is not UTF-8"))?)
}

/// Returns the decoded pairs of a query.
pub(crate) fn pairs(query: &str) -> Result<Pairs, Invalid> {
    let decode = |text: &str| {
        let with_spaces = text.replace('+', " ");
        percent_decode_str(&with_spaces).decode_utf8().map(|decoded| decoded.into_owned())
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                _ => Err(Invalid::new("query", format!("{pair:?} is not UTF-8"))),
            }
        })
        .collect()
}

/// Returns the members of an object as the pairs of a query. Unknown members are ignored.
pub(crate) fn pairs_of_members(members: &Map<String, Value>) -> Result<Pairs, Invalid> {
    let mut pairs = Pairs::new();
    for (name, value) in members {
        let items = match name.as_str() {
            "stream" | "types" | "columns" => texts(name, value)?,
            "last" | "flush_ms" | "flush_bytes" => {
                vec![require_type(name, value.as_u64(), "a number")?.to_string()]
            }
            "follow" | "envelope" | "escape_formulas" => {
                vec![require_type(name, value.as_bool(), "true or false")?.to_string()]
            }
            known if TEXT_NAMES.contains(&known) || LAST_ID_NAMES.contains(&known) => {
                vec![require_type(name, value.as_str(), "a string")?.to_owned()]
            }
            _ => continue,
        };
        if name == "stream" {
            pairs.extend(items.into_iter().map(|item| (name.clone(), item)))
        } else {
            pairs.push((name.clone(), items.join(",")))
        }
    }
    Ok(pairs)
}

/// Returns one text or a list of texts.
fn texts(name: &str, value: &Value) -> Result<Vec<String>, Invalid> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let collected = match value {
        Value::Array(list) => list.iter().map(text).collect(),
        one => text(one).map(|text| vec![text]),
    };
    require_type(name, collected, "a string or a list of strings")
}

fn require_type<T>(name: &str, value: Option<T>, expected: &str) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(name, format!("must be {expected}")))
}

/// Returns the value of the parameter with one of `names`. A second value is an error.
pub(crate) fn single<'a>(
    pairs: &'a [(String, String)],
    names: &[&str],
) -> Result<Option<&'a str>, Invalid> {
    let mut matching = pairs.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let first = matching.next().map(|(_, value)| value.as_str());
    match matching.next() {
        Some((name, _)) => Err(Invalid::new(name.as_str(), "is given twice")),
        None => Ok(first),
    }
}

fn values<'a>(pairs: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn choice<'a>(
    field: &str,
    value: Option<&'a str>,
    choices: &[&'a str],
) -> Result<&'a str, Invalid> {
    match value {
        None => Ok(choices[0]),
        Some(word) if choices.contains(&word) => Ok(word),
        Some(word) => {
            Err(Invalid::new(field, format!("{word:?} is not one of {}", choices.join(", "))))
        }
    }
}

/// Maximum number of past events for `last`; each is looked up before the first is sent.
const MAX_LAST: usize = 10_000;

fn last(text: &str) -> Result<usize, Invalid> {
    match text.parse() {
        Ok(count) if count <= MAX_LAST => Ok(count),
        Ok(_) => Err(Invalid::new("last", format!("must be at most {MAX_LAST}; use from=start"))),
        Err(_) => Err(Invalid::new("last", format!("{text:?} is not a number"))),
    }
}

fn heartbeat_interval(text: &str) -> Result<Duration, Invalid> {
    let seconds = text.parse().map(Duration::from_secs).map_err(|_| ());
    match seconds.or_else(|()| duration(text)) {
        Ok(interval) if HEARTBEAT_RANGE.contains(&interval) => Ok(interval),
        _ => Err(Invalid::new("heartbeat", format!("{text:?} is not a duration from 1s to 1h"))),
    }
}

/// Parses the delay and size of flushes.
fn flush(ms: Option<&str>, bytes: Option<&str>) -> Result<Option<FlushOptions>, Invalid> {
    let number =
        |field: &str, value: Option<&str>, (default, range): (u64, &RangeInclusive<u64>)| {
            match value.map_or(Ok(default), str::parse) {
                Ok(number) if range.contains(&number) => Ok(number),
                _ => {
                    let (from, to) = range.clone().into_inner();
                    Err(Invalid::new(field, format!("must be a number between {from} and {to}")))
                }
            }
        };
    if ms.is_none() && bytes.is_none() {
        return Ok(None);
    }
    let within = number("flush_ms", ms, (FLUSH_MS, &FLUSH_MS_RANGE))?;
    let bytes = number("flush_bytes", bytes, (FLUSH_BYTES, &FLUSH_BYTES_RANGE))?;
    Ok(Some(FlushOptions { within: Duration::from_millis(within), bytes }))
}

/// Parses the parameter `from`.
pub(crate) fn start(text: &str, now: Timestamp) -> Result<Start, Invalid> {
    match text {
        "now" => return Ok(Start::Now),
        "start" => return Ok(Start::Oldest),
        _ => {}
    }
    if let Ok(age) = duration(text) {
        return Ok(Start::At(now.minus_ms(age.as_millis() as u64)));
    }
    // A date alone is its start, in UTC.
    let is_date =
        text.len() == 10 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    let time = if is_date { format!("{text}T00:00:00Z") } else { text.to_owned() };
    // A `+` in a query is decoded as a space, even the unescaped one of a time offset.
    Timestamp::parse("from", &time.replace(' ', "+")).map(Start::At).map_err(|_| {
        Invalid::new(
            "from",
            format!("{text:?} is not start, now, a date, a time or a duration like 10m"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::properties::cases;
    use proptest::prelude::*;
    use serde_json::json;

    fn read_at(query: &str) -> Result<SubscribeQuery, Invalid> {
        read(&pairs(query)?, None, Duration::from_secs(15), Timestamp::from_ms(1_000_000))
    }

    #[test]
    fn all_parameters_are_parsed() {
        let q = read_at(
            "stream=a%2Eb&stream=c.*&types=log,metric&envelope=true&heartbeat=2s&heartbeat_as=event&lastEventID=x&from=10s",
        )
        .expect("ok");
        assert_eq!(q.interest.selectors().len(), 2);
        assert!(q.view.envelope && !q.view.without_control && q.heartbeat.as_event);
        assert_eq!(q.heartbeat.every_s, 2);
        assert_eq!(q.last_event_id.as_deref(), Some("x"));
        assert_eq!(q.start, Start::At(Timestamp::from_ms(990_000)));
        let time = read_at("stream=a&from=1970-01-01T01:00:05+01:00").expect("ok").start;
        assert_eq!(time, Start::At(Timestamp::from_ms(5_000)));
        assert_eq!(read_at("stream=a&last=5").expect("ok").start, Start::Last(5));
    }

    #[test]
    fn errors_name_the_invalid_parameter() {
        for (query, field) in [
            ("", "stream"),
            ("stream=", "stream"),
            ("stream=a&types=open", "types"),
            ("stream=a&types=", "types"),
            ("stream=a&last=-1", "last"),
            ("stream=a&from=later", "from"),
            ("stream=a&heartbeat=0", "heartbeat"),
            ("stream=a&heartbeat=2h", "heartbeat"),
            ("stream=a&envelope=maybe", "envelope"),
            ("stream=a&control=x", "control"),
            ("stream=a&refusal=x", "refusal"),
            ("stream=a&format=xml", "format"),
            ("stream=a&columns=a,,b", "columns"),
            ("stream=a&flush_ms=0", "flush_ms"),
            ("stream=a&flush_ms=1s", "flush_ms"),
            ("stream=a&flush_bytes=1000000", "flush_bytes"),
            ("stream=a&follow=no", "follow"),
            ("stream=a&last=1&last=2", "last"),
            ("stream=%ff", "query"),
        ] {
            assert_eq!(read_at(query).expect_err(query).field, field, "{query}");
        }
    }

    #[test]
    fn members_must_have_the_described_type() {
        let read = |body: Value| pairs_of_members(body.as_object().expect("an object"));
        let members = json!({"stream": ["a", "b"], "types": ["log", "metric"], "last": 5,
            "follow": false, "format": "text", "refusal": "status"});
        let members = read(members).expect("pairs");
        let parsed = super::read(&members, None, Duration::from_secs(15), Timestamp::from_ms(0));
        let parsed = parsed.expect("a query");
        assert_eq!(parsed.interest.selectors().len(), 2);
        assert_eq!((parsed.start, parsed.follow), (Start::Last(5), false));
        assert_eq!(read(json!({"stream": "a"})).expect("one"), [("stream".into(), "a".into())]);
        for invalid in [
            json!({"stream": [1]}),
            json!({"stream": {"a": 1}}),
            json!({"types": [["log"]]}),
            json!({"last": "5"}),
            json!({"last": -1}),
            json!({"follow": "false"}),
            json!({"envelope": 1}),
            json!({"from": 10}),
            json!({"last_event_id": null}),
        ] {
            let name = invalid.as_object().and_then(|members| members.keys().next().cloned());
            assert_eq!(Some(read(invalid).expect_err("invalid").field.to_string()), name);
        }
    }

    /// Encodes `text` as a form does. `escapes` selects the safe characters to escape as well.
    fn escaped(text: &str, escapes: &[bool]) -> String {
        let mut escapes = escapes.iter().copied().chain(std::iter::repeat(true));
        let byte = |byte: u8| {
            let is_escaped = escapes.next() == Some(true);
            match byte {
                b' ' if !is_escaped => "+".to_owned(),
                b'a'..=b'z' | b'0'..=b'9' | b'.' | b'*' | b':' | b',' if !is_escaped => {
                    char::from(byte).into()
                }
                _ => format!("%{byte:02x}"),
            }
        };
        text.bytes().map(byte).collect()
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn pairs_decode_what_a_form_encodes(
            expected in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
            escapes in proptest::collection::vec(any::<bool>(), 0..40),
            ends in "&{0,2}",
        ) {
            let form = expected.iter().map(|(name, value)| {
                format!("{}={}", escaped(name, &escapes), escaped(value, &escapes))
            });
            let form = form.collect::<Vec<_>>().join("&") + &ends;
            prop_assert_eq!(pairs(&form), Ok(expected));
        }

        #[test]
        fn parameter_order_is_irrelevant_and_duplicates_are_rejected(
            streams in proptest::collection::vec("[a-cé]{1,3}(\\.[a-c*])?", 1..4),
            (last, beat, envelope) in (0..9_999usize, 1..=3600u64, any::<bool>()),
            id in any::<String>(),
            order in any::<[u8; 8]>(),
            duplicate in 0..4usize,
            escapes in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let (last_text, beat_text) = (last.to_string(), format!("{beat}s"));
            let envelope_text = envelope.to_string();
            let once = [
                ("last", &last_text), ("heartbeat", &beat_text), ("envelope", &envelope_text),
                ("lastEventId", &id),
            ];
            let stream_parameters = streams.iter().map(|stream| ("stream", stream));
            let mut parameters: Vec<_> = once.into_iter().chain(stream_parameters).collect();
            let position = |(index, _): &(usize, _)| order.get(*index).copied();
            let mut ordered: Vec<_> = parameters.drain(..).enumerate().collect();
            ordered.sort_by_key(position);
            let pair = |(name, value): (&str, &String)| {
                format!("{name}={}", escaped(value, &escapes))
            };
            let query = ordered.into_iter().map(|(_, parameter)| pair(parameter));
            let query = query.collect::<Vec<_>>().join("&");
            let parsed = read_at(&query).expect("a query");
            let mut selectors: Vec<_> =
                streams.iter().map(|text| Selector::parse(text).expect("a selector")).collect();
            selectors.sort_unstable();
            selectors.dedup();
            prop_assert_eq!(parsed.interest.selectors(), &selectors[..]);
            prop_assert_eq!((parsed.start, parsed.heartbeat.every_s), (Start::Last(last), beat));
            prop_assert_eq!(parsed.view.envelope, envelope);
            prop_assert_eq!(parsed.last_event_id, Some(id.clone()).filter(|id| !id.is_empty()));
            let with_duplicate = format!("{query}&{}", pair(once[duplicate]));
            prop_assert_eq!(read_at(&with_duplicate).expect_err("twice").field, once[duplicate].0);
        }

        #[test]
        fn errors_of_arbitrary_queries_name_a_parameter(
            text in "((stream|last|from|types|heartbeat|x|%6c%61st|é)?(=|&|%|\\+|[a-z0-9*]{0,3}|%[0-9a-f]{2})){0,8}",
        ) {
            const NAMES: [&str; 5] = ["query", "stream", "last", "from", "types"];
            if let Err(error) = read_at(&text) {
                prop_assert!(NAMES.contains(&error.field.as_str()) || error.field == "heartbeat");
            }
        }
    }
}
