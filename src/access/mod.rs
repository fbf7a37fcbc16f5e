//! Credentials and the grants that come with them.
//!
//! Promises: an invalid credential is refused and never treated as no credential; secrets appear in
//! no error, log or metric. Never: knows HTTP or sessions.

mod error;
mod grants;
mod jwt;
mod key_set;
mod keys;
#[cfg(feature = "mercure")]
mod mercure;
mod mint;
mod revocation;
mod ticket;

pub use error::KeyError;
pub use grants::{ALL, GrantClaims, Grants, MAX_GRANT_SELECTORS, Scope};
pub use jwt::{JwtSettings, Verifier};
pub use key_set::RemoteKeys;
pub use keys::{ApiKey, clash, hash_of, new_secret};
#[cfg(feature = "mercure")]
pub use mercure::{DETAIL_TYPE, Dialect, MercureVerifier, Operation, TopicGrants, dialect_of};
pub use mint::{NewToken, SigningKey, decode_unverified};
pub use revocation::{RevocationChange, RevocationTarget, Revocations, RevokeError};
pub use ticket::{TicketSpec, Tickets};

use crate::event::{EventId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum length of a credential, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// A caller and its grants.
#[derive(Clone, PartialEq, Debug)]
pub struct Caller {
    /// Name of a key, or `sub` of a token; `None` if there is neither.
    pub subject: Option<String>,
    /// Name of an API key.
    pub key: Option<String>,
    /// The `jti` of a token.
    pub jti: Option<String>,
    /// Time at which the credential was made, if the credential states it.
    pub issued: Option<Timestamp>,
    /// Grants.
    pub grants: Grants,
    /// Time at which the credential expires.
    pub expires: Option<Timestamp>,
    /// Mark of the key that admitted the caller or, with a ticket, its maker; `None` without a
    /// credential.
    pub mark: Option<RevocationMark>,
    /// True for tickets, which cannot be used to make other tickets.
    pub by_ticket: bool,
    /// Topics that a token of the Mercure protocol grants.
    #[cfg(feature = "mercure")]
    pub topics: Option<Arc<TopicGrants>>,
}

impl Caller {
    /// Returns the name by which limits per subject count the caller. The name of a key and the
    /// `sub` of a token differ even if they are spelled the same.
    pub fn counted_as(&self) -> Option<Arc<str>> {
        match (&self.key, &self.subject) {
            (Some(key), _) => Some(format!("key {key}").into()),
            (None, Some(sub)) => Some(format!("sub {sub}").into()),
            (None, None) => None,
        }
    }

    /// Returns true if the caller has presented no credential.
    #[cfg(feature = "durable-streams")]
    pub fn is_anonymous(&self) -> bool {
        self.mark.is_none()
    }

    /// Creates a caller without a credential and without grants.
    pub fn anonymous_caller() -> Self {
        Self {
            subject: None,
            key: None,
            jti: None,
            issued: None,
            grants: Grants::none(),
            expires: None,
            mark: None,
            by_ticket: false,
            #[cfg(feature = "mercure")]
            topics: None,
        }
    }
}

/// Mark that distinguishes one key from every other, without revealing its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationMark(u64);

impl RevocationMark {
    fn of(key: &[u8]) -> Self {
        // Not the stored hash of an API key, of which the mark would reveal a part.
        let hash = Sha256::new().chain_update(b"mark").chain_update(Sha256::digest(key)).finalize();
        Self(hash.iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte)))
    }
}

/// Reason for which a credential was refused.
pub use crate::telemetry::CredentialRefused as Denied;

/// Returns the detail of the problem for a refused credential.
pub fn problem_detail(denied: Denied) -> &'static str {
    match denied {
        Denied::Missing => "a credential is required",
        Denied::Malformed => "the credential is malformed",
        Denied::Unknown => "the credential is unknown",
        Denied::Algorithm => "the token's algorithm is not accepted",
        Denied::Signature => "the token's signature is invalid",
        Denied::Expired => "the token has expired",
        Denied::Revoked => "the credential has been revoked",
        Denied::Early => "the token is not valid yet",
        Denied::Lifetime => "the token has no `exp`, or its lifetime exceeds --jwt-max-lifetime",
        Denied::Audience => "the token is for another audience",
        Denied::Issuer => "the token is from another issuer",
        Denied::Claims => "the token's claims are invalid",
        Denied::InQuery => {
            "a credential in the query is not accepted, because URLs are logged; send it as \
             `Authorization: Bearer`"
        }
    }
}

/// Keys, tickets and revocations that credentials are checked against.
#[derive(Clone, Debug, Default)]
pub struct Access {
    keys: Vec<ApiKey>,
    /// Key that the hub made for a configuration without keys and tokens.
    admin_key: Option<ApiKey>,
    verifier: Option<Verifier>,
    /// Keys of tokens of the Mercure protocol.
    #[cfg(feature = "mercure")]
    mercure: Option<MercureVerifier>,
    /// The anonymous caller, shared by all sessions that have no credential.
    anonymous: Option<Arc<Caller>>,
    tickets: Option<Tickets>,
    revocations: Option<Arc<Revocations>>,
    max_lifetime: Duration,
    is_open: bool,
    generation: u64,
}

/// Version of the credentials: it changes whenever a credential that was valid may no longer be.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AccessVersion(u64, usize, usize);

impl Access {
    /// Creates access with API keys, tokens and grants of callers without a credential. Without
    /// any of the three, everything is granted to all callers.
    pub fn new(keys: Vec<ApiKey>, verifier: Option<Verifier>, anonymous: Option<Grants>) -> Self {
        let is_open = keys.is_empty() && verifier.is_none() && anonymous.is_none();
        let grants = if is_open { Some(Grants::all()) } else { anonymous };
        let anonymous =
            grants.map(|grants| Arc::new(Caller { grants, ..Caller::anonymous_caller() }));
        Self { keys, verifier, anonymous, is_open, ..Self::default() }
    }

    /// Sets the lifetime of tickets of callers whose credential never expires.
    #[must_use]
    pub fn with_max_lifetime(self, max_lifetime: Duration) -> Self {
        Self { max_lifetime, ..self }
    }

    /// Returns the maximum lifetime of a credential.
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime
    }

    /// Adds the keys of tokens of the Mercure protocol.
    #[cfg(feature = "mercure")]
    #[must_use]
    pub fn with_mercure(self, mercure: MercureVerifier) -> Self {
        Self { mercure: Some(mercure), ..self }
    }

    /// Returns the verifier of tokens, if tokens are configured.
    #[cfg(feature = "mercure")]
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// Returns true if a caller without a token may publish updates: anyone may publish to all streams, and
    /// publishers of updates have no keys.
    #[cfg(feature = "mercure")]
    pub fn may_publish_updates_without_token(&self) -> bool {
        let has_keys = self.mercure.as_ref().is_some_and(MercureVerifier::has_keys);
        let anonymous = self.anonymous.as_ref();
        let may_publish = anonymous.is_some_and(|caller| caller.grants.publish.includes_all());
        may_publish && !(self.is_open && has_keys)
    }

    /// Returns the caller of a token of the Mercure protocol.
    #[cfg(feature = "mercure")]
    pub fn verify_mercure(
        &self,
        token: &str,
        dialect: Dialect,
        operation: Operation,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        match &self.mercure {
            Some(mercure) if token.len() <= MAX_CREDENTIAL_BYTES => {
                self.reject_revoked(mercure.verify(token, dialect, operation, now)?)
            }
            _ => Err(Denied::Malformed),
        }
    }

    /// Adds the key that the hub made. A caller without a credential then has only configured grants.
    #[must_use]
    pub fn with_admin_key(mut self, key: ApiKey) -> Self {
        if self.is_open {
            (self.is_open, self.anonymous) = (false, None);
        }
        self.admin_key = Some(key);
        self
    }

    /// Returns true if the hub made a key for itself.
    pub fn has_admin_key(&self) -> bool {
        self.admin_key.is_some()
    }

    /// Adds tickets and revocations.
    #[must_use]
    pub fn with_tickets(self, tickets: Tickets, revocations: Arc<Revocations>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let generation = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { tickets: Some(tickets), revocations: Some(revocations), generation, ..self }
    }

    /// Takes over the tickets and revocations of `previous`, the key that the hub made if there is
    /// no other credential, and, if the key set is the same, the keys that were fetched.
    #[must_use]
    pub fn inherit_from(mut self, previous: &Self, is_same_key_set: bool) -> Self {
        if let Some(key) = &previous.admin_key
            && self.has_no_credentials()
        {
            self = self.with_admin_key(key.clone());
        }
        if is_same_key_set
            && let Some(new) = self.remote_keys()
            && let Some(old) = previous.remote_keys()
        {
            new.inherit_from(old);
        }
        match (&previous.tickets, &previous.revocations) {
            (Some(tickets), Some(revocations)) => {
                self.with_tickets(tickets.clone(), revocations.clone())
            }
            _ => self,
        }
    }

    /// Returns the marks of the API keys of that name.
    pub fn marks_of(&self, name: &str) -> Vec<RevocationMark> {
        self.all_keys().filter(|key| key.name == name).map(ApiKey::mark).collect()
    }

    /// Returns the key set that is fetched, if there is one.
    pub fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        self.verifier.as_ref()?.remote()
    }

    /// Returns true if `credential` may become valid once the key set was fetched again.
    pub fn lacks_key_of(&self, credential: &str) -> bool {
        let verifier = self.verifier.as_ref().filter(|_| jwt::looks_like_token(credential));
        verifier.is_some_and(|verifier| verifier.lacks_key_of(credential))
    }

    /// Returns the version; callers stay valid while it is the same.
    pub fn version(&self) -> AccessVersion {
        let keys = self.remote_keys().map_or(0, |remote| remote.fetched());
        let revoked = self.revocations.as_ref().map_or(0, |revocations| revocations.changes());
        AccessVersion(self.generation, revoked, keys)
    }

    /// Returns true if the caller would no longer be admitted: its credential is revoked, or its
    /// key is gone or has other grants.
    pub fn is_over(&self, caller: &Caller) -> bool {
        let revoked = self.revocations.as_ref().is_some_and(|r| r.covers(caller));
        revoked || !self.is_still_granted(caller)
    }

    fn is_still_granted(&self, caller: &Caller) -> bool {
        let is_within = |grants: &Grants| {
            if caller.by_ticket {
                grants.subscribe.includes(&caller.grants.subscribe.without_chats())
            } else {
                *grants == caller.grants
            }
        };
        let Some(mark) = caller.mark else {
            return self.anonymous.as_ref().is_some_and(|anonymous| is_within(&anonymous.grants));
        };
        let key = self.all_keys().find(|key| key.mark() == mark);
        match (key, &caller.key) {
            (Some(key), Some(name)) => key.name == *name && is_within(&key.grants),
            #[cfg(feature = "mercure")]
            _ if caller.topics.is_some() => {
                self.mercure.as_ref().is_some_and(|verifier| verifier.has(mark))
            }
            _ => self.verifier.as_ref().is_some_and(|verifier| verifier.has(mark)),
        }
    }

    fn all_keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.iter().chain(&self.admin_key)
    }

    /// Returns true if no credential is configured: there are neither keys nor a verifier.
    pub fn has_no_credentials(&self) -> bool {
        self.keys.is_empty() && self.verifier.is_none()
    }

    /// Returns true if callers without a credential are admitted.
    pub fn has_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Returns true if all callers may do everything, because nothing is configured.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns the anonymous caller, if it has grants.
    pub fn anonymous(&self) -> Option<Arc<Caller>> {
        self.anonymous.clone()
    }

    /// Returns the caller of an API key or a token.
    pub fn verify(&self, credential: &str, now: Timestamp) -> Result<Caller, Denied> {
        if credential.is_empty() || credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(Denied::Malformed);
        }
        if let Some(key) = keys::find(self.all_keys(), credential) {
            let name = Some(key.name.clone());
            let (subject, grants, mark) = (name.clone(), key.grants.clone(), Some(key.mark()));
            let caller = Caller { subject, key: name, grants, mark, ..Caller::anonymous_caller() };
            return self.reject_revoked(caller);
        }
        match &self.verifier {
            Some(verifier) if jwt::looks_like_token(credential) => {
                self.reject_revoked(verifier.verify(credential, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }

    fn reject_revoked(&self, caller: Caller) -> Result<Caller, Denied> {
        if self.is_over(&caller) { Err(Denied::Revoked) } else { Ok(caller) }
    }

    /// Returns the latest time at which something that `caller` makes expires.
    pub fn ends(&self, caller: &Caller, now: Timestamp) -> Timestamp {
        caller.expires.unwrap_or_else(|| now.plus_ms(self.max_lifetime.as_millis() as u64))
    }

    /// Creates a ticket for `maker`.
    pub fn mint(&self, maker: &Caller, spec: &TicketSpec) -> Result<String, KeyError> {
        match &self.tickets {
            Some(tickets) => tickets.mint(maker, spec),
            None => Err(KeyError::NoTicketKey),
        }
    }

    /// Returns the caller of a ticket whose client has received everything up to `last`.
    pub fn verify_ticket(
        &self,
        ticket: &str,
        last: Option<EventId>,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        match &self.tickets {
            Some(tickets) if ticket.len() <= MAX_CREDENTIAL_BYTES => {
                self.reject_revoked(tickets.verify(ticket, last, now)?)
            }
            _ => Err(Denied::Unknown),
        }
    }
}
