//! Tokens of the Mercure protocol, in both dialects. They grant topics, and open nothing else.
//!
//! Dialect 1.0 has access tokens (RFC 9068) with authorization details (RFC 9396); dialect 0.x has a claim
//! `mercure`.

use super::jwt::Verifier;
use super::{Caller, Denied, GrantClaims, Grants, RevocationMark};
use crate::event::Timestamp;
use crate::event::topic::{MatcherKind, Topic, TopicMatcher};
use jsonwebtoken::Header;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Type of the authorization details that grant topics.
pub const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";
/// Maximum number of matchers of a token.
const MAX_MATCHERS: usize = 1_000;

/// Version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// 1.0 (draft-08).
    One,
    /// 0.x (draft-07 and earlier).
    Zero,
}

/// Operation that a token is presented for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Publishing an update.
    Publish,
    /// Subscribing, and reading subscriptions.
    Subscribe,
}

/// Topics that a token grants.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct TopicGrants {
    publish: Vec<TopicMatcher>,
    subscribe: Vec<TopicMatcher>,
    /// Payloads of the subscriptions that match; the first applies.
    payloads: Vec<(Vec<TopicMatcher>, Option<Value>)>,
}

impl TopicGrants {
    /// Returns true if publishing to a topic is granted.
    pub fn may_publish(&self, topic: &str) -> bool {
        matches_any(&self.publish, topic)
    }

    /// Returns true if reading private updates of a topic is granted.
    pub fn may_read(&self, topic: &str) -> bool {
        matches_any(&self.subscribe, topic)
    }

    /// Returns the matchers of the topics whose private updates may be read.
    pub fn readable(&self) -> &[TopicMatcher] {
        &self.subscribe
    }

    /// Returns the payload of a subscription, if it has one. Its matcher is matched as if it were a topic.
    pub fn payload(&self, matcher: &TopicMatcher) -> Option<&Value> {
        let applies = |matchers: &[TopicMatcher]| {
            matchers.iter().any(|granted| granted == matcher)
                || matches_any(matchers, matcher.as_str())
        };
        let first = self.payloads.iter().find(|(matchers, _)| applies(matchers));
        first.and_then(|(_, payload)| payload.as_ref())
    }
}

fn matches_any(matchers: &[TopicMatcher], topic: &str) -> bool {
    let topic = Topic::new(topic);
    matchers.iter().any(|matcher| matcher.matches(&topic))
}

/// Verifies the tokens of one hub.
#[derive(Clone, Debug)]
pub struct MercureVerifier {
    /// URL of the hub: audience of tokens, and base of URL patterns.
    url: Url,
    /// Keys of access tokens, and of all tokens for which there is no other key.
    common: Option<Verifier>,
    /// Keys of the dialect 0.x.
    publisher: Option<Verifier>,
    subscriber: Option<Verifier>,
    max_lifetime: Option<Duration>,
}

/// Times and names that tokens of both dialects have.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<Value>,
    #[serde(default)]
    authorization_details: Option<Value>,
    #[serde(default)]
    mercure: Option<OldClaim>,
    #[serde(default, rename = "https://mercure.rocks/")]
    namespaced: Option<OldClaim>,
    /// Streams that the subscriber may read as topics.
    #[serde(default)]
    fanfare: GrantClaims,
}

/// The claim of the dialect 0.x.
#[derive(Deserialize)]
struct OldClaim {
    #[serde(default)]
    publish: Option<Vec<String>>,
    #[serde(default)]
    subscribe: Option<Vec<String>>,
    #[serde(default)]
    payload: Option<Value>,
}

impl MercureVerifier {
    /// Creates a verifier. `common` are the keys of all tokens, unless those of the dialect 0.x have others.
    pub fn new(url: Url, common: Option<Verifier>, max_lifetime: Option<Duration>) -> Self {
        Self { url, common, publisher: None, subscriber: None, max_lifetime }
    }

    /// Sets the keys of the dialect 0.x.
    #[must_use]
    pub fn with_keys(self, publisher: Option<Verifier>, subscriber: Option<Verifier>) -> Self {
        Self { publisher, subscriber, ..self }
    }

    /// Returns the verifier of tokens of one dialect for one operation, if it is not the common one.
    fn own_verifier(&self, dialect: Dialect, operation: Operation) -> Option<&Verifier> {
        match (dialect, operation) {
            (Dialect::One, _) => None,
            (Dialect::Zero, Operation::Publish) => self.publisher.as_ref(),
            (Dialect::Zero, Operation::Subscribe) => self.subscriber.as_ref(),
        }
    }

    /// Returns true if there is any key.
    pub(super) fn has_keys(&self) -> bool {
        [&self.common, &self.publisher, &self.subscriber].into_iter().any(Option::is_some)
    }

    /// Returns true if a key with this mark exists.
    pub(super) fn has(&self, mark: RevocationMark) -> bool {
        let all = [&self.common, &self.publisher, &self.subscriber];
        all.into_iter().flatten().any(|verifier| verifier.has(mark))
    }

    /// Returns the caller of a token.
    pub(super) fn verify(
        &self,
        token: &str,
        dialect: Dialect,
        operation: Operation,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        let own = self.own_verifier(dialect, operation);
        let verifier = own.or(self.common.as_ref()).ok_or(Denied::Unknown)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::Malformed)?;
        if header.crit.is_some() || dialect == Dialect::One && !is_access_token(&header) {
            return Err(Denied::Malformed);
        }
        let audience = (dialect == Dialect::One).then(|| self.url.as_str());
        let (claims, mark) = verifier.decode::<Claims>(token, &header, audience)?;
        let expires = self.check_times(&claims, dialect, now)?;
        let topics = match dialect {
            Dialect::One => self.grants_of_details(claims.authorization_details)?,
            Dialect::Zero => {
                let claim = claims.mercure.or(claims.namespaced);
                self.grants_of_claim(claim.ok_or(Denied::Claims)?)?
            }
        };
        if own.is_none()
            && dialect == Dialect::Zero
            && !verifier.may_be_for(&claims.iss, &claims.aud, &self.url)
        {
            return Err(Denied::Audience);
        }
        let mut readable = GrantClaims::default();
        if own.is_none() {
            readable.subscribe = claims.fanfare.subscribe;
        }
        Ok(Caller {
            grants: Grants::of(readable).map_err(|_| Denied::Claims)?,
            subject: claims.sub,
            jti: claims.jti,
            issued: claims.iat.map(ms).transpose()?.map(Timestamp::from_ms),
            expires,
            mark: Some(mark),
            topics: Some(Arc::new(topics)),
            ..Caller::anonymous_caller()
        })
    }

    /// Returns the time at which a token expires, if it does.
    fn check_times(
        &self,
        claims: &Claims,
        dialect: Dialect,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Denied> {
        let now = now.ms();
        if claims.nbf.map(ms).transpose()?.is_some_and(|not_before| not_before > now) {
            return Err(Denied::Early);
        }
        let expires = claims.exp.map(ms).transpose()?;
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Denied::Expired);
        }
        let issued = claims.iat.map(ms).transpose()?;
        let valid_from = issued.map_or(now, |issued| issued.min(now));
        let is_allowed = match (expires, self.max_lifetime) {
            (Some(expires), Some(max)) => u128::from(expires - valid_from) <= max.as_millis(),
            (None, Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => dialect == Dialect::Zero,
        };
        if is_allowed { Ok(expires.map(Timestamp::from_ms)) } else { Err(Denied::Lifetime) }
    }

    /// Reads authorization details. A detail of this type with a defect voids the token.
    fn grants_of_details(&self, details: Option<Value>) -> Result<TopicGrants, Denied> {
        let mut grants = TopicGrants::default();
        let Some(details) = details else { return Ok(grants) };
        let mut count = 0;
        for detail in details.as_array().ok_or(Denied::Claims)? {
            let kind = detail.get("type").and_then(Value::as_str).ok_or(Denied::Claims)?;
            if kind != DETAIL_TYPE {
                continue;
            }
            let list = |name: &str| {
                let list = detail.get(name).and_then(Value::as_array);
                list.filter(|list| !list.is_empty()).ok_or(Denied::Claims)
            };
            let actions: Option<Vec<_>> = list("actions")?.iter().map(Value::as_str).collect();
            let actions = actions.ok_or(Denied::Claims)?;
            let topics = list("topics")?;
            count += topics.len();
            if count > MAX_MATCHERS {
                return Err(Denied::Claims);
            }
            let topics: Vec<_> =
                topics.iter().map(|topic| self.matcher(topic)).collect::<Result<_, _>>()?;
            let payload = detail.get("payload");
            if payload.is_some_and(|payload| !payload.is_object()) {
                return Err(Denied::Claims);
            }
            if actions.contains(&"publish") {
                grants.publish.extend_from_slice(&topics);
            }
            if actions.contains(&"subscribe") {
                grants.subscribe.extend_from_slice(&topics);
                grants.payloads.push((topics, payload.cloned()));
            }
        }
        Ok(grants)
    }

    fn matcher(&self, topic: &Value) -> Result<TopicMatcher, Denied> {
        let text = topic.get("match").and_then(Value::as_str).ok_or(Denied::Claims)?;
        let kind = match topic.get("match_type") {
            None => Some(MatcherKind::Exact),
            Some(name) => name.as_str().and_then(MatcherKind::named),
        };
        let kind = kind.ok_or(Denied::Claims)?;
        TopicMatcher::parse("match", kind, text, &self.url).map_err(|_| Denied::Claims)
    }

    fn grants_of_claim(&self, claim: OldClaim) -> Result<TopicGrants, Denied> {
        let matchers = |texts: Option<Vec<String>>| -> Result<Vec<_>, Denied> {
            let texts = texts.unwrap_or_default();
            if texts.len() > MAX_MATCHERS {
                return Err(Denied::Claims);
            }
            let parse = |text: &String| {
                TopicMatcher::parse("topic", MatcherKind::Selector, text, &self.url)
            };
            texts.iter().map(parse).collect::<Result<_, _>>().map_err(|_| Denied::Claims)
        };
        let all = TopicMatcher::parse("topic", MatcherKind::Selector, "*", &self.url);
        let payloads = all.ok().map(|all| (vec![all], claim.payload));
        Ok(TopicGrants {
            publish: matchers(claim.publish)?,
            subscribe: matchers(claim.subscribe)?,
            payloads: payloads.into_iter().collect(),
        })
    }
}

/// Returns true if a token has the type of access tokens (RFC 9068 §4).
fn is_access_token(header: &Header) -> bool {
    let kind = header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
    kind.strip_prefix("application/").unwrap_or(&kind) == "at+jwt"
}

/// Returns the dialect of a token, by its type.
pub fn dialect_of(token: &str) -> Dialect {
    match jsonwebtoken::decode_header(token) {
        Ok(header) if is_access_token(&header) => Dialect::One,
        _ => Dialect::Zero,
    }
}

/// Converts a time in seconds since 1970, which may have a fraction, to milliseconds.
fn ms(seconds: f64) -> Result<u64, Denied> {
    if seconds.is_finite() && seconds >= 0.0 {
        Ok((seconds * 1e3) as u64)
    } else {
        Err(Denied::Claims)
    }
}
