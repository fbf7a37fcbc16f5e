//! Tokens: which ones are accepted, and how a session ends when its token expires.

use crate::credentials::{
    READ, SECRET, change_char, claims, claims_with, file_with_keys, in_seconds, metrics_of,
    send_request, send_with_bearer, sign_hmac, signed_token,
};
use crate::hub::Hub;
use crate::reader::Reader;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const OTHER_SECRET: &str = "another secret that is long enough too";

/// A description, a token, and the status and code that it gets.
type Case = (&'static str, String, (u16, &'static str));

const VALID: (u16, &str) = (200, "");
const INVALID: (u16, &str) = (401, "unauthorized");
const EXPIRED: (u16, &str) = (401, "token_expired");
const NOT_GRANTED: (u16, &str) = (403, "forbidden");

/// Adds the issuer and the audience that the hub requires, unless `claims` has others.
fn hub_claims(mut claims: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    members.entry("iss").or_insert(json!("us"));
    members.entry("aud").or_insert(json!("fanfare"));
    claims
}

fn hub_token(claims: Value) -> String {
    signed_token(&hub_claims(claims))
}

fn base64(text: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            out.push(alphabet[(bits >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    out
}

fn unsigned_token(header: &str, claims: &Value) -> String {
    format!("{}.{}.", base64(header), base64(&claims.to_string()))
}

fn token_with_critical_header() -> String {
    let crit = Some(vec!["b64".to_owned()]);
    let header = Header { crit, ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, &hub_claims(claims()), &key).unwrap()
}

fn good_tokens() -> Vec<Case> {
    vec![
        ("as it should be", hub_token(claims()), VALID),
        ("of a list of audiences", hub_token(claims_with("aud", json!(["x", "fanfare"]))), VALID),
        ("valid since now", hub_token(claims_with("nbf", json!(in_seconds(0)))), VALID),
        (
            "ending within a fraction of a second more",
            hub_token(claims_with("exp", json!(in_seconds(60) as f64 + 0.5))),
            VALID,
        ),
        ("of nobody", hub_token(claims_with("sub", Value::Null)), VALID),
        ("of 23 hours in its last", hub_token(claims_with_lifetime(-22 * 3_600, 3_600)), VALID),
        ("issued in the future", hub_token(claims_with_lifetime(3_600, 23 * 3_600)), VALID),
    ]
}

/// Returns claims of a token; `issued` and `expires` are in seconds from now.
fn claims_with_lifetime(issued: i64, expires: i64) -> Value {
    let mut claims = claims_with("iat", json!(in_seconds(issued)));
    claims["exp"] = json!(in_seconds(expires));
    claims
}

fn badly_timed_tokens() -> Vec<Case> {
    vec![
        ("expired by a second", hub_token(claims_with("exp", json!(in_seconds(-1)))), EXPIRED),
        ("expiring now", hub_token(claims_with("exp", json!(in_seconds(0)))), EXPIRED),
        ("expired for ever", hub_token(claims_with("exp", json!(0))), EXPIRED),
        ("ending before time began", hub_token(claims_with("exp", json!(-5))), INVALID),
        ("that never ends", hub_token(claims_with("exp", Value::Null)), INVALID),
        (
            "that ends in two days",
            hub_token(claims_with("exp", json!(in_seconds(2 * 86_400)))),
            INVALID,
        ),
        (
            "of 25 hours in its last two",
            hub_token(claims_with_lifetime(-23 * 3_600, 2 * 3_600)),
            INVALID,
        ),
        ("issued a year ago", hub_token(claims_with_lifetime(-365 * 86_400, 60)), INVALID),
        ("that ends at the end of time", hub_token(claims_with("exp", json!(1e300))), INVALID),
        ("whose end is text", hub_token(claims_with("exp", json!("soon"))), INVALID),
        ("valid in a minute", hub_token(claims_with("nbf", json!(in_seconds(60)))), INVALID),
        ("whose beginning is text", hub_token(claims_with("nbf", json!("soon"))), INVALID),
    ]
}

fn foreign_tokens() -> Vec<Case> {
    vec![
        ("for another audience", hub_token(claims_with("aud", json!("else"))), INVALID),
        ("for no audience", signed_token(&claims_with("iss", json!("us"))), INVALID),
        ("for an empty list of audiences", hub_token(claims_with("aud", json!([]))), INVALID),
        ("by another issuer", hub_token(claims_with("iss", json!("them"))), INVALID),
        ("by no issuer", signed_token(&claims_with("aud", json!("fanfare"))), INVALID),
    ]
}

fn badly_signed_tokens() -> Vec<Case> {
    let token = hub_token(claims());
    vec![
        (
            "signed by another secret",
            sign_hmac(Algorithm::HS256, OTHER_SECRET, &hub_claims(claims())),
            INVALID,
        ),
        ("signed by HS384", sign_hmac(Algorithm::HS384, SECRET, &hub_claims(claims())), INVALID),
        ("signed by HS512", sign_hmac(Algorithm::HS512, SECRET, &hub_claims(claims())), INVALID),
        (
            "alg none",
            unsigned_token(r#"{"alg":"none","typ":"JWT"}"#, &hub_claims(claims())),
            INVALID,
        ),
        ("alg None", unsigned_token(r#"{"alg":"None"}"#, &hub_claims(claims())), INVALID),
        (
            "alg HS256 without a signature",
            unsigned_token(r#"{"alg":"HS256"}"#, &hub_claims(claims())),
            INVALID,
        ),
        ("of no alg", unsigned_token(r#"{"typ":"JWT"}"#, &hub_claims(claims())), INVALID),
        ("of an unknown alg", unsigned_token(r#"{"alg":"XS256"}"#, &hub_claims(claims())), INVALID),
        ("whose header is no JSON", format!("{}.{}.x", base64("x"), base64("{}")), INVALID),
        ("cut by a byte", token[..token.len() - 1].to_owned(), INVALID),
        ("cut in the middle", token[..token.len() / 2].to_owned(), INVALID),
        ("without its signature", token[..token.rfind('.').unwrap()].to_owned(), INVALID),
        ("with a part more", format!("{token}.x"), INVALID),
        ("that calls critical what nobody knows", token_with_critical_header(), INVALID),
        ("with a byte changed in its claims", change_char(&token, token.len() / 2), INVALID),
        ("with a byte changed in its signature", change_char(&token, token.len() - 10), INVALID),
    ]
}

fn bad_claims() -> Vec<Case> {
    vec![
        ("with claims that are a list", signed_token(&json!([1])), INVALID),
        ("whose end is true", hub_token(claims_with("exp", json!(true))), INVALID),
        ("whose end is a list", hub_token(claims_with("exp", json!([in_seconds(60)]))), INVALID),
        ("whose subject is a number", hub_token(claims_with("sub", json!(7))), INVALID),
        ("whose id is a number", hub_token(claims_with("jti", json!(7))), INVALID),
        ("issued in words", hub_token(claims_with("iat", json!("now"))), INVALID),
        ("issued before time began", hub_token(claims_with("iat", json!(-1))), INVALID),
        (
            "with an admin in words",
            hub_token(claims_with("fanfare", json!({ "admin": "true" }))),
            INVALID,
        ),
        (
            "with grants that are numbers",
            hub_token(claims_with("fanfare", json!({ "subscribe": [1] }))),
            INVALID,
        ),
        (
            "with a grant of nothing",
            hub_token(claims_with("fanfare", json!({ "subscribe": [""] }))),
            INVALID,
        ),
        ("with grants that are a list", hub_token(claims_with("fanfare", json!(["a"]))), INVALID),
        (
            "with a grant that is text",
            hub_token(claims_with("fanfare", json!({ "subscribe": "a" }))),
            INVALID,
        ),
        (
            "with a grant nobody knows",
            hub_token(claims_with("fanfare", json!({ "fly": ["a"] }))),
            INVALID,
        ),
        (
            "with a crooked selector",
            hub_token(claims_with("fanfare", json!({ "subscribe": ["a**"] }))),
            INVALID,
        ),
        (
            "with 101 selectors",
            hub_token(claims_with("fanfare", json!({ "subscribe": vec!["a.**"; 101] }))),
            INVALID,
        ),
    ]
}

fn no_grants() -> Vec<Case> {
    vec![
        ("with no grants", hub_token(claims_with("fanfare", Value::Null)), NOT_GRANTED),
        ("with empty grants", hub_token(claims_with("fanfare", json!({}))), NOT_GRANTED),
        (
            "for other streams",
            hub_token(claims_with("fanfare", json!({ "subscribe": ["b"] }))),
            NOT_GRANTED,
        ),
        (
            "to publish only",
            hub_token(claims_with("fanfare", json!({ "publish": ["**"] }))),
            NOT_GRANTED,
        ),
        (
            "of an admin who was granted no stream",
            hub_token(claims_with("fanfare", json!({ "admin": true }))),
            NOT_GRANTED,
        ),
    ]
}

fn malformed_tokens() -> Vec<Case> {
    vec![
        ("9 KiB long", hub_token(claims_with("pad", json!("x".repeat(9 * 1024)))), INVALID),
        ("of spaces", " ".to_owned(), INVALID),
        ("of nothing", String::new(), INVALID),
        ("of two dots", "..".to_owned(), INVALID),
        ("of no token", "hello".to_owned(), INVALID),
    ]
}

#[tokio::test]
async fn every_token_gets_the_expected_status_and_code() {
    let hub = Hub::start(&[
        "--jwt-secret",
        SECRET,
        "--jwt-issuer",
        "us",
        "--jwt-audience",
        "fanfare",
        "--anonymous",
        "subscribe",
    ])
    .await;
    let cases = [
        good_tokens(),
        badly_timed_tokens(),
        foreign_tokens(),
        badly_signed_tokens(),
        bad_claims(),
        no_grants(),
        malformed_tokens(),
    ]
    .concat();
    let valid_token = hub_token(claims());
    for (name, token, (status, code)) in &cases {
        let actual = send_with_bearer(&hub, (Method::GET, READ), token).await;
        assert_eq!((actual.0, actual.1.as_str()), (*status, *code), "a token {name}");
    }
    let refused = cases.iter().filter(|(.., (status, _))| *status == 401).count() as f64;
    let text = metrics_of(&hub, &hub_token(claims_with("fanfare", json!({ "admin": true })))).await;
    let count: f64 = text
        .lines()
        .filter(|line| line.starts_with("fanfare_credentials_refused_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(count, refused, "each refusal is counted\n{text}");
    let log = hub.log();
    assert!(!log.contains(&valid_token) && !text.contains(&valid_token), "a credential leaked");
}

/// Key pairs in PEM, made for this run.
struct KeyPairs(TempDir);

impl KeyPairs {
    fn new() -> Self {
        let pairs = Self(tempfile::tempdir().unwrap());
        for (name, args) in [
            ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..]),
            ("ec", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("ec384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
            ("ed", &["-algorithm", "ED25519"]),
        ] {
            let private = pairs.private(name);
            openssl(&[&["genpkey", "-out", private.to_str().unwrap()], args].concat());
            let (from, to) = (private.to_str().unwrap(), pairs.public(name));
            openssl(&["pkey", "-in", from, "-pubout", "-out", to.to_str().unwrap()]);
        }
        pairs
    }

    fn private(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    fn public(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pub.pem"))
    }

    fn sign(&self, name: &str, algorithm: Algorithm, claims: &Value) -> String {
        let pem = std::fs::read(self.private(name)).unwrap();
        let key = match name {
            "rsa" => EncodingKey::from_rsa_pem(&pem),
            "ed" => EncodingKey::from_ed_pem(&pem),
            _ => EncodingKey::from_ec_pem(&pem),
        };
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key.unwrap()).unwrap()
    }
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_token_is_verified_only_by_a_key_of_its_algorithm() {
    let pairs = KeyPairs::new();
    use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256, RS512};
    for (name, accepted_algorithms, refused_algorithms) in [
        ("rsa", &[RS256][..], &[RS512, PS256][..]),
        ("ec", &[ES256], &[]),
        ("ec384", &[ES384], &[]),
        ("ed", &[EdDSA], &[]),
    ] {
        let public = pairs.public(name);
        let hub = Hub::start(&["--jwt-public-key", public.to_str().unwrap()]).await;
        for algorithm in accepted_algorithms {
            let token = pairs.sign(name, *algorithm, &claims());
            assert_eq!(
                send_with_bearer(&hub, (Method::GET, READ), &token).await.0,
                200,
                "{algorithm:?}"
            );
        }
        for algorithm in refused_algorithms {
            let token = pairs.sign(name, *algorithm, &claims());
            assert_eq!(
                send_with_bearer(&hub, (Method::GET, READ), &token).await.0,
                401,
                "{algorithm:?}"
            );
        }
        // A public key is not a secret: a token signed with its text is refused.
        let pem = std::fs::read_to_string(&public).unwrap();
        for text in [pem.as_str(), pem.trim_end()] {
            let signed_with_public_key = sign_hmac(HS256, text, &claims());
            assert_eq!(
                send_with_bearer(&hub, (Method::GET, READ), &signed_with_public_key).await.0,
                401,
                "{name}"
            );
        }
        for other in ["rsa", "ec", "ec384", "ed"].iter().filter(|other| **other != name) {
            let algorithm = match *other {
                "rsa" => RS256,
                "ec" => ES256,
                "ec384" => ES384,
                _ => EdDSA,
            };
            let token = pairs.sign(other, algorithm, &claims());
            assert_eq!(
                send_with_bearer(&hub, (Method::GET, READ), &token).await.0,
                401,
                "{other} at {name}"
            );
        }
    }
    let public = pairs.public("rsa");
    let pinned = ["--jwt-public-key", public.to_str().unwrap(), "--jwt-algorithms", "PS256,RS512"];
    let hub = Hub::start(&pinned).await;
    for (algorithm, status) in [(PS256, 200), (RS512, 200), (RS256, 401)] {
        let token = pairs.sign("rsa", algorithm, &claims());
        assert_eq!(
            send_with_bearer(&hub, (Method::GET, READ), &token).await.0,
            status,
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn a_key_set_finds_the_key_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = |id: &str, secret: &str| json!({ "kty": "oct", "kid": id, "alg": "HS256", "k": base64(secret) });
    let set = json!({ "keys": [key("one", SECRET), key("two", OTHER_SECRET), { "kty": "strange", "kid": "x" }] });
    std::fs::write(&file, set.to_string()).unwrap();
    let hub = Hub::start(&["--jwks", file.to_str().unwrap()]).await;
    let signed = |id: Option<&str>, secret: &str| {
        let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    };
    for (id, secret, status) in [
        (Some("one"), SECRET, 200),
        (Some("two"), OTHER_SECRET, 200),
        (None, OTHER_SECRET, 200),
        (Some("one"), OTHER_SECRET, 401),
        (Some("three"), SECRET, 401),
        (Some("x"), SECRET, 401),
    ] {
        let token = signed(id, secret);
        assert_eq!(send_with_bearer(&hub, (Method::GET, READ), &token).await.0, status, "{id:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_token_after_a_notice() {
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    let token = signed_token(&claims_with("exp", json!(in_seconds(4))));
    let bearer = format!("Bearer {token}");
    let connect = async |path| {
        Reader::connect(&hub.address, path, &[("Authorization", &bearer)]).await.unwrap()
    };
    let (mut with_control, mut without_control) =
        (connect(READ).await, connect("/streams/a.x/events?control=off").await);
    with_control.open().await;
    let publish = hub.http.post(hub.url(READ)).bearer_auth(&token).body("x").send().await.unwrap();
    assert_eq!(publish.status(), 200);
    let rest = with_control.rest().await;
    let names: Vec<&str> = rest.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "message").count(), 1, "{names:?}");
    let notice = rest.iter().find(|event| event.name == "hub-notice").expect("no notice");
    assert_eq!(notice.json()["code"], "token_expires");
    assert!(notice.json()["at"].as_str().unwrap().ends_with('Z'));
    let last = rest.last().unwrap();
    assert_eq!((last.name.as_str(), &last.json()["code"]), ("hub-error", &json!("token_expired")));
    assert_eq!(
        without_control.rest().await.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(),
        ["x"]
    );
    let (status, code) = send_with_bearer(&hub, (Method::GET, READ), &token).await;
    assert_eq!((status, code.as_str()), (401, "token_expired"));
    let admin = signed_token(&claims_with("fanfare", json!({ "admin": true })));
    let text = metrics_of(&hub, &admin).await;
    assert!(text.contains("fanfare_sessions_closed_total{reason=\"token_expired\"} 2"), "{text}");
}

/// Creates a ticket with `credential` and returns the path of a reader that uses it.
async fn ticket_of(hub: &Hub, credential: &str) -> String {
    let body = json!({ "streams": ["a.**"] }).to_string();
    let request = hub.http.post(hub.url("/tickets")).bearer_auth(credential).body(body);
    let text = request.send().await.unwrap().text().await.unwrap();
    let ticket: Value = serde_json::from_str(&text).unwrap();
    format!("{READ}?ticket={}", ticket["ticket"].as_str().unwrap())
}

async fn read(hub: &Hub, credential: &str) -> Reader {
    let bearer = format!("Bearer {credential}");
    let headers = [("Authorization", bearer.as_str())];
    Reader::connect(&hub.address, READ, &headers).await.unwrap()
}

async fn revoke(hub: &Hub, credential: &str, target: Value) -> u16 {
    let request = hub.http.post(hub.url("/revocations")).bearer_auth(credential);
    request.body(target.to_string()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_revoked_credential_ends_its_sessions_and_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("page", "p", "subscribe = [\"a.**\"]"), ("admin", "adm", "admin = true")];
    let file = file_with_keys(folder.path(), &keys);
    let mut hub = Hub::start(&["--config", &file, "--jwt-secret", SECRET]).await;
    let token = |jti: &str, sub: &str, issued: Value| {
        let mut claims = claims_with("jti", json!(jti));
        let members = claims.as_object_mut().unwrap();
        members.insert("sub".into(), json!(sub));
        members.insert("iat".into(), issued);
        signed_token(&claims)
    };
    let (first, second) =
        (token("1", "ann", json!(in_seconds(-5))), token("2", "ann", json!(null)));
    let (third, bobs_token) =
        (token("3", "ann", json!(in_seconds(5))), token("4", "bob", json!(null)));
    let tickets = [
        ticket_of(&hub, &first).await,
        ticket_of(&hub, "p").await,
        ticket_of(&hub, &bobs_token).await,
    ];
    let mut sessions = Vec::new();
    for credential in [&first, &second, &third, &bobs_token, "p"] {
        let mut session = read(&hub, credential).await;
        session.open().await;
        sessions.push(session);
    }
    let mut by_ticket = hub.subscribe(&tickets[0]).await;
    by_ticket.open().await;
    for (credential, target, status) in [
        ("p", json!({ "sub": "ann" }), 403),
        (&first, json!({ "sub": "ann" }), 403),
        ("adm", json!({}), 400),
        ("adm", json!({ "sub": "ann", "jti": "1" }), 400),
        ("adm", json!({ "name": "ann" }), 400),
        ("adm", json!({ "sub": 1 }), 400),
    ] {
        assert_eq!(revoke(&hub, credential, target.clone()).await, status, "{target}");
    }
    assert_eq!(revoke(&hub, "adm", json!({ "jti": "1" })).await, 200);
    assert_eq!(revoke(&hub, "adm", json!({ "sub": "ann" })).await, 200);
    assert_eq!(revoke(&hub, "adm", json!({ "key": "page" })).await, 200);
    for (index, is_revoked) in [true, true, false, false, true].into_iter().enumerate() {
        if is_revoked {
            let last = sessions[index].rest().await.pop().expect("no error");
            assert_eq!(last.json()["code"], "token_revoked", "session {index}");
        }
    }
    assert_eq!(by_ticket.rest().await.pop().unwrap().json()["code"], "token_revoked");
    for _ in 0..2 {
        for (credential, status) in
            [(first.as_str(), 401), (&second, 401), (&third, 200), (&bobs_token, 200), ("p", 401)]
        {
            assert_eq!(send_with_bearer(&hub, (Method::GET, READ), credential).await.0, status);
        }
        for (path, status) in tickets.iter().zip([401, 401, 200]) {
            assert_eq!(send_request(&hub, (Method::GET, path), &[]).await.0, status, "{path}");
        }
        // The other sessions continue.
        if sessions.len() == 5 {
            let response =
                hub.http.post(hub.url(READ)).bearer_auth(&bobs_token).body("on").send().await;
            assert_eq!(response.unwrap().status(), 200);
            for index in [2, 3] {
                assert_eq!(sessions[index].take(1).await[0].data, "on");
            }
            sessions.clear();
            hub.kill();
            hub.restart().await;
        }
    }
}

/// Runs `fanfare token`, with a secret in the environment.
fn token_command(args: &[&str]) -> (bool, String) {
    let output = Command::new(crate::hub::program())
        .arg("token")
        .args(args)
        .env("FANFARE_JWT_SECRET", SECRET)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap().trim().to_owned())
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn the_command_line_mints_and_inspects_tokens_and_creates_keys() {
    let (success, token) =
        token_command(&["mint", "--subscribe", "a.**,b", "--sub", "ann", "--expires", "10m"]);
    assert!(success, "{token}");
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    assert_eq!(send_with_bearer(&hub, (Method::GET, READ), &token).await.0, 200);
    assert_eq!(send_with_bearer(&hub, (Method::POST, READ), &token).await.0, 403);
    let (success, text) = token_command(&["inspect", &token]);
    assert!(success && text.contains("result  accepted, subject ann"), "{text}");
    let (success, text) = token_command(&["inspect", "--jwt-audience", "else", &token]);
    assert!(!success && text.contains("refused: the token is for another audience"), "{text}");
    for (args, reason) in [
        (&["mint", "--subscribe", "a**"][..], "a**"),
        (&["mint", "--algorithm", "none"], "none"),
        (&["mint", "--expires", "25h"], "exceeds --jwt-max-lifetime (24h)"),
        (&["mint", "--algorithm", "RS256"], "RS256"),
        (&["mint", "--private-key", "/dev/null"], "PEM"),
        (&["inspect", "hello"], "not a token"),
    ] {
        let (success, text) = token_command(args);
        assert!(!success && text.contains(reason), "{args:?}: {text}");
    }
    let pairs = KeyPairs::new();
    for name in ["rsa", "ec", "ec384", "ed"] {
        let (private, public) = (pairs.private(name), pairs.public(name));
        let args = ["mint", "--subscribe", "**", "--private-key", private.to_str().unwrap()];
        let (success, token) = token_command(&args);
        assert!(success, "{name}: {token}");
        let args = ["inspect", "--jwt-public-key", public.to_str().unwrap(), &token];
        let (_, text) = token_command(&args);
        assert!(text.contains("result  accepted"), "{name}: {text}");
    }
    let (success, text) = token_command(&["key", "ci", "--publish", "a.**", "--subscribe", "a.x"]);
    let (secret, lines) = text.split_once("\n\n").unwrap();
    assert!(success);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, lines).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    let secret = secret.strip_prefix("secret: ").unwrap();
    assert_eq!(send_with_bearer(&hub, (Method::GET, READ), secret).await.0, 200);
    assert_eq!(send_with_bearer(&hub, (Method::POST, READ), secret).await.0, 200);
}
