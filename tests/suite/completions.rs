//! Chats of OpenAI's clients: the bytes that they receive, and retries after a lost connection.

use crate::chat::{TEXT, begun, events_url, text};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Step, Upstream, answer, done, head, part};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const PATH: &str = "POST /v1/chat/completions";

pub fn ask(stream: bool) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
}

pub async fn post(hub: &Hub, body: &Value, headers: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
    let request = hub.http.post(hub.url("/v1/chat/completions")).body(body.to_string());
    let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, head) = (answer.status().as_u16(), answer.headers().clone());
    (status, head, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
}

pub async fn stream(hub: &Hub, headers: &[(&str, &str)]) -> Reader {
    stream_of(hub, PATH, headers).await
}

pub async fn stream_of(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> Reader {
    // SDKs send this header.
    let headers = [&[("Accept", "application/json")], headers].concat();
    let body = ask(true).to_string();
    Reader::request(&hub.address, path, &headers, &body).await.unwrap()
}

/// Returns the text of chunks and the sequence number of the last one.
pub fn said(events: &[Event]) -> (String, u64) {
    let chunks = events.iter().filter(|event| event.data != "[DONE]").map(Event::json);
    chunks.fold((String::new(), 0), |(text, last), chunk| {
        let more = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        let seq = chunk["fanfare"]["seq"].as_u64().unwrap();
        assert!(seq >= last, "seq decreases");
        (text + more, seq)
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
    assert_eq!(said(&events).0, TEXT.concat());
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
    let mut with_usage = ask(true);
    with_usage["stream_options"] = json!({ "include_usage": true });
    let body = with_usage.to_string();
    let mut reader = Reader::request(&hub.address, PATH, &[], &body).await.unwrap();
    let events = reader.rest().await;
    let usage = events[events.len() - 2].json();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(18)));
    let (status, headers, whole) = post(&hub, &ask(false), &[]).await;
    assert_eq!((status, &whole["object"]), (200, &json!("chat.completion")));
    assert_eq!(whole["choices"][0]["message"]["content"], TEXT.concat());
    assert_eq!(whole["usage"]["completion_tokens"], 11);
    assert!(headers.contains_key("fanfare-chat-id"));
}

#[tokio::test]
async fn a_reader_disconnected_after_each_chunk_gets_the_whole_text() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let key = ("Idempotency-Key", "k");
    let (mut all, mut seq, mut id) = (String::new(), 0, String::new());
    for round in 0.. {
        let after = seq.to_string();
        let mut reader = match round % 3 {
            0 => stream(&hub, &[key, ("Last-Event-ID", &after)]).await,
            1 => stream_of(&hub, &format!("{PATH}?starting_after={after}"), &[key]).await,
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
        let (more, place) = said(&[event]);
        all.push_str(&more);
        assert!(place > seq || round > 0 && more.is_empty());
        if place == seq {
            break;
        }
        seq = place;
    }
    assert_eq!(all, TEXT.concat());
    assert_eq!(upstream.asked().len(), 1);
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
    let mut fresh = stream(&hub, &[]).await;
    assert_eq!(said(&fresh.rest().await).0, "another", "it is no retry");
    // The hub cannot see that a connection is dead, so a retry takes over beside an open one.
    let mut beside = stream(&hub, &[("x-stainless-retry-count", "1")]).await;
    drop(stream(&hub, &[("x-stainless-retry-count", "2")]).await);
    next.notify_one();
    for reader in [&mut first, &mut beside] {
        assert_eq!(said(&reader.rest().await).0, "ab");
    }
    assert_eq!(upstream.asked().len(), 2);
    assert_eq!(hub.metric("fanfare_chat_adopted_total").await, 2.0);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let mut later = stream(&hub, &[("x-stainless-retry-count", "2")]).await;
    assert_eq!(
        said(&later.rest().await).0,
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
    let mut without = stream(&hub, &[retry]).await;
    assert_eq!(said(&without.rest().await).0, "another");
    let mut with = stream(&hub, &[key, retry]).await;
    next.notify_one();
    assert_eq!(said(&with.rest().await).0, "ab");
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn a_retry_gets_the_answer_that_the_first_request_did_not_wait_for() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let body = ask(false).to_string();
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
    let (status, _, whole) = post(&hub, &ask(false), &[("x-stainless-retry-count", "1")]).await;
    assert_eq!((status, &whole["choices"][0]["message"]["content"]), (200, &json!("ab")));
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn subjects_with_the_same_address_share_no_chat() {
    let folder = tempfile::tempdir().unwrap();
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![slow(&next), answer(&["another"])]).await;
    let keys = "chat = [\"*\"]";
    let more = std::fs::read_to_string(upstream.config(folder.path(), "")).unwrap();
    let file = crate::credentials::file_with(
        folder.path(),
        &[("ann", "secret of ann, long enough", keys), ("bob", "secret of bob, long enough", keys)],
        &more,
    );
    let flags = ["--config", &file, "--metrics-listen", "127.0.0.1:0"];
    let hub = Hub::start_in(&folder.path().join("data"), &flags).await;
    let as_of = |who: &str| format!("Bearer secret of {who}, long enough");
    let first = stream(&hub, &[("Authorization", &as_of("ann"))]).await;
    let id = first.headers["fanfare-chat-id"].clone();
    drop(first);
    // Rules out the open reader as the reason that the run is not taken over.
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let retry = ("x-stainless-retry-count", "1");
    let mut other = stream(&hub, &[("Authorization", &as_of("bob")), retry]).await;
    assert_eq!(said(&other.rest().await).0, "another");
    let (status, _, answer) = post(&hub, &ask(true), &[("Authorization", "Bearer nobody's")]).await;
    assert_eq!((status, &answer["error"]["message"]), (401, &json!("the credential is unknown")));
    let (ann, bob) = (as_of("ann"), as_of("bob"));
    for (who, expected) in [(&ann, 200), (&bob, 404)] {
        let url = hub.url(&format!("/v1/chat/completions/{id}/cancel"));
        let answer = hub.http.post(url).header("Authorization", who.as_str()).send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    upstream.wait_for_disconnects(1).await;
}

#[tokio::test]
async fn openai_chats_stop_a_minute_after_their_last_reader() {
    let hang = || vec![head(), part("a"), Step::Hang];
    let upstream = Upstream::start(vec![hang(), hang(), hang()]).await;
    let (hub, _folder) = upstream.hub(&["--chat-idle-timeout", "10m"]).await;
    let mut kept = stream(&hub, &[]).await;
    let left = stream(&hub, &[("Fanfare-On-Disconnect", "continue")]).await;
    let alone = stream(&hub, &[]).await;
    let ids = [&left, &alone].map(|reader| reader.headers["fanfare-chat-id"].clone());
    drop((left, alone));
    if !crate::hub::full() {
        // The short pass only checks that the chat does not stop at once.
        let (_, chat) = hub.get(&format!("/chats/{}", ids[1])).await;
        assert_eq!(chat["status"], "running");
        return;
    }
    let ended = "fanfare_chats_ended_total{outcome=\"cancelled\",upstream=\"scripted\"}";
    let began = std::time::Instant::now();
    while hub.metric(ended).await < 1.0 {
        assert!(began.elapsed() < Duration::from_secs(90), "it does not stop");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (_, stopped) = hub.get(&format!("/chats/{}", ids[1])).await;
    let (_, runs) = hub.get(&format!("/chats/{}", ids[0])).await;
    assert_eq!((&stopped["status"], &runs["status"]), (&json!("cancelled"), &json!("running")));
    assert!(kept.next().await.is_some(), "a chat with a reader continues");
    assert_eq!(hub.metric(ended).await, 1.0);
}

#[tokio::test]
async fn a_slow_reader_does_not_delay_others() {
    let (readers, parts) = (100, 3_000);
    let words: Vec<String> = (0..parts).map(|n| format!("{n} {} ", "x".repeat(90))).collect();
    let next = Arc::new(Notify::new());
    let mut script = vec![head(), Step::Until(next.clone())];
    for some in words.chunks(100) {
        script.extend(some.iter().map(|word| part(word)));
        script.push(Step::Pause(Duration::from_millis(10)));
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let mut slow = hub.subscribe(events_url(&chat)).await;
    let mut all = Vec::new();
    for _ in 1..readers {
        all.push(hub.subscribe(events_url(&chat)).await);
    }
    let before = hub.resident_bytes();
    next.notify_one();
    let read = all.into_iter().map(|mut reader| async move {
        let events = reader.rest().await;
        events.iter().filter(|event| !event.is_control()).map(Event::json).collect::<Vec<_>>()
    });
    let slowly = async {
        for _ in 0..3 {
            slow.next_event().await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        slow
    };
    let (all, mut slow) = tokio::join!(futures_util::future::join_all(read), slowly);
    for events in all {
        assert_eq!(text(&events), words.concat());
    }
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
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
    let (status, _, body) = post(&hub, &ask(false), &[retry]).await;
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("whole")));
    assert_eq!(upstream.asked().len(), 3);
}
