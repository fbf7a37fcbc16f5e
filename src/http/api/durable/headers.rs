//! Headers of requests of the Durable Streams protocol.

use crate::event::Timestamp;
use crate::event::durable::{ContentType, Lifetime, MAX_PRODUCER_NUMBER, ProducerWrite};
use crate::http::error::{Code, Problem};
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

pub(super) const STREAM_TTL: &str = "Stream-TTL";
pub(super) const STREAM_EXPIRES_AT: &str = "Stream-Expires-At";
pub(super) const STREAM_CLOSED: &str = "Stream-Closed";
pub(super) const FORKED_FROM: &str = "Stream-Forked-From";
pub(super) const FORK_OFFSET: &str = "Stream-Fork-Offset";
pub(super) const FORK_SUB_OFFSET: &str = "Stream-Fork-Sub-Offset";
pub(super) const PRODUCER_ID: &str = "Producer-Id";
pub(super) const PRODUCER_EPOCH: &str = "Producer-Epoch";
pub(super) const PRODUCER_SEQ: &str = "Producer-Seq";
const STREAM_SEQ: &str = "Stream-Seq";
/// Maximum length of a sequence, in bytes.
const MAX_SEQ_BYTES: usize = 255;

/// Headers that pages of other origins may send.
pub(crate) const REQUEST_HEADERS: [&str; 11] = [
    "If-None-Match",
    STREAM_SEQ,
    STREAM_TTL,
    STREAM_EXPIRES_AT,
    STREAM_CLOSED,
    FORKED_FROM,
    FORK_OFFSET,
    FORK_SUB_OFFSET,
    PRODUCER_ID,
    PRODUCER_EPOCH,
    PRODUCER_SEQ,
];

pub(super) fn malformed(field: &str, why: impl Into<String>) -> Problem {
    Problem::new(Code::Malformed, why).field(field)
}

/// Returns the value of a header; a repeated one is refused.
pub(super) fn text<'a>(request: &'a HttpRequest, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = request.headers().get_all(name);
    let (value, further) = (values.next(), values.next());
    if further.is_some() {
        return Err(malformed(name, format!("more than one header {name}")));
    }
    let value = value.map(|value| value.to_str()).transpose();
    value.map_err(|_| malformed(name, format!("the header {name} is not ASCII")))
}

/// Returns the content type of a request, if it has one.
pub(crate) fn content_type(request: &HttpRequest) -> Result<Option<ContentType>, Problem> {
    match text(request, HeaderName::as_str(&header::CONTENT_TYPE))? {
        None | Some("") => Ok(None),
        Some(value) => ContentType::parse(value).map(Some).map_err(Problem::query),
    }
}

/// Returns true if a request closes its stream. Any value but `true` counts as none.
pub(crate) fn closes(request: &HttpRequest) -> Result<bool, Problem> {
    Ok(text(request, STREAM_CLOSED)?.is_some_and(|value| value.eq_ignore_ascii_case("true")))
}

/// Returns the sequence of an append, if it has one.
pub(crate) fn seq(request: &HttpRequest) -> Result<Option<Box<str>>, Problem> {
    match text(request, STREAM_SEQ)? {
        Some(seq) if seq.len() > MAX_SEQ_BYTES => {
            Err(malformed(STREAM_SEQ, format!("a sequence has at most {MAX_SEQ_BYTES} bytes")))
        }
        seq => Ok(seq.map(Into::into)),
    }
}

/// Returns a decimal number without sign and leading zeros.
pub(super) fn number(field: &str, text: &str) -> Result<u64, Problem> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| malformed(field, format!("{text:?} is not a decimal number")))
}

/// Returns the lifetime that a request asks for, if it asks for one.
pub(crate) fn lifetime(request: &HttpRequest) -> Result<Option<Lifetime>, Problem> {
    match (text(request, STREAM_TTL)?, text(request, STREAM_EXPIRES_AT)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let why = format!("{STREAM_TTL} and {STREAM_EXPIRES_AT} exclude each other");
            Err(malformed(STREAM_TTL, why))
        }
        (Some(seconds), None) => {
            Ok(Some(Lifetime::AfterUse { seconds: number(STREAM_TTL, seconds)? }))
        }
        (None, Some(time)) => {
            let time = Timestamp::parse(STREAM_EXPIRES_AT, time).map_err(Problem::query)?;
            Ok(Some(Lifetime::Until(time)))
        }
    }
}

/// Returns the producer of an append, if it names one.
pub(crate) fn producer(request: &HttpRequest) -> Result<Option<ProducerWrite>, Problem> {
    let id = text(request, PRODUCER_ID)?;
    let (epoch, seq) = (text(request, PRODUCER_EPOCH)?, text(request, PRODUCER_SEQ)?);
    let (id, epoch, seq) = match (id, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        _ => {
            let why =
                format!("a producer sends {PRODUCER_ID}, {PRODUCER_EPOCH} and {PRODUCER_SEQ}");
            return Err(malformed(PRODUCER_ID, why));
        }
    };
    ProducerWrite::check_id(id).map_err(Problem::query)?;
    let number = |field, text: &str| match number(field, text)? {
        number if number > MAX_PRODUCER_NUMBER => {
            Err(malformed(field, format!("{text} is larger than {MAX_PRODUCER_NUMBER}")))
        }
        number => Ok(number),
    };
    let (epoch, seq) = (number(PRODUCER_EPOCH, epoch)?, number(PRODUCER_SEQ, seq)?);
    Ok(Some(ProducerWrite { id: id.into(), epoch, seq }))
}
