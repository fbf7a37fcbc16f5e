//! Requests to other hubs and their answers, as bytes.

use crate::cluster::HubRequest;
use actix_http::Payload;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use uuid::Uuid;

/// Headers that belong to one connection, or whose value changes on the way.
const NOT_SENT: [HeaderName; 6] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Query parameter with the name of the hub that answers.
pub(crate) const HUB: &str = "hub";

/// Hubs that a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// The hub that gets it.
    This,
    /// The hub named by the query parameter `hub`, otherwise the one that gets it.
    Named,
    /// The same, but without a name another hub may know what this one does not.
    Any,
}

/// Returns the hubs that a request with this method and path is for.
pub(crate) fn scope(method: &Method, path: &str) -> Scope {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("DELETE", ["sessions", _] | ["jobs", _, "runs", _] | ["chats", _])
        | ("GET", ["chats", _])
        | ("POST", ["chats", _, "stop"] | ["v1", "chat", "completions", _, "cancel"]) => Scope::Any,
        (_, ["stats" | "sessions" | "cluster" | "jobs" | "log-filter" | "readyz" | "version"])
        | (_, ["presence", _] | ["journal", "losses"] | ["jobs", _, "runs"]) => Scope::Named,
        // Subscriptions of the Mercure protocol, below the path of its hub.
        ("GET", [first, .., _]) if *first != "streams" && parts.contains(&"subscriptions") => {
            Scope::Named
        }
        _ => Scope::This,
    }
}

/// Returns the hub that a query names.
pub(crate) fn named_hub(query: &str) -> Option<&str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == HUB)
        .map(|(_, hub)| hub)
}

/// A request to another hub, without its body.
#[derive(Serialize, Deserialize)]
pub(crate) struct RequestHead {
    method: String,
    /// Path and query.
    uri: String,
    /// Address of the client's connection.
    client: Option<SocketAddr>,
    headers: Vec<(String, String)>,
}

impl RequestHead {
    /// Copies the head of a request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self {
            method: request.method().as_str().to_owned(),
            uri: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            client: request.peer_addr(),
            headers: texts_of(request.headers(), |name| !NOT_SENT.contains(name)),
        }
    }

    /// Returns false if no hub can know the session or the chat that the request is for.
    pub(crate) fn has_valid_id(&self) -> bool {
        let path = self.uri.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        match (parts.next(), parts.next()) {
            (Some("sessions" | "chats"), Some(id)) => Uuid::try_parse(id).is_ok(),
            _ => true,
        }
    }

    /// Returns the request, of which the hub `node` alone is to answer.
    pub(crate) fn request(&self, node: &str, body: &[u8]) -> HubRequest {
        let mut uri = self.uri.clone();
        let query = uri.split_once('?').map(|(_, query)| query);
        if query.and_then(named_hub).is_none() {
            uri.push_str(if query.is_some() { "&" } else { "?" });
            uri.push_str(&format!("{HUB}={node}"));
        }
        let head =
            Self { uri, method: self.method.clone(), headers: self.headers.clone(), ..*self };
        let is_change = self.method != Method::GET.as_str() && self.method != Method::HEAD.as_str();
        HubRequest { data: frame(&head, body), is_change }
    }
}

/// Returns the names and values of the headers that `is_sent` accepts and that are text.
pub(crate) fn texts_of(
    headers: &HeaderMap,
    is_sent: impl Fn(&HeaderName) -> bool,
) -> Vec<(String, String)> {
    let sent = headers.iter().filter(|(name, _)| is_sent(name));
    let texts = sent.filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    texts.collect()
}

/// An answer of another hub, without its body.
#[derive(Serialize, Deserialize)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

/// Returns the bytes of a head and its body: the head in JSON, a line feed, the body.
pub(crate) fn frame(head: &impl Serialize, body: &[u8]) -> Bytes {
    // Structs of text cannot fail to be written.
    let mut frame = serde_json::to_vec(head).unwrap_or_default();
    frame.push(b'\n');
    frame.extend_from_slice(body);
    frame.into()
}

/// Splits bytes into a head and its body.
pub(crate) fn parse<'a, T: Deserialize<'a>>(frame: &'a Bytes) -> Option<(T, Bytes)> {
    let end = memchr::memchr(b'\n', frame)?;
    Some((serde_json::from_slice(&frame[..end]).ok()?, frame.slice(end + 1..)))
}

/// Returns the request that another hub has sent on, or `None` if it may not be.
pub(crate) fn parse_request(frame: &Bytes) -> Option<actix_http::Request> {
    let (head, body): (RequestHead, Bytes) = parse(frame)?;
    let mut request = actix_http::Request::with_payload(Payload::from(body));
    let target = request.head_mut();
    target.method = head.method.parse().ok()?;
    target.uri = head.uri.parse::<Uri>().ok()?;
    target.peer_addr = head.client;
    if scope(&target.method, target.uri.path()) == Scope::This {
        return None;
    }
    for (name, value) in &head.headers {
        let (name, value) = (name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
        target.headers.append(name, value);
    }
    Some(request)
}
