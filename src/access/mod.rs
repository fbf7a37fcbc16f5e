//! Who may do what: credentials, and the grants that come with them.
//!
//! Promises: a credential that is not good is refused, and never taken for none; what is secret
//! gets into no error, log or metric.
//! Never: knows HTTP, or who is connected.

mod grants;
mod jwt;
mod keys;
mod mint;
mod revocation;
mod ticket;

pub use grants::{Claimed, Grants, MAX_GRANT_SELECTORS, Scope};
pub use jwt::{JwtSettings, Verifier};
pub use keys::{ApiKey, clash, hash_of, new_secret};
pub use mint::{NewToken, SigningKey, told};
pub use revocation::{Revocations, RevokeError, Whose};
pub use ticket::{Tickets, Wanted as TicketWanted};

use crate::event::{EventId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// The longest credential that is looked at, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// Who asks, and what they may do.
#[derive(Clone, PartialEq, Debug)]
pub struct Caller {
    /// The name of a key, or the `sub` of a token; `None` for those who did not say.
    pub subject: Option<String>,
    /// The name of a key.
    pub key: Option<String>,
    /// The `jti` of a token.
    pub jti: Option<String>,
    /// When the credential was made, where it says so.
    pub issued: Option<Timestamp>,
    /// What they may do.
    pub grants: Grants,
    /// When the credential ends.
    pub expires: Option<Timestamp>,
    /// Whether it is a ticket, of which no other is made.
    pub by_ticket: bool,
}

impl Caller {
    /// What is counted as theirs where subjects have limits: a key's name and the `sub` of a token
    /// are not the same, also where they are spelled the same.
    pub fn counted_as(&self) -> Option<Arc<str>> {
        match (&self.key, &self.subject) {
            (Some(key), _) => Some(format!("key {key}").into()),
            (None, Some(sub)) => Some(format!("sub {sub}").into()),
            (None, None) => None,
        }
    }

    /// Somebody who showed nothing and may do nothing.
    pub fn nobody() -> Self {
        Self {
            subject: None,
            key: None,
            jti: None,
            issued: None,
            grants: Grants::nothing(),
            expires: None,
            by_ticket: false,
        }
    }
}

/// Why a credential is not good.
pub use crate::telemetry::CredentialRefused as Denied;

/// What is said to whoever showed it.
pub fn explain(denied: Denied) -> &'static str {
    match denied {
        Denied::Missing => "a credential is needed",
        Denied::Malformed => "the credential has no form that is known here",
        Denied::Unknown => "the credential is unknown",
        Denied::Algorithm => "the token's algorithm is not taken here",
        Denied::Signature => "the token's signature is not right",
        Denied::Expired => "the token has expired",
        Denied::Revoked => "the credential has been revoked",
        Denied::Early => "the token is not valid yet",
        Denied::Lifetime => "the token does not expire, or too late",
        Denied::Audience => "the token is for another audience",
        Denied::Issuer => "the token is by another issuer",
        Denied::Claims => "the token's claims cannot be understood",
        Denied::InQuery => {
            "a credential in a query gets into logs; send it as `Authorization: Bearer`"
        }
    }
}

/// Everything that credentials are held against.
#[derive(Clone, Debug, Default)]
pub struct Access {
    keys: Vec<ApiKey>,
    verifier: Option<Verifier>,
    anonymous: Option<Grants>,
    tickets: Option<Tickets>,
    revocations: Option<Arc<Revocations>>,
    max_lifetime: Duration,
}

impl Access {
    /// Takes these keys and the tokens of this verifier, and grants something to those who show
    /// nothing.
    pub fn new(keys: Vec<ApiKey>, verifier: Option<Verifier>, anonymous: Option<Grants>) -> Self {
        Self { keys, verifier, anonymous, ..Self::default() }
    }

    /// What is made by those whose credential never ends, ends after so long.
    #[must_use]
    pub fn lasting(self, max_lifetime: Duration) -> Self {
        Self { max_lifetime, ..self }
    }

    /// How long a credential may be good.
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime
    }

    /// Makes and takes tickets, too, and refuses what is revoked.
    #[must_use]
    pub fn with(self, tickets: Tickets, revocations: Arc<Revocations>) -> Self {
        Self { tickets: Some(tickets), revocations: Some(revocations), ..self }
    }

    /// Whether nobody has anything to show: there are neither keys nor a verifier.
    pub fn asks_for_nothing(&self) -> bool {
        self.keys.is_empty() && self.verifier.is_none()
    }

    /// Whether anybody may do anything: nothing is configured that says otherwise.
    pub fn is_open(&self) -> bool {
        self.asks_for_nothing() && self.anonymous.is_none()
    }

    /// Those who show nothing.
    pub fn anonymous(&self) -> Option<Caller> {
        let grants = match self.is_open() {
            true => Grants::everything(),
            false => self.anonymous.clone()?,
        };
        Some(Caller { grants, ..Caller::nobody() })
    }

    /// Those who show `credential`: an API key or a token.
    pub fn verify(&self, credential: &str, now: Timestamp) -> Result<Caller, Denied> {
        if credential.is_empty() || credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(Denied::Malformed);
        }
        if let Some(key) = keys::find(&self.keys, credential) {
            let name = Some(key.name.clone());
            let (subject, grants) = (name.clone(), key.grants.clone());
            return self.unless_revoked(Caller { subject, key: name, grants, ..Caller::nobody() });
        }
        match &self.verifier {
            Some(verifier) if jwt::looks_like_one(credential) => {
                self.unless_revoked(verifier.verify(credential, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }

    fn unless_revoked(&self, caller: Caller) -> Result<Caller, Denied> {
        match self.revocations.as_ref().is_some_and(|revocations| revocations.covers(&caller)) {
            true => Err(Denied::Revoked),
            false => Ok(caller),
        }
    }

    /// When what `caller` makes ends at the latest.
    pub fn ends(&self, caller: &Caller, now: Timestamp) -> Timestamp {
        caller.expires.unwrap_or_else(|| now.plus_ms(self.max_lifetime.as_millis() as u64))
    }

    /// A ticket of `maker`'s.
    pub fn mint(&self, maker: &Caller, wanted: &TicketWanted) -> Result<String, String> {
        match &self.tickets {
            Some(tickets) => tickets.mint(maker, wanted),
            None => Err("this hub has no key for tickets".into()),
        }
    }

    /// Those who show `ticket`, having received everything up to `last`.
    pub fn verify_ticket(
        &self,
        ticket: &str,
        last: Option<EventId>,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        match &self.tickets {
            Some(tickets) if ticket.len() <= MAX_CREDENTIAL_BYTES => {
                self.unless_revoked(tickets.verify(ticket, last, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }
}
