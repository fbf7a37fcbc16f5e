//! Authentication of requests of the Mercure protocol.
//!
//! A token of the protocol grants topics and nothing else: it is accepted on these paths only, and no other
//! credential is.

use crate::access::{Caller, Denied, Dialect, Operation, dialect_of};
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::{RequestIdentity, was_key_fetched};
use crate::http::extract::mercure::{MercureRequest, is_mercure_path};
use crate::http::extract::{cookie, query};
use crate::http::middleware::site::{check_anonymous, is_own_page};
use crate::http::state::AppState;
use crate::journal::now;
use crate::telemetry::RequestRefused;
use actix_web::http::{Method, header};
use actix_web::{HttpMessage as _, HttpRequest};
use std::sync::Arc;

/// Query parameter with a token, in the dialect 0.x.
const AUTHORIZATION: &str = "authorization";

/// Identifies the caller of a request of the Mercure protocol; `None` for other requests.
pub(super) async fn identify(
    state: &AppState,
    request: &HttpRequest,
) -> Option<Result<RequestIdentity, Problem>> {
    let settings = state.settings.mercure.as_ref()?;
    if !is_mercure_path(settings, request.path()) {
        return None;
    }
    let settings = settings.clone();
    let mut own = MercureRequest { settings, dialect: Dialect::One };
    own.dialect = own.settings.dialects.first().copied()?;
    let presented = match presented(&own, request) {
        Ok(presented) => presented,
        Err(why) => return Some(Err(own.misplaced(state, why))),
    };
    own.dialect = dialect(&own, request, &presented);
    request.extensions_mut().insert(own.clone());
    let identified = match presented.of(own.dialect) {
        Ok(Some(token)) => verify(state, request, &own, token).await,
        Ok(None) => check_anonymous(state, request)
            .map(|()| RequestIdentity(state.access.load().anonymous())),
        Err(why) => Err(own.misplaced(state, why)),
    };
    Some(identified)
}

/// Tokens of a request by the place where they are presented.
struct Presented {
    header: Option<String>,
    query: Option<String>,
    cookie: Option<String>,
    old_cookie: Option<String>,
}

/// A token with its dialect, and true if a browser may have added it to the request of any page.
struct Token<'a> {
    text: &'a str,
    dialect: Dialect,
    is_ambient: bool,
}

impl Presented {
    /// Returns the token that counts in a dialect: the header before the query before the cookie. If there is only
    /// the cookie of the other dialect, it counts, so that an invalid token is never taken for none.
    fn of(&self, dialect: Dialect) -> Result<Option<Token<'_>>, Denied> {
        if let Some(text) = &self.header {
            return Ok(Some(Token { text, dialect, is_ambient: false }));
        }
        let one = self.cookie.as_deref().map(|text| (text, Dialect::One));
        let zero = self.old_cookie.as_deref().map(|text| (text, Dialect::Zero));
        let cookie = match (dialect, &self.query) {
            (Dialect::One, Some(_)) => return Err(Denied::InQuery),
            (Dialect::Zero, Some(text)) => {
                return Ok(Some(Token { text, dialect, is_ambient: false }));
            }
            (Dialect::One, None) => one.or(zero),
            (Dialect::Zero, None) => zero.or(one),
        };
        Ok(cookie.map(|(text, dialect)| Token { text, dialect, is_ambient: true }))
    }

    /// Returns the dialect of the token, if there is one.
    fn dialect(&self) -> Option<Dialect> {
        let by_type = self.header.as_deref().or(self.query.as_deref()).map(dialect_of);
        let is_shared = self.cookie == self.old_cookie;
        let by_name = |text: &String| if is_shared { dialect_of(text) } else { Dialect::One };
        let by_cookie = || self.cookie.as_ref().map(by_name);
        by_type.or_else(by_cookie).or_else(|| self.old_cookie.as_ref().map(|_| Dialect::Zero))
    }
}

fn presented(own: &MercureRequest, request: &HttpRequest) -> Result<Presented, Denied> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| Denied::Malformed)?;
            let (scheme, token) = text.split_once(' ').ok_or(Denied::Malformed)?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            Some(token.trim().to_owned()).filter(|_| is_bearer).ok_or(Denied::Malformed)?.into()
        }
        _ => return Err(Denied::Malformed),
    };
    let pairs = query::pairs(request.query_string()).unwrap_or_default();
    let token = pairs.into_iter().find(|(name, _)| name == AUTHORIZATION);
    let cookie = |dialect| cookie::value(request, own.settings.cookie_name(dialect));
    Ok(Presented {
        header,
        query: token.map(|(_, value)| value).filter(|value| !value.is_empty()),
        cookie: cookie(Dialect::One),
        old_cookie: cookie(Dialect::Zero),
    })
}

/// Returns the dialect of a request: of the only one that is served, of a subscription's parameters, or of the
/// token.
fn dialect(own: &MercureRequest, request: &HttpRequest, presented: &Presented) -> Dialect {
    if let [only] = own.settings.dialects[..] {
        return only;
    }
    let is_subscription = own.is_hub(request.path()) && request.method() != Method::POST;
    if !is_subscription {
        return presented.dialect().unwrap_or(Dialect::One);
    }
    let pairs = query::pairs(request.query_string()).unwrap_or_default();
    let has = |is_named: fn(&str) -> bool| pairs.iter().any(|(name, _)| is_named(name));
    if has(|name| name == "topic") && !has(|name| name.starts_with("match")) {
        Dialect::Zero
    } else {
        Dialect::One
    }
}

/// Verifies a token. If its key is unknown, fetches the key set and verifies it again.
async fn verify(
    state: &AppState,
    request: &HttpRequest,
    own: &MercureRequest,
    token: Token<'_>,
) -> Result<RequestIdentity, Problem> {
    let is_publish = request.method() == Method::POST;
    let operation = if is_publish { Operation::Publish } else { Operation::Subscribe };
    let verify = || -> Result<Caller, Denied> {
        state.access.load().verify_mercure(token.text, token.dialect, operation, now())
    };
    let mut verified = verify();
    if was_key_fetched(state, token.text, &verified).await {
        verified = verify();
    }
    let caller = verified.map_err(|why| own.refused(state, why))?;
    if token.is_ambient && is_publish && !is_own_page(state, request) {
        state.telemetry.request_refused(RequestRefused::CrossSite);
        let why =
            "the cookie is accepted only from pages of this hub and of origins in --cors-origin";
        return Err(Problem::new(Code::Forbidden, why).field("Origin"));
    }
    Ok(RequestIdentity(Some(Arc::new(caller))))
}
