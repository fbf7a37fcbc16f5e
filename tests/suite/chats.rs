//! Chats: an upstream's answer through the hub, for live, late, repeated and resumed readers.

use crate::chat::{
    TEXT, all_events, create_chat, end, events_url, kinds, start_chat, stepwise_answer, text, view,
};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Step, Upstream, answer, done, event, head, part};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test]
async fn an_answer_is_a_stream_with_a_start_and_one_end() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let body =
        json!({ "message": "hi", "max_tokens": 90, "temperature": 0.5, "metadata": { "a": "b" } });
    let (_, chat) = create_chat(&hub, body, None).await;
    assert_eq!(chat["stream"], format!("chat.{}", chat["id"].as_str().unwrap()));
    assert_eq!(chat["id"].as_str().unwrap().len(), 32);
    let events = all_events(&hub, &chat).await;
    assert_eq!(text(&events), TEXT.concat());
    assert_eq!(kinds(&events)[..3], ["start", "status", "token"]);
    assert_eq!((&events[0]["chat"], &events[0]["model"]), (&chat["id"], &json!("m")));
    let usage = &events[events.len() - 2];
    assert_eq!(
        (&usage["total_tokens"], &usage["estimated"], &usage["attempts"]),
        (&json!(18), &json!(false), &json!(1))
    );
    assert_eq!(end(&events), &json!({ "type": "done", "finish_reason": "stop", "is_final": true }));
    let view = view(&hub, &chat).await;
    assert_eq!((&view["status"], &view["text"]), (&json!("done"), &json!(TEXT.concat())));
    assert_eq!((&view["metadata"], &view["finish_reason"]), (&json!({ "a": "b" }), &json!("stop")));
    let request = &upstream.requests()[0];
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    assert!(
        request.head.contains("accept: text/event-stream")
            && !request.head.contains("authorization")
    );
    assert_eq!(request.body["messages"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!((&request.body["max_tokens"], &request.body["stream"]), (&json!(90), &json!(true)));
    assert_eq!(request.body["metadata"], json!({ "a": "b" }));
    let (_, metrics) = metrics(&hub).await;
    assert!(
        metrics.contains("fanfare_chats_ended_total{outcome=\"done\",upstream=\"scripted\"} 1")
    );
    for private in [chat["id"].as_str().unwrap(), "Once", "hi\""] {
        assert!(!metrics.contains(private), "{private} is in the metrics");
    }
}

async fn metrics(hub: &Hub) -> (u16, String) {
    let response = hub.http.get(hub.url("/metrics")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_reader_disconnected_after_each_event_gets_the_whole_text() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![stepwise_answer(TEXT, &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let (mut events, mut last) = (Vec::new(), None::<String>);
    while events.last().is_none_or(|event: &Value| event["type"] != "done") {
        let mut reader = match &last {
            None => hub.subscribe(events_url(&chat)).await,
            Some(id) => hub.resume(events_url(&chat), id).await,
        };
        let event = reader.next_event().await.expect("the stream ended early");
        last = Some(event.id.clone());
        events.push(event.json());
        if event.json()["type"] == "token" {
            next.notify_one();
        }
    }
    assert_eq!(text(&events), TEXT.concat());
    assert_eq!(hub.resume(events_url(&chat), &last.unwrap()).await.status, 204);
}

#[tokio::test]
async fn a_chat_continues_without_readers_and_late_readers_get_everything() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![stepwise_answer(TEXT, &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    let mut tokens = 0;
    while tokens < 3 {
        let event = reader.next_event().await.unwrap().json();
        if event["type"] == "token" {
            tokens += 1;
            next.notify_one();
        }
    }
    drop(reader);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
    let done = "fanfare_chats_ended_total{outcome=\"done\",upstream=\"scripted\"}";
    while hub.metric(done).await < 1.0 {
        // The notification is kept if the script does not wait yet.
        next.notify_one();
    }
    let mut late = hub.subscribe(events_url(&chat)).await;
    let events = late.rest().await;
    let replayed: Vec<Value> = events.iter().filter(|e| !e.is_control()).map(Event::json).collect();
    assert_eq!(text(&replayed), TEXT.concat());
    let resumed = hub.resume(events_url(&chat), late.last_id()).await;
    assert_eq!(resumed.status, 204, "an EventSource does not reconnect");
}

#[tokio::test]
async fn requests_with_the_same_idempotency_key_share_one_run() {
    let upstream = Upstream::start(vec![answer(&["a", "b"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let create = || create_chat(&hub, json!({ "message": "hi" }), Some("one"));
    let responses = futures_util::future::join_all((0..50).map(|_| create())).await;
    assert_eq!(responses.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(responses.iter().filter(|(status, _)| *status == 200).count(), 49);
    assert!(responses.iter().all(|(_, body)| *body == responses[0].1), "each has the same body");
    assert_eq!(text(&all_events(&hub, &responses[0].1).await), "ab");
    let (status, _) = create_chat(&hub, json!({ "message": "hi" }), Some("one")).await;
    assert_eq!(status, 200, "also after its end");
    let (status, problem) = create_chat(&hub, json!({ "message": "ho" }), Some("one")).await;
    assert_eq!((status, &problem["field"]), (422, &json!("Idempotency-Key")));
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(hub.metric("fanfare_chat_replayed_total").await, 50.0);
}

#[tokio::test]
async fn a_late_reader_gets_few_frames_and_resumes_exactly_between_them() {
    let parts: Vec<String> = (0..10_000).map(|n| format!("{n} é ")).collect();
    let mut script = vec![head()];
    for batch in parts.chunks(50) {
        script.extend(batch.iter().map(|text| part(text)));
        script.push(Step::Pause(Duration::from_millis(5)));
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    hub.wait_for_metric("fanfare_chats_ended_total{outcome=\"done\",upstream=\"scripted\"}", |n| {
        n == 1.0
    })
    .await;
    let events = all_events(&hub, &chat).await;
    let tokens: Vec<&Value> = events.iter().filter(|event| event["type"] == "token").collect();
    assert_eq!(text(&events), parts.concat());
    assert!(tokens.len() <= 8, "{} frames", tokens.len());
    assert!(tokens.iter().all(|token| token["content"].as_str().unwrap().len() <= 16 * 1024));
    let (mut resumed, mut last) = (Vec::new(), None::<String>);
    loop {
        let mut reader = match &last {
            None => hub.subscribe(events_url(&chat)).await,
            Some(id) => hub.resume(events_url(&chat), id).await,
        };
        let Some(event) = reader.next_event().await else { break };
        last = Some(event.id.clone());
        resumed.push(event.json());
    }
    assert_eq!(text(&resumed), parts.concat(), "each resume is exact");
}

#[tokio::test]
async fn the_accumulated_text_is_sent_with_every_part_on_request() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    assert!(events.iter().all(|event| event.get("accumulated").is_none()));
    let url = format!("{}?accumulated=1", events_url(&chat));
    let mut reader = hub.subscribe(&url).await;
    let mut last = None;
    let (mut expected, mut id) = (String::new(), String::new());
    while let Some(event) = reader.next_event().await {
        let json = event.json();
        if json["type"] == "token" {
            expected.push_str(json["content"].as_str().unwrap());
            assert_eq!(json["accumulated"], expected);
            last = Some(json);
        } else if last.is_none() {
            id = event.id;
        }
    }
    assert_eq!(expected, TEXT.concat());
    let mut resumed = hub.resume(&url, &id).await;
    assert_eq!(resumed.next_event().await.unwrap().json()["accumulated"], TEXT.concat());
}

#[tokio::test]
async fn redacted_text_is_not_sent_again() {
    let redaction = json!({ "choices": [{
        "index": 0, "content_filter_results": { "hate": { "filtered": true, "severity": "high" } },
        "content_filter_offsets": { "check_offset": 9, "start_offset": 2, "end_offset": 5 },
    }] });
    let next = Arc::new(Notify::new());
    // No letter is a hexadecimal digit: a chat's id must not be taken for its text.
    let mut script =
        vec![head(), part("klmnopq"), Step::Until(next.clone()), event(&redaction), part("rst")];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let mut live = hub.subscribe(events_url(&chat)).await;
    while live.next_event().await.unwrap().json()["content"] != "klmnopq" {}
    next.notify_one();
    let rest: Vec<Value> =
        live.rest().await.iter().filter(|e| !e.is_control()).map(Event::json).collect();
    assert_eq!(kinds(&rest)[..2], ["filter", "redact"]);
    assert_eq!(
        rest[1],
        json!({ "type": "redact", "from_index": 2, "to_index": 5, "replacement": "███" })
    );
    let stream = format!("/v1/chat/completions/{}?stream=true", chat["id"].as_str().unwrap());
    let accumulated = format!("{}?accumulated=1", events_url(&chat));
    for _ in 0..2 {
        let raw = format!("/streams/{}/events?from=start", chat["stream"].as_str().unwrap());
        assert_eq!(hub.get(&raw).await.0, 403, "the raw stream is not readable");
        assert_eq!(text(&all_events(&hub, &chat).await), "kl███pqrst");
        assert_eq!(view(&hub, &chat).await["text"], "kl███pqrst");
        for path in [&stream, &accumulated] {
            let events: Vec<Event> = hub.subscribe(path).await.rest().await;
            let data: String = events.iter().map(|event| event.data.as_str()).collect();
            assert!(data.contains("kl███pq") && !data.contains("mno"), "{path}: {data}");
        }
        hub.kill();
        hub.restart().await;
    }
}

#[tokio::test]
async fn tool_calls_reasoning_and_refusals_are_passed_on() {
    let delta = |delta: Value| event(&json!({ "choices": [{ "delta": delta }] }));
    let mut script = vec![
        head(),
        delta(json!({ "reasoning_content": "hm" })),
        delta(
            json!({ "tool_calls": [{ "index": 0, "id": "c1", "function": { "name": "f", "arguments": "" } }] }),
        ),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "1}" } }] })),
        delta(json!({ "refusal": "no" })),
    ];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    let call = events.iter().find(|event| event["type"] == "tool_call").unwrap();
    assert_eq!(
        (&call["index"], &call["id"], &call["name"]),
        (&json!(0), &json!("c1"), &json!("f"))
    );
    let calls = events.iter().filter(|event| event["type"] == "tool_call");
    let arguments: String = calls.map(|call| call["arguments"].as_str().unwrap()).collect();
    assert_eq!(arguments, "{\"a\":1}");
    let view = view(&hub, &chat).await;
    assert_eq!((&view["reasoning"], &view["refusal"]), (&json!("hm"), &json!("no")));
    let function = json!({ "name": "f", "arguments": "{\"a\":1}" });
    assert_eq!(view["tool_calls"][0]["function"], function);
    let id = chat["id"].as_str().unwrap();
    let completion = hub.get(&format!("/v1/chat/completions/{id}")).await.1;
    let message = &completion["choices"][0]["message"];
    assert_eq!((&message["refusal"], &message["reasoning_content"]), (&json!("no"), &json!("hm")));
    assert_eq!(message["tool_calls"][0]["function"], function);
    let chunks =
        hub.subscribe(&format!("/v1/chat/completions/{id}?stream=true")).await.rest().await;
    let deltas: Vec<Value> = chunks
        .iter()
        .filter(|chunk| chunk.data != "[DONE]")
        .map(|chunk| chunk.json()["choices"][0]["delta"].clone())
        .collect();
    let joined = |member: &str| -> String {
        deltas.iter().filter_map(|delta| delta[member].as_str()).collect()
    };
    assert_eq!(
        (joined("reasoning_content"), joined("refusal")),
        ("hm".to_owned(), "no".to_owned())
    );
    let calls: Vec<&Value> =
        deltas.iter().map(|d| &d["tool_calls"][0]).filter(|c| !c.is_null()).collect();
    assert_eq!((&calls[0]["id"], &calls[0]["type"]), (&json!("c1"), &json!("function")));
    let arguments = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap());
    assert_eq!(arguments.collect::<String>(), "{\"a\":1}");
}

#[tokio::test]
async fn the_echo_model_needs_no_upstream_and_names_itself() {
    let hub = Hub::start(&[]).await;
    let chat = start_chat(&hub).await;
    let text = text(&all_events(&hub, &chat).await);
    assert!(text.contains("not a model") && text.ends_with("hi"), "{text}");
    let (status, problem) =
        create_chat(&hub, json!({ "message": "hi", "model": "gpt" }), None).await;
    assert_eq!((status, &problem["field"]), (404, &json!("model")));
    assert_eq!(hub.metric("fanfare_chats_refused_total{reason=\"not_found\"}").await, 1.0);
}

#[tokio::test]
async fn post_chat_streams_the_chat_and_resumes_it() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![stepwise_answer(&["a", "b", "c"], &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let post = async |headers: &[(&str, &str)]| {
        Reader::request(&hub.address, "POST /chat", headers, r#"{"message":"hi"}"#).await.unwrap()
    };
    let mut reader = post(&[]).await;
    let location = reader.headers["content-location"].clone();
    assert!(
        location.starts_with("/chats/") && reader.headers["content-type"] == "text/event-stream"
    );
    let first = reader.next().await.unwrap();
    assert_eq!(first.json()["type"], "start", "no control event precedes it");
    while reader.next().await.unwrap().json()["type"] != "token" {}
    let last = reader.last_id().to_owned();
    drop(reader);
    let mut resumed = post(&[("Last-Event-ID", &last)]).await;
    assert_eq!(resumed.headers["content-location"], location);
    let mut content = String::new();
    loop {
        next.notify_one();
        let event = resumed.next().await.unwrap().json();
        content.push_str(event["content"].as_str().unwrap_or_default());
        if event["type"] == "done" {
            break;
        }
    }
    assert_eq!(content, "bc");
    assert!(resumed.next().await.is_none(), "the response ends");
    assert_eq!(upstream.requests().len(), 1);
    for unknown_id in ["00000000-0000000000000001", "nonsense"] {
        assert_eq!(post(&[("Last-Event-ID", unknown_id)]).await.status, 410, "{unknown_id}");
    }
    let url = hub.url(&location);
    assert_eq!(hub.http.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(post(&[("Last-Event-ID", &last)]).await.status, 410, "it is deleted");
    assert_eq!(upstream.requests().len(), 1, "a resume starts no chat");
}

#[tokio::test]
async fn prompts_are_kept_on_request_and_frames_are_bounded() {
    let long = "é".repeat(50_000);
    let upstream = Upstream::start(vec![answer(&[&long])]).await;
    let (hub, _folder) = upstream.hub(&["--chat-keep-prompts"]).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    assert_eq!(events[0]["messages"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!(text(&events), long);
    let tokens = events.iter().filter(|event| event["type"] == "token");
    let largest = tokens.map(|token| token["content"].as_str().unwrap().len()).max();
    assert!(largest <= Some(16 * 1024), "{largest:?}");
}
