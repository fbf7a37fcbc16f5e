//! The Durable Streams protocol: a test for each requirement, named after its number, and what it shares with the
//! hub's own protocol.

mod appends;
mod faces;
mod forks;
mod kills;
mod live;
mod reads;
mod streams;
mod web;

use crate::hub::Hub;
use crate::reader::Reader;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Path of the streams.
const ROOT: &str = "/v1/stream";
pub const TEXT: (&str, &str) = ("Content-Type", "text/plain");
pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const BYTES: (&str, &str) = ("Content-Type", "application/octet-stream");
pub const CLOSED: (&str, &str) = ("Stream-Closed", "true");

/// Starts a hub with the protocol, on which everyone may do everything.
pub async fn start() -> Hub {
    start_with(&[]).await
}

pub async fn start_with(flags: &[&str]) -> Hub {
    let own = ["--durable-streams", "on", "--durable-streams-poll", "1s"];
    Hub::start(&[&own, flags].concat()).await
}

/// A response whose body was read.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn next_offset(&self) -> &str {
        self.header("Stream-Next-Offset")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn is_up_to_date(&self) -> bool {
        self.header("Stream-Up-To-Date") == "true"
    }

    pub fn is_closed(&self) -> bool {
        self.header("Stream-Closed") == "true"
    }
}

/// Sends a request for a stream; `stream` may have a query.
pub async fn send(
    hub: &Hub,
    method: &str,
    stream: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = hub.url(&format!("{ROOT}/{stream}"));
    let mut request = hub.http.request(method, url).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap().to_vec();
    Answer { status, headers, body }
}

/// Creates a stream that does not exist.
pub async fn create(hub: &Hub, stream: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let answer = send(hub, "PUT", stream, headers, body.to_owned()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer
}

/// Appends to a stream; the hub must accept it.
pub async fn append(hub: &Hub, stream: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let answer = send(hub, "POST", stream, headers, body.to_owned()).await;
    assert!([200, 204].contains(&answer.status), "{} {}", answer.status, answer.text());
    answer
}

pub async fn get(hub: &Hub, stream: &str) -> Answer {
    send(hub, "GET", stream, &[], "").await
}

pub async fn head(hub: &Hub, stream: &str) -> Answer {
    send(hub, "HEAD", stream, &[], "").await
}

/// Follows a stream with Server-Sent Events.
pub async fn follow(hub: &Hub, stream: &str, offset: &str) -> Reader {
    let path = format!("{ROOT}/{stream}?live=sse&offset={offset}");
    let reader = Reader::connect(&hub.address, &path, &[]).await.unwrap();
    assert_eq!(reader.status, 200);
    reader
}

/// Returns the headers of a producer's write.
pub fn producer<'a>(id: &'a str, epoch: &'a str, seq: &'a str) -> [(&'a str, &'a str); 4] {
    [TEXT, ("Producer-Id", id), ("Producer-Epoch", epoch), ("Producer-Seq", seq)]
}
