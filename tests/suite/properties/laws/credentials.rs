//! Laws of tokens, tickets, key sets and revocations.

use fanfare::access::{
    Access, Caller, Grants, JwtSettings, RevocationTarget, Revocations, Scope, TicketSpec, Tickets,
    Verifier,
};
use fanfare::event::{Epoch, EventId, Position, Selector, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SECRET: &str = "a secret that is long enough to be one";
const TICKET_KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
/// Far in the future, because `jsonwebtoken` compares the claims with the system clock, too.
const NOW_S: u64 = 4_000_000_000;
const LIFETIME: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::from_ms(NOW_S * 1000)
}

/// Returns an `Access` that accepts only tokens of `SECRET` and tickets of `TICKET_KEY`.
pub fn access() -> Access {
    let settings = JwtSettings {
        secret: Some(SECRET.to_owned()),
        max_lifetime: LIFETIME,
        ..JwtSettings::default()
    };
    let verifier = Verifier::new(settings).expect("a key");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tickets.key");
    let checksum = crc32fast::hash(TICKET_KEY.as_ref()).to_be_bytes();
    std::fs::write(&file, [TICKET_KEY.as_ref(), &checksum[..]].concat()).expect("writes");
    let tickets = Tickets::open(Some(&file)).expect("a key");
    // Anonymous callers may read everything, so that a ticket may have no maker.
    let subscribe = Scope::parse(&["**".to_owned()]).expect("a selector");
    let anonymous = Grants { subscribe, ..Grants::none() };
    Access::new(Vec::new(), verifier, Some(anonymous)).with_tickets(tickets, Arc::default())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

pub(super) fn signed(header: &str, claims: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", base64(header.as_bytes()), base64(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("signs"))
}

/// Returns a valid token.
pub fn good_token() -> String {
    let claims = json!({
        "exp": NOW_S + 600, "sub": "ann", "jti": "x", "fanfare": { "subscribe": ["a.**"] }
    });
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims.to_string().as_bytes(), SECRET.as_bytes())
}

/// Returns a valid ticket.
pub fn good_ticket(access: &Access) -> String {
    let spec = TicketSpec {
        streams: vec![Selector::parse("a.*").expect("a selector")],
        head: EventId { epoch: Epoch(1), position: Position::of(1, 0) },
        made: now(),
        until: now().plus_ms(60_000),
        end: now().plus_ms(600_000),
        seed: None,
    };
    let maker = access.verify(&good_token(), now()).expect("a token");
    access.mint(&maker, &spec).expect("a ticket")
}

/// Text without a valid signature is neither a token nor a ticket.
pub fn unsigned_text(access: &Access, text: &str) {
    assert!(access.verify(text, now()).is_err(), "{text:?} is accepted as a token");
    let last = Some(EventId { epoch: Epoch(1), position: Position::of(9, 0) });
    assert!(access.verify_ticket(text, None, now()).is_err(), "{text:?} is accepted as a ticket");
    assert!(access.verify_ticket(text, last, now()).is_err(), "{text:?} is accepted as a ticket");
}

/// A token or ticket with a byte added, removed or changed is refused; neither passes as the other.
pub fn changed_credential(access: &Access, index: usize, byte: u8, change: u8) {
    let (token, ticket) = (good_token(), good_ticket(access));
    assert!(access.verify(&token, now()).is_ok());
    assert!(access.verify_ticket(&ticket, None, now()).is_ok());
    assert!(
        access.verify(&ticket, now()).is_err()
            && access.verify_ticket(&token, None, now()).is_err()
    );
    for valid in [token, ticket] {
        let mut bytes = valid.clone().into_bytes();
        let index = index % bytes.len();
        match change % 3 {
            0 => bytes[index] = byte,
            1 => bytes.insert(index, byte),
            _ => drop(bytes.remove(index)),
        }
        match String::from_utf8(bytes) {
            Ok(text) if text != valid => unsigned_text(access, &text),
            _ => {}
        }
    }
}

/// An accepted caller is the one that the signed claims name, for no longer than they allow.
pub fn claims(access: &Access, text: &[u8]) {
    let token = signed(r#"{"alg":"HS256"}"#, text, SECRET.as_bytes());
    let Ok(caller) = access.verify(&token, now()) else { return };
    // Members that are ignored may contain text that a `String` cannot.
    let Ok(claims) = serde_json::from_slice::<Value>(text) else { return };
    let is_after = |value: &Value| value.as_f64().is_some_and(|s| s > NOW_S as f64);
    assert!(is_after(&claims["exp"]) && !is_after(&claims["nbf"]), "{claims}");
    assert_eq!(caller.subject.as_deref(), claims["sub"].as_str());
    assert_eq!(caller.jti.as_deref(), claims["jti"].as_str());
    assert!(caller.key.is_none() && !caller.by_ticket);
    let expires = caller.expires.expect("an end");
    assert!(expires > now() && expires <= now().plus_ms(LIFETIME.as_millis() as u64));
    assert_eq!(caller.grants.admin, claims["fanfare"]["admin"] == true);
    let grant_count = |name: &str| claims["fanfare"][name].as_array().map_or(0, Vec::len);
    assert!(grant_count("publish") > 0 || caller.grants.publish == Grants::none().publish);
}

/// A signed ticket with any claims grants only subscribing, and only until the end that it names.
pub fn ticket_claims(access: &Access, text: &[u8]) {
    let ticket = signed(r#"{"alg":"HS256","typ":"fanfare-ticket"}"#, text, &TICKET_KEY);
    let Ok(caller) = access.verify_ticket(&ticket, None, now()) else { return };
    let Ok(claims) = serde_json::from_slice::<Value>(text) else { return };
    assert!(
        claims["end"].as_u64() > Some(now().ms()) && claims["until"].as_u64() > Some(now().ms())
    );
    let subscribe = caller.grants.subscribe.clone();
    assert_eq!(caller.grants, Grants { subscribe, ..Grants::none() });
    assert!(caller.by_ticket);
    assert_eq!(caller.expires.map(Timestamp::ms), claims["end"].as_u64());
    let other = signed(r#"{"alg":"HS256","typ":"JWT"}"#, text, &TICKET_KEY);
    assert!(access.verify_ticket(&other, None, now()).is_err(), "its type is not a ticket");
}

/// A key set is refused with its setting's name, or is accepted and verifies any token.
pub fn key_set(bytes: &[u8], tokens: &[String]) {
    let settings = JwtSettings {
        jwks: Some(bytes.to_vec()),
        max_lifetime: LIFETIME,
        ..JwtSettings::default()
    };
    match Verifier::new(settings) {
        Ok(verifier) => {
            let access = Access::new(Vec::new(), verifier, None);
            for token in tokens {
                let _ = access.verify(token, now());
            }
        }
        Err((name, error)) => assert!(name == "jwks" && !error.to_string().is_empty()),
    }
    let settings = JwtSettings { public_key: Some(bytes.to_vec()), ..JwtSettings::default() };
    if let Err((name, error)) = Verifier::new(settings) {
        assert!(name == "jwt-public-key" && !error.to_string().is_empty());
    }
}

fn caller_of(target: &RevocationTarget) -> Caller {
    let mut caller = Caller::anonymous_caller();
    match target.clone() {
        RevocationTarget::Jti(jti) => caller.jti = Some(jti),
        RevocationTarget::Sub(sub) => caller.subject = Some(sub),
        RevocationTarget::Key(key) => caller.key = Some(key),
    }
    caller
}

fn open_revocations(file: &Path) -> std::io::Result<Revocations> {
    Revocations::open(Some(file), LIFETIME, now())
}

/// Acknowledged revocations are known after a restart, wherever the last line was cut.
pub fn torn_revocations(targets: &[RevocationTarget], cut: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("revocations");
    let revocations = open_revocations(&file).expect("opens");
    for target in targets {
        revocations.add(target.clone(), &[], now()).expect("written");
    }
    drop(revocations);
    let mut bytes = std::fs::read(&file).expect("reads");
    let before_last = bytes[..bytes.len().saturating_sub(1)].iter().rposition(|b| *b == b'\n');
    let last_line = before_last.map_or(0, |at| at + 1);
    let cut = last_line + cut % (bytes.len() - last_line + 1);
    let is_complete = cut + 1 >= bytes.len();
    bytes.truncate(cut);
    std::fs::write(&file, &bytes).expect("writes");
    for _ in 0..2 {
        let reopened = open_revocations(&file).unwrap_or_else(|e| panic!("{e} after {bytes:?}"));
        let acknowledged = if is_complete { targets } else { &targets[..targets.len() - 1] };
        for target in acknowledged {
            assert!(reopened.covers(&caller_of(target)), "{target:?} is forgotten");
        }
        if !is_complete && let Some(last) = targets.last() {
            assert_eq!(reopened.covers(&caller_of(last)), acknowledged.contains(last), "{last:?}");
        }
    }
}

/// A file of any bytes opens, also a second time, or is refused with the invalid line.
pub fn revocations(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("revocations");
    std::fs::write(&file, bytes).expect("writes");
    let opened = match open_revocations(&file) {
        Ok(opened) => opened,
        Err(error) => {
            let prefix = format!("{}:", file.display());
            let error = error.to_string();
            let line = error.strip_prefix(&prefix).and_then(|rest| rest.split(':').next());
            let line: usize = line.and_then(|line| line.parse().ok()).expect("a line");
            let lines = bytes.split_inclusive(|b| *b == b'\n').count();
            assert!((1..=lines).contains(&line), "{error}");
            return assert_eq!(std::fs::read(&file).expect("reads"), bytes, "it is unchanged");
        }
    };
    let reopened = open_revocations(&file).expect("what was written opens");
    let has_undone = bytes.windows(6).any(|part| part == b"undone");
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
        let Ok(target) = serde_json::from_value::<RevocationTarget>(record["whose"].clone()) else {
            continue;
        };
        // A line without a time, such as a last line that a crash has cut, is not a revocation.
        if record["at"].as_u64().is_none() {
            continue;
        }
        let caller = caller_of(&target);
        assert_eq!(opened.covers(&caller), reopened.covers(&caller), "{target:?}");
        // A crash has cut a last line without a line end. A line with `keys` concerns only those.
        let is_certain = line.ends_with(b"\n") && record.get("keys").is_none() && !has_undone;
        let is_key = matches!(target, RevocationTarget::Key(_));
        assert!(!(is_certain && is_key) || reopened.covers(&caller), "{target:?}");
    }
}
