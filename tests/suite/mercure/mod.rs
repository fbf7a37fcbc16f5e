//! The Mercure protocol: a test for each requirement, in both dialects, named after its number.

mod bridges;
mod cursor;
mod delivery;
mod discovery;
mod publishing;
mod selection;
mod subscriptions;
mod tokens;

use crate::credentials::{SECRET, in_seconds};
use crate::hub::Hub;
use crate::reader::Reader;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// Path of the hub.
pub const HUB: &str = "/.well-known/mercure";
/// URL of the hub for its clients.
pub const URL: &str = "https://hub.example/.well-known/mercure";
pub const ISSUER: &str = "https://issuer.example";
const DETAIL: &str = "https://mercure.rocks/authorization-detail";

/// Starts a hub with both dialects. Everyone may subscribe to public updates.
pub async fn start() -> Hub {
    start_with(&[]).await
}

pub async fn start_with(flags: &[&str]) -> Hub {
    let own = [
        "--mercure",
        "both",
        "--mercure-url",
        URL,
        "--jwt-secret",
        SECRET,
        "--jwt-issuer",
        ISSUER,
        "--anonymous",
        "subscribe",
    ];
    Hub::start(&[&own, flags].concat()).await
}

/// Returns valid claims of an access token without grants.
pub fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": URL, "exp": in_seconds(600) })
}

/// Returns an authorization detail.
pub fn detail(action: &str, topics: Value) -> Value {
    json!({ "type": DETAIL, "actions": [action], "topics": topics })
}

/// Returns an access token with authorization details.
pub fn token_with(details: Value) -> String {
    let mut claims = claims();
    claims["authorization_details"] = details;
    access_token(&claims)
}

pub fn access_token(claims: &Value) -> String {
    sign("at+jwt", claims)
}

/// Returns a token of the dialect 0.x.
pub fn old_token(publish: &[&str], subscribe: &[&str]) -> String {
    sign("JWT", &json!({ "mercure": { "publish": publish, "subscribe": subscribe } }))
}

pub fn sign(kind: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(kind.to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Returns a token of each dialect that grants everything.
pub fn all_tokens() -> [String; 2] {
    let all = json!([{ "match": "*" }]);
    let details = json!([detail("publish", all.clone()), detail("subscribe", all)]);
    [token_with(details), old_token(&["*"], &["*"])]
}

/// A response.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends a request with headers and a body.
pub async fn send(
    hub: &Hub,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = hub.http.request(method, hub.url(path)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let body = if is_stream { String::new() } else { response.text().await.unwrap() };
    Answer { status, headers, body }
}

/// Returns a form.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Publishes an update.
pub async fn publish(hub: &Hub, token: &str, fields: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    send(hub, "POST", HUB, &headers, &form(fields)).await
}

/// Publishes an update that must be accepted, and returns its id.
pub async fn publish_id(hub: &Hub, fields: &[(&str, &str)]) -> String {
    let answer = publish(hub, &all_tokens()[0], fields).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Subscribes with parameters.
pub async fn subscribe(hub: &Hub, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Reader {
    let path = format!("{HUB}?{}", form(parameters));
    Reader::connect(&hub.address, &path, headers).await.unwrap()
}

/// Subscribes with a token.
pub async fn subscribe_as(hub: &Hub, token: &str, parameters: &[(&str, &str)]) -> Reader {
    let bearer = format!("Bearer {token}");
    let reader = subscribe(hub, parameters, &[("Authorization", &bearer)]).await;
    assert_eq!(reader.status, 200);
    reader
}

/// Returns the status of a subscription, and its body if it is refused.
pub async fn subscribe_status(hub: &Hub, query: &str) -> (u16, String) {
    let answer =
        send(hub, "GET", &format!("{HUB}?{query}"), &[("Accept", "text/event-stream")], "").await;
    (answer.status, answer.body)
}
