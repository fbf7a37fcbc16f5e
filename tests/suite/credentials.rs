//! Secrets, tokens and keys for tests of access, and requests with them.

use crate::hub::Hub;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::time::SystemTime;

pub const SECRET: &str = "a secret that is long enough to be one";

pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() as i64 + seconds
}

pub fn sign_hmac(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// Returns valid claims.
pub fn claims() -> Value {
    json!({ "exp": in_seconds(600), "sub": "ann", "fanfare": { "subscribe": ["a.**"], "publish": ["a.**"] } })
}

/// Returns valid claims with a member changed, or removed if `value` is null.
pub fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.into(), value),
    };
    claims
}

pub fn signed_token(claims: &Value) -> String {
    sign_hmac(Algorithm::HS256, SECRET, claims)
}

/// Writes a configuration file with these keys: name, secret, and other members.
pub fn file_with_keys(folder: &Path, keys: &[(&str, &str, &str)]) -> String {
    file_with(folder, keys, "")
}

/// Writes a configuration file with these keys, followed by `extra`.
pub fn file_with(folder: &Path, keys: &[(&str, &str, &str)], extra: &str) -> String {
    let mut text = String::new();
    for (name, secret, grants) in keys {
        let hash = sha256(secret);
        text.push_str(&format!("[[key]]\nname = {name:?}\nsha256 = {hash:?}\n{grants}\n"));
    }
    let path = folder.join("keys.toml");
    std::fs::write(&path, text + extra).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn sha256(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a request; returns the status, the code of the problem, and the challenge.
pub async fn send_request(
    hub: &Hub,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    let body = if method == Method::POST { "x" } else { "" };
    let mut request = hub.http.request(method, hub.url(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let text = if is_stream { String::new() } else { response.text().await.unwrap() };
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let challenge = headers.get("www-authenticate").map(|v| v.to_str().unwrap().to_owned());
    (status, body["code"].as_str().unwrap_or_default().to_owned(), challenge.unwrap_or_default())
}

pub async fn send_with_bearer(
    hub: &Hub,
    request: (Method, &str),
    credential: &str,
) -> (u16, String) {
    let header = format!("Bearer {credential}");
    let (status, code, challenge) = send_request(hub, request, &[("Authorization", &header)]).await;
    assert_eq!(challenge.starts_with("Bearer "), status == 401, "{status} {challenge}");
    (status, code)
}

pub const READ: &str = "/streams/a.x/events";

pub fn change_char(token: &str, index: usize) -> String {
    let replacement = if token.as_bytes()[index] == b'A' { "B" } else { "A" };
    format!("{}{replacement}{}", &token[..index], &token[index + 1..])
}

pub async fn metrics_of(hub: &Hub, credential: &str) -> String {
    let request = hub.http.get(hub.url("/metrics")).bearer_auth(credential);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}
