//! Who may do what: credentials, and the grants that come with them.
//!
//! Promises: a credential that is not good is refused, and never taken for none; what is secret
//! gets into no error, log or metric.
//! Never: knows HTTP, or who is connected.

mod grants;
mod jwt;
mod key_set;
mod keys;
mod mint;
mod revocation;
mod ticket;

pub use grants::{ALL, Claimed, Grants, MAX_GRANT_SELECTORS, Scope};
pub use jwt::{JwtSettings, Verifier};
pub use key_set::RemoteKeys;
pub use keys::{ApiKey, clash, hash_of, new_secret};
pub use mint::{NewToken, SigningKey, told};
pub use revocation::{RevocationTarget, Revocations, RevokeError};
pub use ticket::{TicketSpec as TicketWanted, Tickets};

use crate::event::{EventId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The key that let them in, or, by ticket, its maker; none for those who showed nothing.
    pub mark: Option<RevocationMark>,
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
            mark: None,
            by_ticket: false,
        }
    }
}

/// What tells one key from every other, and nothing of its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationMark(u64);

impl RevocationMark {
    fn of(key: &[u8]) -> Self {
        // Not the hash that an API key is known by, of which it would tell a part.
        let hash = Sha256::new().chain_update(b"mark").chain_update(Sha256::digest(key)).finalize();
        Self(hash.iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte)))
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
    /// Those who show nothing: one for all of them, because each session holds its own.
    anonymous: Option<Arc<Caller>>,
    tickets: Option<Tickets>,
    revocations: Option<Arc<Revocations>>,
    max_lifetime: Duration,
    is_open: bool,
    generation: u64,
}

/// What changes whenever a credential that was good may be no more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AccessVersion(u64, usize, usize);

impl Access {
    /// Takes these keys and the tokens of this verifier, and grants something to those who show
    /// nothing.
    pub fn new(keys: Vec<ApiKey>, verifier: Option<Verifier>, anonymous: Option<Grants>) -> Self {
        let is_open = keys.is_empty() && verifier.is_none() && anonymous.is_none();
        let grants = if is_open { Some(Grants::everything()) } else { anonymous };
        let anonymous = grants.map(|grants| Arc::new(Caller { grants, ..Caller::nobody() }));
        Self { keys, verifier, anonymous, is_open, ..Self::default() }
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
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let generation = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { tickets: Some(tickets), revocations: Some(revocations), generation, ..self }
    }

    /// The same in the place of `before`: its tickets are good and its revocations hold, and, where
    /// the key set is the same one, what was fetched of it.
    #[must_use]
    pub fn succeeding(self, before: &Self, is_same_key_set: bool) -> Self {
        if let (true, Some(new), Some(old)) =
            (is_same_key_set, self.remote_keys(), before.remote_keys())
        {
            new.succeed(old);
        }
        match (&before.tickets, &before.revocations) {
            (Some(tickets), Some(revocations)) => self.with(tickets.clone(), revocations.clone()),
            _ => self,
        }
    }

    /// Returns the marks of the API keys of that name.
    pub fn marks_of(&self, name: &str) -> Vec<RevocationMark> {
        self.keys.iter().filter(|key| key.name == name).map(ApiKey::mark).collect()
    }

    /// The key set that is to be fetched, where there is one.
    pub fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        self.verifier.as_ref()?.remote()
    }

    /// Whether `credential` may be good once that has been fetched again.
    pub fn lacks_key_of(&self, credential: &str) -> bool {
        let verifier = self.verifier.as_ref().filter(|_| jwt::looks_like_one(credential));
        verifier.is_some_and(|verifier| verifier.lacks_key_of(credential))
    }

    /// As long as this is the same, whoever was let in may stay.
    pub fn version(&self) -> AccessVersion {
        let keys = self.remote_keys().map_or(0, |remote| remote.fetched());
        let revoked = self.revocations.as_ref().map_or(0, |revocations| revocations.changes());
        AccessVersion(self.generation, revoked, keys)
    }

    /// Whether somebody who was let in would be no more: what they showed is revoked, or the key
    /// behind it is gone or grants something else.
    pub fn is_over(&self, caller: &Caller) -> bool {
        let revoked = self.revocations.as_ref().is_some_and(|r| r.covers(caller));
        revoked || !self.is_backed(caller)
    }

    fn is_backed(&self, caller: &Caller) -> bool {
        let is_within = |grants: &Grants| {
            if caller.by_ticket {
                grants.subscribe.includes(&caller.grants.subscribe.without_chats())
            } else {
                *grants == caller.grants
            }
        };
        let Some(mark) = caller.mark else {
            return self.anonymous.as_ref().is_some_and(|anyone| is_within(&anyone.grants));
        };
        let key = self.keys.iter().find(|key| key.mark() == mark);
        match (key, &caller.key) {
            (Some(key), Some(name)) => key.name == *name && is_within(&key.grants),
            _ => self.verifier.as_ref().is_some_and(|verifier| verifier.has(mark)),
        }
    }

    /// Returns true if no credential is configured: there are neither keys nor a verifier.
    pub fn has_no_credentials(&self) -> bool {
        self.keys.is_empty() && self.verifier.is_none()
    }

    /// Returns true if those who show nothing may do something.
    pub fn has_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Whether anybody may do anything: nothing is configured that says otherwise.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Those who show nothing, where they may do something.
    pub fn anonymous(&self) -> Option<Arc<Caller>> {
        self.anonymous.clone()
    }

    /// Those who show `credential`: an API key or a token.
    pub fn verify(&self, credential: &str, now: Timestamp) -> Result<Caller, Denied> {
        if credential.is_empty() || credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(Denied::Malformed);
        }
        if let Some(key) = keys::find(&self.keys, credential) {
            let name = Some(key.name.clone());
            let (subject, grants, mark) = (name.clone(), key.grants.clone(), Some(key.mark()));
            let caller = Caller { subject, key: name, grants, mark, ..Caller::nobody() };
            return self.unless_over(caller);
        }
        match &self.verifier {
            Some(verifier) if jwt::looks_like_one(credential) => {
                self.unless_over(verifier.verify(credential, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }

    fn unless_over(&self, caller: Caller) -> Result<Caller, Denied> {
        if self.is_over(&caller) { Err(Denied::Revoked) } else { Ok(caller) }
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
                self.unless_over(tickets.verify(ticket, last, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }
}
