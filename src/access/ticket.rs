//! Tickets: credentials in the URL of an EventSource, which cannot send headers.
//!
//! A ticket grants reading some streams and nothing else. It is short-lived, because URLs get into
//! logs. But an EventSource reconnects with the same URL: a client whose last event id is not older
//! than the ticket has used it in time, and may reconnect until the maker's credential expires.

use super::error::KeyError;
use super::{Caller, Denied, Grants, RevocationMark, Scope};
use crate::disk::replace_file;
use crate::event::{EventId, Selector, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;

const KEY_BYTES: usize = 32;
/// Token type that distinguishes tickets from other tokens.
const KIND: &str = "fanfare-ticket";

/// Creates and verifies tickets.
#[derive(Clone)]
pub struct Tickets {
    key: [u8; KEY_BYTES],
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// Claims of a ticket. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Claims {
    streams: Vec<String>,
    /// Epoch of the last event when it was made. `head` is its position, masked, because a ticket
    /// from a log must not reveal the id that extends its use.
    epoch: u32,
    head: u64,
    nonce: u64,
    /// Time until which it admits new connections.
    until: u64,
    /// Time at which its sessions end.
    end: u64,
    made: u64,
    /// Subject of its maker, by which it can be revoked.
    sub: Option<String>,
    key: Option<String>,
    jti: Option<String>,
    /// Mark of its maker's credential.
    mark: Option<RevocationMark>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

/// Properties of a new ticket.
pub struct TicketSpec {
    /// Selectors it may read.
    pub streams: Vec<Selector>,
    /// Id of the last committed event.
    pub head: EventId,
    /// Time at which it is made.
    pub made: Timestamp,
    /// Time until which it admits new connections.
    pub until: Timestamp,
    /// Time at which its sessions end.
    pub end: Timestamp,
    /// Seed, if the same ticket must be reproducible.
    pub seed: Option<u64>,
}

impl Tickets {
    /// Opens the key in `file`, which is created if it is missing; without a file the key is
    /// random.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let key = match file {
            Some(file) => stored_key(file)?,
            None => new_key(),
        };
        Ok(Self::new(key))
    }

    /// Creates and verifies tickets with this key.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        let (signing, verifying) = (EncodingKey::from_secret(&key), DecodingKey::from_secret(&key));
        Self { key, signing, verifying }
    }

    /// Returns the key.
    pub fn key(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }

    /// Creates a ticket for `maker`.
    pub(super) fn mint(&self, maker: &Caller, spec: &TicketSpec) -> Result<String, KeyError> {
        let nonce = spec.seed.unwrap_or_else(|| rand::rng().random());
        let claims = Claims {
            streams: spec.streams.iter().map(ToString::to_string).collect(),
            epoch: spec.head.epoch.0,
            head: spec.head.position.get() ^ self.mask(nonce),
            nonce,
            until: spec.until.ms(),
            end: spec.end.ms(),
            made: spec.made.ms(),
            sub: maker.subject.clone(),
            key: maker.key.clone(),
            jti: maker.jti.clone(),
            mark: maker.mark,
        };
        let header = Header { typ: Some(KIND.to_owned()), ..Header::new(Algorithm::HS256) };
        Ok(jsonwebtoken::encode(&header, &claims, &self.signing)?)
    }

    fn mask(&self, nonce: u64) -> u64 {
        let hash = Sha256::new().chain_update(self.key).chain_update(nonce.to_be_bytes());
        hash.finalize().iter().take(8).fold(0, |mask, byte| (mask << 8) | u64::from(*byte))
    }

    /// Returns the caller of `ticket`, whose client has received everything up to `last`.
    pub(super) fn verify(
        &self,
        ticket: &str,
        last: Option<EventId>,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Claims>(ticket, &self.verifying, &validation);
        let decoded = decoded.map_err(|_| Denied::Unknown)?;
        if decoded.header.typ.as_deref() != Some(KIND) {
            return Err(Denied::Unknown);
        }
        let claims = decoded.claims;
        let head = claims.head ^ self.mask(claims.nonce);
        let was_used = |last: EventId| last.epoch.0 == claims.epoch && last.position.get() >= head;
        if now.ms() >= claims.end || now.ms() >= claims.until && !last.is_some_and(was_used) {
            return Err(Denied::Expired);
        }
        let subscribe = Scope::parse(&claims.streams).map_err(|_| Denied::Claims)?;
        let grants = Grants { subscribe, ..Grants::none() };
        let expires = Some(Timestamp::from_ms(claims.end));
        Ok(Caller {
            subject: claims.sub,
            key: claims.key,
            jti: claims.jti,
            issued: Some(Timestamp::from_ms(claims.made)),
            grants,
            expires,
            mark: claims.mark,
            by_ticket: true,
            #[cfg(feature = "mercure")]
            topics: None,
        })
    }
}

fn new_key() -> [u8; KEY_BYTES] {
    rand::rng().random()
}

/// Returns the key in the file after checking its checksum; creates a missing file.
fn stored_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match std::fs::read(path) {
        Ok(bytes) => read_key(&bytes).ok_or_else(|| {
            let message = format!(
                "{} is damaged; delete it to create a new key, which invalidates all existing \
                 tickets",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, message)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = new_key();
            let content = [&key[..], &crc32fast::hash(&key).to_be_bytes()].concat();
            replace_file(path, &content)?;
            Ok(key)
        }
        Err(e) => Err(e),
    }
}

fn read_key(bytes: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let (key, sum) = bytes.split_first_chunk::<KEY_BYTES>()?;
    (sum == crc32fast::hash(key).to_be_bytes()).then_some(*key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position};

    fn id(epoch: u32, batch: u64) -> EventId {
        EventId { epoch: Epoch(epoch), position: Position::of(batch, 0) }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(seconds * 1000)
    }

    fn minted(tickets: &Tickets) -> String {
        let maker = Caller { subject: Some("ann".into()), ..Caller::anonymous_caller() };
        let streams = vec![Selector::parse("a.*").expect("a selector")];
        let (made, until, end) = (at(0), at(100), at(1000));
        let spec = TicketSpec { streams, head: id(7, 5), made, until, end, seed: None };
        tickets.mint(&maker, &spec).expect("a ticket")
    }

    #[test]
    fn ticket_admits_in_time_and_later_only_clients_that_used_it() {
        let tickets = Tickets::open(None).expect("a key");
        let ticket = minted(&tickets);
        for (now, last, expected) in [
            (99, None, true),
            (99, Some(id(7, 1)), true),
            (100, None, false),
            (100, Some(id(7, 4)), false),
            (100, Some(id(7, 5)), true),
            (999, Some(id(7, 9)), true),
            (999, Some(id(8, 9)), false),
            (1000, Some(id(7, 9)), false),
        ] {
            let result = tickets.verify(&ticket, last, at(now));
            assert_eq!(result.is_ok(), expected, "{now} {last:?}");
        }
        let caller = tickets.verify(&ticket, None, at(1)).expect("opens");
        assert_eq!((caller.subject.as_deref(), caller.expires), (Some("ann"), Some(at(1000))));
        let other = Grants { subscribe: caller.grants.subscribe.clone(), ..Grants::none() };
        assert_eq!(caller.grants, other, "it grants reading and nothing else");
        let decoded = jsonwebtoken::dangerous::insecure_decode::<Claims>(&ticket).expect("claims");
        assert_ne!(decoded.claims.head, id(7, 5).position.get(), "the position is masked");
    }

    #[test]
    fn ticket_is_valid_only_at_the_hub_that_made_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tickets.key");
        let ticket = minted(&Tickets::open(Some(&file)).expect("a key"));
        let reopened = Tickets::open(Some(&file)).expect("the key");
        assert!(reopened.verify(&ticket, None, at(1)).is_ok());
        let other = Tickets::open(None).expect("a key");
        assert_eq!(other.verify(&ticket, None, at(1)), Err(Denied::Unknown));
        for index in [5, ticket.len() / 2, ticket.len() - 5] {
            let mut bytes = ticket.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("text");
            assert!(reopened.verify(&changed, None, at(1)).is_err(), "{index}");
        }
        let original = std::fs::read(&file).expect("reads");
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &bytes).expect("writes");
            assert!(Tickets::open(Some(&file)).is_err(), "bit {bit}");
        }
        std::fs::write(&file, b"short").expect("writes");
        assert!(Tickets::open(Some(&file)).is_err());
    }
}
