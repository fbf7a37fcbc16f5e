//! `Idempotency-Key`: a repeated request with the same key has the effect of one
//! (draft-ietf-httpapi-idempotency-key-header).

use crate::event::Key;
use crate::http::error::{Code, Problem};
use actix_web::HttpRequest;

/// The header.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Returns the idempotency key of a request.
pub(crate) fn idempotency_key(request: &HttpRequest) -> Result<Option<Key>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = |why| Problem::new(Code::Malformed, why).field(IDEMPOTENCY_KEY);
    if values.next().is_some() {
        return Err(malformed("the header must not be repeated"));
    }
    let visible = "the header must contain only visible ASCII characters";
    let text = value.to_str().map_err(|_| malformed(visible))?;
    Ok(Some(Key::parse(IDEMPOTENCY_KEY, text)?))
}
