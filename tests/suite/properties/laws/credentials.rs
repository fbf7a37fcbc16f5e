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
    let sum = crc32fast::hash(TICKET_KEY.as_ref()).to_be_bytes();
    std::fs::write(&file, [TICKET_KEY.as_ref(), &sum[..]].concat()).expect("writes");
    let tickets = Tickets::open(Some(&file)).expect("a key");
    // Anonymous callers may read everything, so that a ticket may have no maker.
    let subscribe = Scope::parse(&["**".to_owned()]).expect("a selector");
    let anyone = Grants { subscribe, ..Grants::none() };
    Access::new(Vec::new(), verifier, Some(anyone)).with_tickets(tickets, Arc::default())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

fn signed(header: &str, claims: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", base64(header.as_bytes()), base64(claims));
    let key = EncodingKey::from_secret(secret);
    let sum = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", sum.expect("signs"))
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
    let wanted = TicketSpec {
        streams: vec![Selector::parse("a.*").expect("a selector")],
        head: EventId { epoch: Epoch(1), position: Position::of(1, 0) },
        made: now(),
        until: now().plus_ms(60_000),
        end: now().plus_ms(600_000),
        seed: None,
    };
    let maker = access.verify(&good_token(), now()).expect("a token");
    access.mint(&maker, &wanted).expect("a ticket")
}

/// Text without a valid signature is neither a token nor a ticket.
pub fn unsigned(access: &Access, text: &str) {
    assert!(access.verify(text, now()).is_err(), "{text:?} is accepted as a token");
    let last = Some(EventId { epoch: Epoch(1), position: Position::of(9, 0) });
    assert!(access.verify_ticket(text, None, now()).is_err(), "{text:?} is accepted as a ticket");
    assert!(access.verify_ticket(text, last, now()).is_err(), "{text:?} is accepted as a ticket");
}

/// A token or ticket with a byte added, removed or changed is refused; neither passes as the other.
pub fn mutated(access: &Access, at: usize, byte: u8, how: u8) {
    let (token, ticket) = (good_token(), good_ticket(access));
    assert!(access.verify(&token, now()).is_ok());
    assert!(access.verify_ticket(&ticket, None, now()).is_ok());
    assert!(
        access.verify(&ticket, now()).is_err()
            && access.verify_ticket(&token, None, now()).is_err()
    );
    for good in [token, ticket] {
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        match how % 3 {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        match String::from_utf8(bytes) {
            Ok(text) if text != good => unsigned(access, &text),
            _ => {}
        }
    }
}

/// An accepted caller is the one that the signed claims name, for no longer than they allow.
pub fn claims(access: &Access, text: &[u8]) {
    let token = signed(r#"{"alg":"HS256"}"#, text, SECRET.as_bytes());
    let Ok(caller) = access.verify(&token, now()) else { return };
    // Members that are ignored may contain text that a `String` cannot.
    let Ok(said) = serde_json::from_slice::<Value>(text) else { return };
    let is_after = |value: &Value| value.as_f64().is_some_and(|s| s > NOW_S as f64);
    assert!(is_after(&said["exp"]) && !is_after(&said["nbf"]), "{said}");
    assert_eq!(caller.subject.as_deref(), said["sub"].as_str());
    assert_eq!(caller.jti.as_deref(), said["jti"].as_str());
    assert!(caller.key.is_none() && !caller.by_ticket);
    let expires = caller.expires.expect("an end");
    assert!(expires > now() && expires <= now().plus_ms(LIFETIME.as_millis() as u64));
    assert_eq!(caller.grants.admin, said["fanfare"]["admin"] == true);
    let named = |name: &str| said["fanfare"][name].as_array().map_or(0, Vec::len);
    assert!(named("publish") > 0 || caller.grants.publish == Grants::none().publish);
}

/// A signed ticket with any claims grants only subscribing, and only until the end that it names.
pub fn ticket_claims(access: &Access, text: &[u8]) {
    let ticket = signed(r#"{"alg":"HS256","typ":"fanfare-ticket"}"#, text, &TICKET_KEY);
    let Ok(caller) = access.verify_ticket(&ticket, None, now()) else { return };
    let Ok(said) = serde_json::from_slice::<Value>(text) else { return };
    assert!(said["end"].as_u64() > Some(now().ms()) && said["until"].as_u64() > Some(now().ms()));
    let subscribe = caller.grants.subscribe.clone();
    assert_eq!(caller.grants, Grants { subscribe, ..Grants::none() });
    assert!(caller.by_ticket);
    assert_eq!(caller.expires.map(Timestamp::ms), said["end"].as_u64());
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
        Err((name, why)) => assert!(name == "jwks" && !why.to_string().is_empty()),
    }
    let settings = JwtSettings { public_key: Some(bytes.to_vec()), ..JwtSettings::default() };
    if let Err((name, why)) = Verifier::new(settings) {
        assert!(name == "jwt-public-key" && !why.to_string().is_empty());
    }
}

fn by(whose: &RevocationTarget) -> Caller {
    let mut caller = Caller::anonymous_caller();
    match whose.clone() {
        RevocationTarget::Jti(jti) => caller.jti = Some(jti),
        RevocationTarget::Sub(sub) => caller.subject = Some(sub),
        RevocationTarget::Key(key) => caller.key = Some(key),
    }
    caller
}

fn open(file: &Path) -> std::io::Result<Revocations> {
    Revocations::open(Some(file), LIFETIME, now())
}

/// Acknowledged revocations are known after a restart, wherever the last line was cut.
pub fn torn_revocations(all: &[RevocationTarget], cut: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("revocations");
    let first = open(&file).expect("opens");
    for whose in all {
        first.add(whose.clone(), &[], now()).expect("written");
    }
    drop(first);
    let mut bytes = std::fs::read(&file).expect("reads");
    let before_last = bytes[..bytes.len().saturating_sub(1)].iter().rposition(|b| *b == b'\n');
    let begin = before_last.map_or(0, |at| at + 1);
    let cut = begin + cut % (bytes.len() - begin + 1);
    let is_whole = cut + 1 >= bytes.len();
    bytes.truncate(cut);
    std::fs::write(&file, &bytes).expect("writes");
    for _ in 0..2 {
        let again = open(&file).unwrap_or_else(|e| panic!("{e} after {bytes:?}"));
        let answered = if is_whole { all } else { &all[..all.len() - 1] };
        for whose in answered {
            assert!(again.covers(&by(whose)), "{whose:?} is forgotten");
        }
        if !is_whole && let Some(last) = all.last() {
            assert_eq!(again.covers(&by(last)), answered.contains(last), "{last:?}");
        }
    }
}

/// A file of any bytes opens, also a second time, or is refused with the invalid line.
pub fn revocations(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("revocations");
    std::fs::write(&file, bytes).expect("writes");
    let first = match open(&file) {
        Ok(first) => first,
        Err(why) => {
            let place = format!("{}:", file.display());
            let why = why.to_string();
            let line = why.strip_prefix(&place).and_then(|rest| rest.split(':').next());
            let line: usize = line.and_then(|line| line.parse().ok()).expect("a line");
            let lines = bytes.split_inclusive(|b| *b == b'\n').count();
            assert!((1..=lines).contains(&line), "{why}");
            return assert_eq!(std::fs::read(&file).expect("reads"), bytes, "it is unchanged");
        }
    };
    let again = open(&file).expect("what was written opens");
    let has_undone = bytes.windows(6).any(|part| part == b"undone");
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Ok(said) = serde_json::from_slice::<Value>(line) else { continue };
        let Ok(whose) = serde_json::from_value::<RevocationTarget>(said["whose"].clone()) else {
            continue;
        };
        // A line without a time, such as a last line that a crash has cut, is not a revocation.
        if said["at"].as_u64().is_none() {
            continue;
        }
        let caller = by(&whose);
        assert_eq!(first.covers(&caller), again.covers(&caller), "{whose:?}");
        // A crash has cut a last line without a line end. A line with `keys` concerns only those.
        let holds = line.ends_with(b"\n") && said.get("keys").is_none() && !has_undone;
        let is_key = matches!(whose, RevocationTarget::Key(_));
        assert!(!(holds && is_key) || again.covers(&caller), "{whose:?}");
    }
}
