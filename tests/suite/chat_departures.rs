//! Readers of chats whose connections are lost or are closed by the hub.

use crate::chat::{create_chat, end, events_url, kinds};
use crate::completions::{chat_request, stream, text_and_seq};
use crate::credentials::{SECRET, in_seconds, signed_token};
use crate::reader::{Event, Reader};
use crate::upstream::{Step, Upstream, answer, done, head, part};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use tokio::sync::Notify;

/// Sends a request, reads the head of the answer, and disappears without a FIN or a RST, like a
/// machine that loses its network.
const VANISHING_CLIENT: &str = "
import socket, sys
host, port = sys.argv[1].rsplit(':', 1)
client = socket.create_connection((host, int(port)))
client.sendall(sys.argv[2].encode())
head = b''
while b'\\r\\n\\r\\n' not in head:
    head += client.recv(1)
TCP_REPAIR = 19
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
client.close()
";

#[tokio::test]
#[ignore = "needs root and python3: sets TCP_REPAIR"]
async fn a_retry_takes_over_the_run_of_a_half_open_connection() {
    let next = Arc::new(Notify::new());
    let slow = [vec![head(), Step::Until(next.clone()), part("ab")], done()].concat();
    let upstream = Upstream::start(vec![slow, answer(&["another"])]).await;
    let (hub, _folder) = upstream.hub(&["--heartbeat", "10m"]).await;
    let body = chat_request(true).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        hub.address,
        body.len()
    );
    let (address, python) = (hub.address.clone(), "python3");
    let vanished = tokio::task::spawn_blocking(move || {
        Command::new(python).args(["-c", VANISHING_CLIENT, &address, &request]).status().unwrap()
    });
    assert!(vanished.await.unwrap().success(), "this test needs root, for TCP_REPAIR");
    assert_eq!(hub.metric("fanfare_sessions").await, 1.0, "the hub has not noticed");
    let mut retry = stream(&hub, &[("x-stainless-retry-count", "1")]).await;
    next.notify_one();
    assert_eq!(text_and_seq(&retry.rest().await).0, "ab");
    assert_eq!(upstream.requests().len(), 1);
}

/// Returns the events of a `POST /chat` until its connection ends.
async fn read_to_end(mut reader: Reader) -> Vec<Value> {
    reader.rest().await.iter().map(Event::json).collect()
}

#[tokio::test]
async fn a_drain_sends_readers_of_post_chat_a_terminal_event() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (mut hub, _folder) = upstream.hub(&["--drain", "3s"]).await;
    let mut readers = Vec::new();
    // The drain closes readers one by one, and the first of them before it ends the chats.
    for _ in 0..8 {
        let body = r#"{"message":"hi"}"#;
        let mut reader = Reader::request(&hub.address, "POST /chat", &[], body).await.unwrap();
        while reader.next().await.unwrap().json()["type"] != "token" {}
        readers.push(tokio::spawn(read_to_end(reader)));
    }
    hub.terminate();
    for reader in readers {
        let events = reader.await.unwrap();
        let last = end(&events);
        let is_known = ["disconnected", "hub_restarted"].map(|code| last["code"] == code);
        assert!(is_known.contains(&true), "{events:?}");
    }
    assert!(hub.wait_for_exit().await.success());
}

#[tokio::test]
async fn token_expiry_sends_readers_of_post_chat_a_terminal_event() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--jwt-secret", SECRET]).await;
    let claims = json!({ "exp": in_seconds(4), "sub": "ann", "fanfare": { "chat": ["*"] } });
    let bearer = format!("Bearer {}", signed_token(&claims));
    let headers = [("Authorization", bearer.as_str())];
    let body = r#"{"message":"hi"}"#;
    let reader = Reader::request(&hub.address, "POST /chat", &headers, body).await.unwrap();
    assert_eq!(reader.status, 200);
    let events = read_to_end(reader).await;
    let last = end(&events);
    assert_eq!(last["type"], "error", "{events:?}");
    // A resume continues after the last event of the chat; this event is not part of the chat.
    assert_eq!((&last["code"], &last["partial"]), (&json!("disconnected"), &json!(true)));
}

#[tokio::test]
async fn a_reader_resumes_the_chat_after_the_terminal_event_of_its_connection() {
    let next = Arc::new(Notify::new());
    let script = [vec![head(), part("a"), Step::Until(next.clone()), part("b")], done()].concat();
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&["--jwt-secret", SECRET]).await;
    let bearer = |seconds| {
        let exp = in_seconds(seconds);
        format!(
            "Bearer {}",
            signed_token(&json!({ "exp": exp, "sub": "ann", "fanfare": { "chat": ["*"] } }))
        )
    };
    let post = async |token: &str, extra_headers: &[(&str, &str)]| {
        let headers = [&[("Authorization", token)], extra_headers].concat();
        let body = r#"{"message":"hi"}"#;
        Reader::request(&hub.address, "POST /chat", &headers, body).await.unwrap()
    };
    let mut reader = post(&bearer(4), &[]).await;
    let events = reader.rest().await;
    let json: Vec<Value> = events.iter().map(Event::json).collect();
    assert_eq!(end(&json)["type"], "error", "{events:?}");
    let mut resumed = post(&bearer(600), &[("Last-Event-ID", reader.last_id())]).await;
    next.notify_one();
    let rest: Vec<Value> = resumed.rest().await.iter().map(Event::json).collect();
    assert_eq!(kinds(&rest), ["token", "usage", "done"], "the chat itself has not ended");
}

#[tokio::test]
async fn a_reader_of_a_whole_chat_gets_one_terminal_event() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = create_chat(&hub, json!({ "message": "hi" }), None).await;
    let mut reader = hub.subscribe(&format!("{}?control=off", events_url(&chat))).await;
    let events: Vec<Value> = reader.rest().await.iter().map(Event::json).collect();
    assert_eq!(end(&events)["type"], "done", "the connection adds no terminal event");
}
