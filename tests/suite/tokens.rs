//! Tokens: which ones are accepted, and how a session ends when its token expires.

use crate::credentials::{
    READ, SECRET, ask, claims, file_with_keys, flipped, good, hs, in_seconds, metrics_of, show,
    with,
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

const FINE: (u16, &str) = (200, "");
const BAD: (u16, &str) = (401, "unauthorized");
const EXPIRED: (u16, &str) = (401, "token_expired");
const NOT_GRANTED: (u16, &str) = (403, "forbidden");

/// Adds the issuer and the audience that the hub requires, unless `claims` has others.
fn ours(mut claims: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    members.entry("iss").or_insert(json!("us"));
    members.entry("aud").or_insert(json!("fanfare"));
    claims
}

fn ok(claims: Value) -> String {
    good(&ours(claims))
}

fn base64(text: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            out.push(alphabet[(bits >> (18 - 6 * place) & 63) as usize] as char);
        }
    }
    out
}

fn unsigned(header: &str, claims: &Value) -> String {
    format!("{}.{}.", base64(header), base64(&claims.to_string()))
}

fn critical() -> String {
    let crit = Some(vec!["b64".to_owned()]);
    let header = Header { crit, ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, &ours(claims()), &key).unwrap()
}

fn good_tokens() -> Vec<Case> {
    vec![
        ("as it should be", ok(claims()), FINE),
        ("of a list of audiences", ok(with("aud", json!(["x", "fanfare"]))), FINE),
        ("valid since now", ok(with("nbf", json!(in_seconds(0)))), FINE),
        (
            "ending within a fraction of a second more",
            ok(with("exp", json!(in_seconds(60) as f64 + 0.5))),
            FINE,
        ),
        ("of nobody", ok(with("sub", Value::Null)), FINE),
        ("of 23 hours in its last", ok(lasting(-22 * 3_600, 3_600)), FINE),
        ("issued in the future", ok(lasting(3_600, 23 * 3_600)), FINE),
    ]
}

/// Returns claims of a token that was issued and expires so many seconds from now.
fn lasting(issued: i64, expires: i64) -> Value {
    let mut claims = with("iat", json!(in_seconds(issued)));
    claims["exp"] = json!(in_seconds(expires));
    claims
}

fn badly_timed_tokens() -> Vec<Case> {
    vec![
        ("expired by a second", ok(with("exp", json!(in_seconds(-1)))), EXPIRED),
        ("expiring now", ok(with("exp", json!(in_seconds(0)))), EXPIRED),
        ("expired for ever", ok(with("exp", json!(0))), EXPIRED),
        ("ending before time began", ok(with("exp", json!(-5))), BAD),
        ("that never ends", ok(with("exp", Value::Null)), BAD),
        ("that ends in two days", ok(with("exp", json!(in_seconds(2 * 86_400)))), BAD),
        ("of 25 hours in its last two", ok(lasting(-23 * 3_600, 2 * 3_600)), BAD),
        ("issued a year ago", ok(lasting(-365 * 86_400, 60)), BAD),
        ("that ends at the end of time", ok(with("exp", json!(1e300))), BAD),
        ("whose end is text", ok(with("exp", json!("soon"))), BAD),
        ("valid in a minute", ok(with("nbf", json!(in_seconds(60)))), BAD),
        ("whose beginning is text", ok(with("nbf", json!("soon"))), BAD),
    ]
}

fn foreign_tokens() -> Vec<Case> {
    vec![
        ("for another audience", ok(with("aud", json!("else"))), BAD),
        ("for no audience", good(&with("iss", json!("us"))), BAD),
        ("for an empty list of audiences", ok(with("aud", json!([]))), BAD),
        ("by another issuer", ok(with("iss", json!("them"))), BAD),
        ("by no issuer", good(&with("aud", json!("fanfare"))), BAD),
    ]
}

fn badly_signed_tokens() -> Vec<Case> {
    let whole = ok(claims());
    vec![
        ("signed by another secret", hs(Algorithm::HS256, OTHER_SECRET, &ours(claims())), BAD),
        ("signed by HS384", hs(Algorithm::HS384, SECRET, &ours(claims())), BAD),
        ("signed by HS512", hs(Algorithm::HS512, SECRET, &ours(claims())), BAD),
        ("alg none", unsigned(r#"{"alg":"none","typ":"JWT"}"#, &ours(claims())), BAD),
        ("alg None", unsigned(r#"{"alg":"None"}"#, &ours(claims())), BAD),
        ("alg HS256 without a signature", unsigned(r#"{"alg":"HS256"}"#, &ours(claims())), BAD),
        ("of no alg", unsigned(r#"{"typ":"JWT"}"#, &ours(claims())), BAD),
        ("of an unknown alg", unsigned(r#"{"alg":"XS256"}"#, &ours(claims())), BAD),
        ("whose header is no JSON", format!("{}.{}.x", base64("x"), base64("{}")), BAD),
        ("cut by a byte", whole[..whole.len() - 1].to_owned(), BAD),
        ("cut in the middle", whole[..whole.len() / 2].to_owned(), BAD),
        ("without its signature", whole[..whole.rfind('.').unwrap()].to_owned(), BAD),
        ("with a part more", format!("{whole}.x"), BAD),
        ("that calls critical what nobody knows", critical(), BAD),
        ("with a byte changed in its claims", flipped(&whole, whole.len() / 2), BAD),
        ("with a byte changed in its signature", flipped(&whole, whole.len() - 10), BAD),
    ]
}

fn bad_claims() -> Vec<Case> {
    vec![
        ("with claims that are a list", good(&json!([1])), BAD),
        ("whose end is true", ok(with("exp", json!(true))), BAD),
        ("whose end is a list", ok(with("exp", json!([in_seconds(60)]))), BAD),
        ("whose subject is a number", ok(with("sub", json!(7))), BAD),
        ("whose id is a number", ok(with("jti", json!(7))), BAD),
        ("issued in words", ok(with("iat", json!("now"))), BAD),
        ("issued before time began", ok(with("iat", json!(-1))), BAD),
        ("with an admin in words", ok(with("fanfare", json!({ "admin": "true" }))), BAD),
        ("with grants that are numbers", ok(with("fanfare", json!({ "subscribe": [1] }))), BAD),
        ("with a grant of nothing", ok(with("fanfare", json!({ "subscribe": [""] }))), BAD),
        ("with grants that are a list", ok(with("fanfare", json!(["a"]))), BAD),
        ("with a grant that is text", ok(with("fanfare", json!({ "subscribe": "a" }))), BAD),
        ("with a grant nobody knows", ok(with("fanfare", json!({ "fly": ["a"] }))), BAD),
        ("with a crooked selector", ok(with("fanfare", json!({ "subscribe": ["a**"] }))), BAD),
        ("with 101 selectors", ok(with("fanfare", json!({ "subscribe": vec!["a.**"; 101] }))), BAD),
    ]
}

fn no_grants() -> Vec<Case> {
    vec![
        ("with no grants", ok(with("fanfare", Value::Null)), NOT_GRANTED),
        ("with empty grants", ok(with("fanfare", json!({}))), NOT_GRANTED),
        ("for other streams", ok(with("fanfare", json!({ "subscribe": ["b"] }))), NOT_GRANTED),
        ("to publish only", ok(with("fanfare", json!({ "publish": ["**"] }))), NOT_GRANTED),
        (
            "of an admin who was granted no stream",
            ok(with("fanfare", json!({ "admin": true }))),
            NOT_GRANTED,
        ),
    ]
}

fn malformed_tokens() -> Vec<Case> {
    vec![
        ("9 KiB long", ok(with("pad", json!("x".repeat(9 * 1024)))), BAD),
        ("of spaces", " ".to_owned(), BAD),
        ("of nothing", String::new(), BAD),
        ("of two dots", "..".to_owned(), BAD),
        ("of no token", "hello".to_owned(), BAD),
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
    let whole = ok(claims());
    for (what, token, (status, code)) in &cases {
        let answer = show(&hub, (Method::GET, READ), token).await;
        assert_eq!((answer.0, answer.1.as_str()), (*status, *code), "a token {what}");
    }
    let refused = cases.iter().filter(|(.., (status, _))| *status == 401).count() as f64;
    let text = metrics_of(&hub, &ok(with("fanfare", json!({ "admin": true })))).await;
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("fanfare_credentials_refused_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(counted, refused, "each refusal is counted\n{text}");
    let log = hub.log();
    assert!(!log.contains(&whole) && !text.contains(&whole), "a credential leaked");
}

/// Key pairs in PEM, made for this run.
struct Pairs(TempDir);

impl Pairs {
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
    let done = Command::new("openssl").args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_token_is_verified_only_by_a_key_of_its_algorithm() {
    let pairs = Pairs::new();
    use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256, RS512};
    for (name, takes, refuses) in [
        ("rsa", &[RS256][..], &[RS512, PS256][..]),
        ("ec", &[ES256], &[]),
        ("ec384", &[ES384], &[]),
        ("ed", &[EdDSA], &[]),
    ] {
        let public = pairs.public(name);
        let hub = Hub::start(&["--jwt-public-key", public.to_str().unwrap()]).await;
        for algorithm in takes {
            let token = pairs.sign(name, *algorithm, &claims());
            assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, 200, "{algorithm:?}");
        }
        for algorithm in refuses {
            let token = pairs.sign(name, *algorithm, &claims());
            assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, 401, "{algorithm:?}");
        }
        // A public key is not a secret: a token signed with its text is refused.
        let pem = std::fs::read_to_string(&public).unwrap();
        for text in [pem.as_str(), pem.trim_end()] {
            let confused = hs(HS256, text, &claims());
            assert_eq!(show(&hub, (Method::GET, READ), &confused).await.0, 401, "{name}");
        }
        for other in ["rsa", "ec", "ec384", "ed"].iter().filter(|other| **other != name) {
            let algorithm = match *other {
                "rsa" => RS256,
                "ec" => ES256,
                "ec384" => ES384,
                _ => EdDSA,
            };
            let token = pairs.sign(other, algorithm, &claims());
            assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, 401, "{other} at {name}");
        }
    }
    let public = pairs.public("rsa");
    let pinned = ["--jwt-public-key", public.to_str().unwrap(), "--jwt-algorithms", "PS256,RS512"];
    let hub = Hub::start(&pinned).await;
    for (algorithm, status) in [(PS256, 200), (RS512, 200), (RS256, 401)] {
        let token = pairs.sign("rsa", algorithm, &claims());
        assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, status, "{algorithm:?}");
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
        assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, status, "{id:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_token_after_a_notice() {
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    let token = good(&with("exp", json!(in_seconds(4))));
    let bearer = format!("Bearer {token}");
    let connect = async |path| {
        Reader::connect(&hub.address, path, &[("Authorization", &bearer)]).await.unwrap()
    };
    let (mut told, mut silent) =
        (connect(READ).await, connect("/streams/a.x/events?control=off").await);
    told.open().await;
    let publish = hub.http.post(hub.url(READ)).bearer_auth(&token).body("x").send().await.unwrap();
    assert_eq!(publish.status(), 200);
    let rest = told.rest().await;
    let names: Vec<&str> = rest.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "message").count(), 1, "{names:?}");
    let notice = rest.iter().find(|event| event.name == "hub-notice").expect("no notice");
    assert_eq!(notice.json()["code"], "token_expires");
    assert!(notice.json()["at"].as_str().unwrap().ends_with('Z'));
    let last = rest.last().unwrap();
    assert_eq!((last.name.as_str(), &last.json()["code"]), ("hub-error", &json!("token_expired")));
    assert_eq!(
        silent.rest().await.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(),
        ["x"]
    );
    let (status, code) = show(&hub, (Method::GET, READ), &token).await;
    assert_eq!((status, code.as_str()), (401, "token_expired"));
    let admin = good(&with("fanfare", json!({ "admin": true })));
    let text = metrics_of(&hub, &admin).await;
    assert!(text.contains("fanfare_sessions_closed_total{reason=\"token_expired\"} 2"), "{text}");
}

/// Creates a ticket with `credential` and returns the path of a reader that uses it.
async fn ticket_of(hub: &Hub, credential: &str) -> String {
    let asked = json!({ "streams": ["a.**"] }).to_string();
    let request = hub.http.post(hub.url("/tickets")).bearer_auth(credential).body(asked);
    let text = request.send().await.unwrap().text().await.unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    format!("{READ}?ticket={}", made["ticket"].as_str().unwrap())
}

async fn read(hub: &Hub, credential: &str) -> Reader {
    let bearer = format!("Bearer {credential}");
    let headers = [("Authorization", bearer.as_str())];
    Reader::connect(&hub.address, READ, &headers).await.unwrap()
}

async fn revoke(hub: &Hub, credential: &str, whose: Value) -> u16 {
    let request = hub.http.post(hub.url("/revocations")).bearer_auth(credential);
    request.body(whose.to_string()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_revoked_credential_ends_its_sessions_and_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("page", "p", "subscribe = [\"a.**\"]"), ("admin", "adm", "admin = true")];
    let file = file_with_keys(folder.path(), &keys);
    let mut hub = Hub::start(&["--config", &file, "--jwt-secret", SECRET]).await;
    let token = |jti: &str, sub: &str, issued: Value| {
        let mut claims = with("jti", json!(jti));
        let members = claims.as_object_mut().unwrap();
        members.insert("sub".into(), json!(sub));
        members.insert("iat".into(), issued);
        good(&claims)
    };
    let (one, two) = (token("1", "ann", json!(in_seconds(-5))), token("2", "ann", json!(null)));
    let (three, of_bob) = (token("3", "ann", json!(in_seconds(5))), token("4", "bob", json!(null)));
    let tickets =
        [ticket_of(&hub, &one).await, ticket_of(&hub, "p").await, ticket_of(&hub, &of_bob).await];
    let mut sessions = Vec::new();
    for credential in [&one, &two, &three, &of_bob, "p"] {
        let mut session = read(&hub, credential).await;
        session.open().await;
        sessions.push(session);
    }
    let mut by_ticket = hub.subscribe(&tickets[0]).await;
    by_ticket.open().await;
    for (credential, whose, status) in [
        ("p", json!({ "sub": "ann" }), 403),
        (&one, json!({ "sub": "ann" }), 403),
        ("adm", json!({}), 400),
        ("adm", json!({ "sub": "ann", "jti": "1" }), 400),
        ("adm", json!({ "name": "ann" }), 400),
        ("adm", json!({ "sub": 1 }), 400),
    ] {
        assert_eq!(revoke(&hub, credential, whose.clone()).await, status, "{whose}");
    }
    assert_eq!(revoke(&hub, "adm", json!({ "jti": "1" })).await, 200);
    assert_eq!(revoke(&hub, "adm", json!({ "sub": "ann" })).await, 200);
    assert_eq!(revoke(&hub, "adm", json!({ "key": "page" })).await, 200);
    for (at, revoked) in [true, true, false, false, true].into_iter().enumerate() {
        if revoked {
            let last = sessions[at].rest().await.pop().expect("no error");
            assert_eq!(last.json()["code"], "token_revoked", "session {at}");
        }
    }
    assert_eq!(by_ticket.rest().await.pop().unwrap().json()["code"], "token_revoked");
    for _ in 0..2 {
        for (credential, status) in
            [(one.as_str(), 401), (&two, 401), (&three, 200), (&of_bob, 200), ("p", 401)]
        {
            assert_eq!(show(&hub, (Method::GET, READ), credential).await.0, status);
        }
        for (path, status) in tickets.iter().zip([401, 401, 200]) {
            assert_eq!(ask(&hub, (Method::GET, path), &[]).await.0, status, "{path}");
        }
        // The other sessions continue.
        if sessions.len() == 5 {
            let sent = hub.http.post(hub.url(READ)).bearer_auth(&of_bob).body("on").send().await;
            assert_eq!(sent.unwrap().status(), 200);
            for at in [2, 3] {
                assert_eq!(sessions[at].take(1).await[0].data, "on");
            }
            sessions.clear();
            hub.kill();
            hub.restart().await;
        }
    }
}

/// Runs `fanfare token`, with a secret in the environment.
fn token_command(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
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
    let (made, token) =
        token_command(&["mint", "--subscribe", "a.**,b", "--sub", "ann", "--expires", "10m"]);
    assert!(made, "{token}");
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    assert_eq!(show(&hub, (Method::GET, READ), &token).await.0, 200);
    assert_eq!(show(&hub, (Method::POST, READ), &token).await.0, 403);
    let (told, text) = token_command(&["inspect", &token]);
    assert!(told && text.contains("result  accepted, subject ann"), "{text}");
    let (told, text) = token_command(&["inspect", "--jwt-audience", "else", &token]);
    assert!(told && text.contains("refused: the token is for another audience"), "{text}");
    for (args, why) in [
        (&["mint", "--subscribe", "a**"][..], "a**"),
        (&["mint", "--algorithm", "none"], "none"),
        (&["mint", "--algorithm", "RS256"], "RS256"),
        (&["mint", "--private-key", "/dev/null"], "PEM"),
        (&["inspect", "hello"], "not a token"),
    ] {
        let (made, text) = token_command(args);
        assert!(!made && text.contains(why), "{args:?}: {text}");
    }
    let pairs = Pairs::new();
    for name in ["rsa", "ec", "ec384", "ed"] {
        let (private, public) = (pairs.private(name), pairs.public(name));
        let args = ["mint", "--subscribe", "**", "--private-key", private.to_str().unwrap()];
        let (made, token) = token_command(&args);
        assert!(made, "{name}: {token}");
        let args = ["inspect", "--jwt-public-key", public.to_str().unwrap(), &token];
        let (_, text) = token_command(&args);
        assert!(text.contains("result  accepted"), "{name}: {text}");
    }
    let (made, text) = token_command(&["key", "ci", "--publish", "a.**", "--subscribe", "a.x"]);
    let (secret, lines) = text.split_once("\n\n").unwrap();
    assert!(made);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, lines).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    let secret = secret.strip_prefix("secret: ").unwrap();
    assert_eq!(show(&hub, (Method::GET, READ), secret).await.0, 200);
    assert_eq!(show(&hub, (Method::POST, READ), secret).await.0, 200);
}
