//! Forms of publishers.

use crate::event::Invalid;
use crate::event::topic::{MAX_TOPICS, PublishedUpdate};
use crate::http::error::{Code, Problem};
use crate::http::extract::query;
use actix_web::HttpRequest;
use actix_web::http::header;

/// Media type of forms, and of the parameters in the body of a subscription.
const FORM: &str = "application/x-www-form-urlencoded";
/// Maximum length of a topic, an id and a type, in bytes.
const MAX_FIELD_BYTES: usize = 4_096;

/// Fails if a body is not a form.
pub(super) fn check_content_type(request: &HttpRequest) -> Result<(), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.unwrap_or(FORM).split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(FORM) {
        Ok(())
    } else {
        let why = format!("the body must be {FORM}, not {essence}");
        Err(Problem::new(Code::Malformed, why).field("Content-Type"))
    }
}

/// Returns the names and values of a form.
pub(super) fn pairs(body: &[u8]) -> Result<query::Pairs, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid::new("body", "not UTF-8"));
    text.and_then(query::pairs).map_err(Problem::query)
}

/// Reads the form of a publisher. Unknown fields are ignored, and empty optional ones are absent.
pub(crate) fn read(body: &[u8], max_event_bytes: usize) -> Result<PublishedUpdate, Problem> {
    let mut update = PublishedUpdate::default();
    for (name, value) in pairs(body)? {
        let max = if name == "data" { max_event_bytes } else { MAX_FIELD_BYTES };
        let is_known =
            matches!(name.as_str(), "topic" | "data" | "private" | "id" | "type" | "retry");
        if is_known && value.len() > max {
            let why =
                format!("the field has {} bytes, more than the maximum of {max}", value.len());
            return Err(Problem::new(Code::PayloadTooLarge, why).field(name));
        }
        let optional = Some(value).filter(|value| !value.is_empty());
        match name.as_str() {
            "topic" => update.topics.push(optional.unwrap_or_default()),
            "data" => update.data = optional.unwrap_or_default(),
            // Its presence counts, whatever its value.
            "private" => update.is_private = true,
            "id" => update.id = optional,
            "type" => update.kind = optional,
            "retry" => update.retry = optional,
            _ => {}
        }
    }
    if update.topics.len() > MAX_TOPICS {
        let why = format!("an update has at most {MAX_TOPICS} topics");
        return Err(Problem::new(Code::PayloadTooLarge, why).field("topic"));
    }
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<PublishedUpdate, Problem> {
        super::read(body.as_bytes(), 100)
    }

    #[test]
    fn fields_are_read_by_name() {
        let update = read("topic=a%20b&topic=c+d&data=1%0A2&private&id=i&type=t&retry=5&x=y")
            .expect("valid");
        assert_eq!(update.topics, ["a b", "c d"]);
        assert_eq!((update.data.as_str(), update.is_private), ("1\n2", true));
        let optional = [&update.id, &update.kind, &update.retry].map(|field| field.as_deref());
        assert_eq!(optional, [Some("i"), Some("t"), Some("5")]);
        let empty = read("topic=a&id=&type=&retry=&private=").expect("valid");
        assert_eq!((&empty.id, &empty.kind, &empty.retry), (&None, &None, &None));
        assert!(empty.is_private);
    }

    #[test]
    fn what_is_too_large_or_not_utf8_is_refused() {
        let code = |body: &str| read(body).map(|_| ()).map_err(|problem| problem.code);
        assert_eq!(code(&format!("data={}", "x".repeat(101))), Err(Code::PayloadTooLarge));
        assert_eq!(code(&format!("x={}", "x".repeat(10_000))), Ok(()));
        assert_eq!(code(&format!("topic={}", "x".repeat(4_097))), Err(Code::PayloadTooLarge));
        assert_eq!(code(&"topic=a&".repeat(1_001)), Err(Code::PayloadTooLarge));
        assert_eq!(code("topic=%ff"), Err(Code::Malformed));
    }
}
