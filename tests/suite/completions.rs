//! Chats of OpenAI's clients: the bytes that they receive, and retries after a lost connection.

use crate::chat::{TEXT, events_url, start_chat, text};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Step, Upstream, answer, done, head, part};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const PATH: &str = "POST /v1/chat/completions";

pub fn chat_request(stream: bool) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
}

pub async fn post(hub: &Hub, body: &Value, headers: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
    let request = hub.http.post(hub.url("/v1/chat/completions")).body(body.to_string());
    let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
    let response = request.send().await.unwrap();
    let (status, head) = (response.status().as_u16(), response.headers().clone());
    (status, head, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

pub async fn stream(hub: &Hub, headers: &[(&str, &str)]) -> Reader {
    stream_from(hub, PATH, headers).await
}

pub async fn stream_from(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> Reader {
    // SDKs send this header.
    let headers = [&[("Accept", "application/json")], headers].concat();
    let body = chat_request(true).to_string();
    Reader::request(&hub.address, path, &headers, &body).await.unwrap()
}

/// Returns the text of chunks and the sequence number of the last one.
pub fn text_and_seq(events: &[Event]) -> (String, u64) {
    let chunks = events.iter().filter(|event| event.data != "[DONE]").map(Event::json);
    chunks.fold((String::new(), 0), |(text, last), chunk| {
        let content = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        let seq = chunk["fanfare"]["seq"].as_u64().unwrap();
        assert!(seq >= last, "seq decreases");
        (text + content, seq)
    })
}

#[tokio::test]
async fn a_stream_contains_only_chunks() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let mut reader = stream(&hub, &[]).await;
    assert_eq!(
        (reader.status, reader.headers["content-type"].as_str()),
        (200, "text/event-stream")
    );
    assert!(!reader.headers.contains_key("last-event-id"));
    let events = reader.rest().await;
    assert_eq!(text_and_seq(&events).0, TEXT.concat());
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let raw = String::from_utf8(reader.bytes.clone()).unwrap();
    assert!(raw.ends_with("data: [DONE]\n\n"), "nothing follows it");
    for line in raw.lines() {
        assert!(line.is_empty() || line.starts_with("data: ") && line.len() > 6, "{line:?}");
    }
    let finish = events[events.len() - 2].json();
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["usage"], Value::Null, "it was not asked for");
    let id = &reader.headers["fanfare-chat-id"];
    assert_eq!(finish["id"], format!("chatcmpl-{id}"));
    let mut with_usage = chat_request(true);
    with_usage["stream_options"] = json!({ "include_usage": true });
    let body = with_usage.to_string();
    let mut reader = Reader::request(&hub.address, PATH, &[], &body).await.unwrap();
    let events = reader.rest().await;
    let usage = events[events.len() - 2].json();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(18)));
    let (status, headers, completion) = post(&hub, &chat_request(false), &[]).await;
    assert_eq!((status, &completion["object"]), (200, &json!("chat.completion")));
    assert_eq!(completion["choices"][0]["message"]["content"], TEXT.concat());
    assert_eq!(completion["usage"]["completion_tokens"], 11);
    assert!(headers.contains_key("fanfare-chat-id"));
}

#[tokio::test]
async fn a_reader_disconnected_after_each_chunk_gets_the_whole_text() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let key = ("Idempotency-Key", "k");
    let (mut text, mut seq, mut id) = (String::new(), 0, String::new());
    for round in 0.. {
        let after = seq.to_string();
        let mut reader = match round % 3 {
            0 => stream(&hub, &[key, ("Last-Event-ID", &after)]).await,
            1 => stream_from(&hub, &format!("{PATH}?starting_after={after}"), &[key]).await,
            _ => {
                let path = format!(
                    "/v1/chat/completions/chatcmpl-{id}?stream=true&starting_after={after}"
                );
                Reader::connect(&hub.address, &path, &[]).await.unwrap()
            }
        };
        id.clone_from(&reader.headers["fanfare-chat-id"]);
        let event = reader.next().await.unwrap();
        if event.data == "[DONE]" {
            break;
        }
        let (content, next_seq) = text_and_seq(&[event]);
        text.push_str(&content);
        assert!(next_seq > seq || round > 0 && content.is_empty());
        if next_seq == seq {
            break;
        }
        seq = next_seq;
    }
    assert_eq!(text, TEXT.concat());
    assert_eq!(upstream.requests().len(), 1);
}

/// Returns a script that waits for `next` before its first part.
fn slow(next: &Arc<Notify>) -> Vec<Step> {
    [vec![head(), Step::Until(next.clone())], answer(&["a", "b"])[1..].to_vec()].concat()
}

#[tokio::test]
async fn a_retry_takes_over_the_run_of_the_first_request() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let mut first = stream(&hub, &[]).await;
    let mut unrelated = stream(&hub, &[]).await;
    assert_eq!(text_and_seq(&unrelated.rest().await).0, "another", "it is no retry");
    // The hub cannot see that a connection is dead, so a retry takes over even while it is open.
    let mut retrying = stream(&hub, &[("x-stainless-retry-count", "1")]).await;
    drop(stream(&hub, &[("x-stainless-retry-count", "2")]).await);
    next.notify_one();
    for reader in [&mut first, &mut retrying] {
        assert_eq!(text_and_seq(&reader.rest().await).0, "ab");
    }
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(hub.metric("fanfare_chat_adopted_total").await, 2.0);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let mut later = stream(&hub, &[("x-stainless-retry-count", "2")]).await;
    assert_eq!(
        text_and_seq(&later.rest().await).0,
        "another",
        "an answer read to its end is not taken over"
    );
}

#[tokio::test]
async fn a_run_with_an_idempotency_key_is_taken_over_only_with_that_key() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let key = ("Idempotency-Key", "k");
    let retry = ("x-stainless-retry-count", "1");
    drop(stream(&hub, &[key]).await);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let mut without_key = stream(&hub, &[retry]).await;
    assert_eq!(text_and_seq(&without_key.rest().await).0, "another");
    let mut with_key = stream(&hub, &[key, retry]).await;
    next.notify_one();
    assert_eq!(text_and_seq(&with_key.rest().await).0, "ab");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_retry_gets_the_answer_that_the_first_request_did_not_wait_for() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let body = chat_request(false).to_string();
    // The client gives up before the first byte.
    tokio::select! {
        _ = Reader::request(&hub.address, PATH, &[], &body) => panic!("nothing was said yet"),
        () = upstream.wait_for_requests(1) => {}
    }
    next.notify_one();
    hub.wait_for_metric("fanfare_chats_ended_total{outcome=\"done\",upstream=\"scripted\"}", |n| {
        n == 1.0
    })
    .await;
    let (status, _, completion) =
        post(&hub, &chat_request(false), &[("x-stainless-retry-count", "1")]).await;
    assert_eq!((status, &completion["choices"][0]["message"]["content"]), (200, &json!("ab")));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn subjects_with_the_same_address_share_no_chat() {
    let folder = tempfile::tempdir().unwrap();
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let keys = "chat = [\"*\"]";
    let extra = std::fs::read_to_string(upstream.config(folder.path(), "")).unwrap();
    let file = crate::credentials::file_with(
        folder.path(),
        &[("ann", "secret of ann, long enough", keys), ("bob", "secret of bob, long enough", keys)],
        &extra,
    );
    let flags = ["--config", &file, "--metrics-listen", "127.0.0.1:0"];
    let hub = Hub::start_in(&folder.path().join("data"), &flags).await;
    let bearer = |name: &str| format!("Bearer secret of {name}, long enough");
    let first = stream(&hub, &[("Authorization", &bearer("ann"))]).await;
    let id = first.headers["fanfare-chat-id"].clone();
    drop(first);
    // Rules out the open reader as the reason that the run is not taken over.
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let retry = ("x-stainless-retry-count", "1");
    let mut other = stream(&hub, &[("Authorization", &bearer("bob")), retry]).await;
    assert_eq!(text_and_seq(&other.rest().await).0, "another");
    let (status, _, response) =
        post(&hub, &chat_request(true), &[("Authorization", "Bearer nobody's")]).await;
    assert_eq!((status, &response["error"]["message"]), (401, &json!("the credential is unknown")));
    let (ann, bob) = (bearer("ann"), bearer("bob"));
    for (name, expected) in [(&ann, 200), (&bob, 404)] {
        let url = hub.url(&format!("/v1/chat/completions/{id}/cancel"));
        let response =
            hub.http.post(url).header("Authorization", name.as_str()).send().await.unwrap();
        assert_eq!(response.status(), expected);
    }
    upstream.wait_for_disconnects(1).await;
}

#[tokio::test]
async fn openai_chats_stop_a_minute_after_their_last_reader() {
    let hang = || vec![head(), part("a"), Step::Hang];
    let upstream = Upstream::start(vec![hang(), hang(), hang()]).await;
    let (hub, _folder) = upstream.hub(&["--chat-idle-timeout", "10m"]).await;
    let mut connected = stream(&hub, &[]).await;
    let continued = stream(&hub, &[("Fanfare-On-Disconnect", "continue")]).await;
    let abandoned = stream(&hub, &[]).await;
    let ids = [&continued, &abandoned].map(|reader| reader.headers["fanfare-chat-id"].clone());
    drop((continued, abandoned));
    if !crate::hub::is_full_run() {
        // The short pass only checks that the chat does not stop at once.
        let (_, chat) = hub.get(&format!("/chats/{}", ids[1])).await;
        assert_eq!(chat["status"], "running");
        return;
    }
    let ended = "fanfare_chats_ended_total{outcome=\"cancelled\",upstream=\"scripted\"}";
    let started = std::time::Instant::now();
    while hub.metric(ended).await < 1.0 {
        assert!(started.elapsed() < Duration::from_secs(90), "it does not stop");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (_, stopped) = hub.get(&format!("/chats/{}", ids[1])).await;
    let (_, running) = hub.get(&format!("/chats/{}", ids[0])).await;
    assert_eq!((&stopped["status"], &running["status"]), (&json!("cancelled"), &json!("running")));
    assert!(connected.next().await.is_some(), "a chat with a reader continues");
    assert_eq!(hub.metric(ended).await, 1.0);
}

#[tokio::test]
async fn a_slow_reader_does_not_delay_others() {
    let (readers, parts) = (100, 3_000);
    let words: Vec<String> = (0..parts).map(|n| format!("{n} {} ", "x".repeat(90))).collect();
    let next = Arc::new(Notify::new());
    let mut script = vec![head(), Step::Until(next.clone())];
    for batch in words.chunks(100) {
        script.extend(batch.iter().map(|word| part(word)));
        script.push(Step::Pause(Duration::from_millis(10)));
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let mut slow = hub.subscribe(events_url(&chat)).await;
    let mut others = Vec::new();
    for _ in 1..readers {
        others.push(hub.subscribe(events_url(&chat)).await);
    }
    let before = hub.resident_bytes();
    next.notify_one();
    let reads = others.into_iter().map(|mut reader| async move {
        let events = reader.rest().await;
        events.iter().filter(|event| !event.is_control()).map(Event::json).collect::<Vec<_>>()
    });
    let read_slowly = async {
        for _ in 0..3 {
            slow.next_event().await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        slow
    };
    let (others, mut slow) = tokio::join!(futures_util::future::join_all(reads), read_slowly);
    for events in others {
        assert_eq!(text(&events), words.concat());
    }
    let growth = hub.resident_bytes().saturating_sub(before);
    assert!(growth < 64 << 20, "{growth} bytes more");
    let rest: Vec<Value> =
        slow.rest().await.iter().filter(|e| !e.is_control()).map(Event::json).collect();
    assert_eq!(rest.last().unwrap()["type"], "done");
}

#[tokio::test]
async fn a_retry_after_a_failure_or_a_stop_starts_a_new_run() {
    let hang = vec![head(), part("a"), Step::Hang];
    let cut = vec![head(), part("b"), Step::Pause(Duration::from_millis(50))];
    let upstream = Upstream::start(vec![hang, cut, answer(&["whole"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let retry = ("x-stainless-retry-count", "1");
    let first = stream(&hub, &[]).await;
    let url = hub.url(&format!("/chats/{}/stop", first.headers["fanfare-chat-id"]));
    drop(first);
    hub.http.post(url).send().await.unwrap();
    hub.wait_for_metric(
        "fanfare_chats_ended_total{outcome=\"cancelled\",upstream=\"scripted\"}",
        |n| n == 1.0,
    )
    .await;
    drop(stream(&hub, &[retry]).await);
    hub.wait_for_metric(
        "fanfare_chats_ended_total{outcome=\"upstream_incomplete\",upstream=\"scripted\"}",
        |n| n == 1.0,
    )
    .await;
    let (status, _, body) = post(&hub, &chat_request(false), &[retry]).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("whole")));
    assert_eq!(upstream.requests().len(), 3);
}
