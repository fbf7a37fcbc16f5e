//! Members of an upstream's answer that the hub does not know reach every reader of the chat.
//!
//! In the hub's native events, unknown members of a chunk are in the member `extra` of an event,
//! which may be an event of type `extra` that has nothing else. `extra` has up to three members:
//! `delta` (from the delta or the message), `choice` and `chunk`. `GET /chats/{id}` has all of
//! them, merged, in its own `extra`.

use crate::chat::{all_events, start_chat, text, view};
use crate::completions::{chat_request, post};
use crate::hub::Hub;
use crate::reader::{Event, Reader};
use crate::upstream::{Script, Step, Upstream, done, event, head, send_text, status};
use serde_json::{Map, Value, json};

/// Strings in a delta that identify something: the next chunk replaces them instead of appending.
const LABELS: [&str; 6] = ["type", "id", "role", "name", "format", "signature"];

/// Merges a delta as OpenAI's clients do: strings are appended, objects are merged, and so are list
/// items with the same `index`; other items are added.
fn merge(target: &mut Value, name: &str, source: &Value) {
    match (target, source) {
        (_, Value::Null) => {}
        (target @ Value::Null, Value::Object(_)) => {
            *target = json!({});
            merge(target, name, source);
        }
        (Value::Object(target), Value::Object(source)) => {
            for (name, source) in source.iter().filter(|(_, source)| !source.is_null()) {
                merge(target.entry(name.as_str()).or_insert(Value::Null), name, source);
            }
        }
        (Value::Array(target), Value::Array(source)) => {
            for item in source {
                let has_index = |existing: &&mut Value| {
                    existing.get("index").is_some() && existing.get("index") == item.get("index")
                };
                match target.iter_mut().find(has_index) {
                    Some(existing) => merge(existing, name, item),
                    None => target.push(item.clone()),
                }
            }
        }
        (Value::String(text), Value::String(source)) if !LABELS.contains(&name) => {
            text.push_str(source);
        }
        (target, source) => *target = source.clone(),
    }
}

/// An answer as a client assembles it: members of the message, the choice and the answer itself.
#[derive(Default, Debug)]
struct Merged {
    delta: Value,
    choice: Value,
    chunk: Value,
}

impl Merged {
    fn add(&mut self, chunk: Value) {
        let choice_value = chunk["choices"][0].clone();
        let Value::Object(mut chunk) = chunk else { return };
        chunk.remove("choices");
        if let Value::Object(mut choice) = choice_value {
            let delta = choice.remove("delta").or_else(|| choice.remove("message"));
            merge(&mut self.delta, "", &delta.unwrap_or_default());
            merge(&mut self.choice, "", &Value::Object(choice));
        }
        self.set(&chunk);
    }

    /// Sets members that describe the whole answer, which each chunk repeats.
    fn set(&mut self, chunk: &Map<String, Value>) {
        let members = self.chunk.as_object().cloned().unwrap_or_default();
        let present = chunk.iter().filter(|(_, value)| !value.is_null());
        let present = present.map(|(name, value)| (name.clone(), value.clone()));
        self.chunk = members.into_iter().chain(present).collect();
    }

    /// Adds the `extra` of a native event.
    fn add_extra(&mut self, extra: &Value) {
        merge(&mut self.delta, "", &extra["delta"]);
        merge(&mut self.choice, "", &extra["choice"]);
        self.set(&extra["chunk"].as_object().cloned().unwrap_or_default());
    }

    /// Returns the members that differ from those of [`expected`].
    fn differs(&self) -> Vec<String> {
        let expected = expected();
        let parts = [("delta", &self.delta), ("choice", &self.choice), ("chunk", &self.chunk)];
        let mut names = Vec::new();
        for (part, actual) in parts {
            let members = expected[part].as_object().unwrap();
            let differing = members.iter().filter(|(name, value)| actual[*name] != **value);
            names.extend(differing.map(|(name, _)| format!("{part}.{name}: {}", actual[name])));
        }
        names
    }
}

fn citation(url: &str) -> Value {
    json!({ "type": "url_citation", "url_citation": { "url": url, "start_index": 0, "end_index": 1 } })
}

fn image() -> Value {
    json!({ "index": 0, "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } })
}

fn logprob(token: &str) -> Value {
    json!({ "token": token, "logprob": -0.5, "bytes": token.as_bytes(), "top_logprobs": [] })
}

/// Returns the members that the upstream sends in addition to the text.
fn expected() -> Value {
    json!({
        "delta": {
            "reasoning_details": [{
                "index": 0, "type": "reasoning.text", "text": "think hard", "format": "f-1",
                "signature": "of the details",
            }],
            "thinking_blocks": [
                { "type": "thinking", "thinking": "hm", "signature": "of the block" },
                { "type": "redacted_thinking", "data": "QQ==" },
            ],
            "annotations": [citation("https://a.example"), citation("https://b.example")],
            "images": [image()],
            "audio": { "id": "audio_1", "data": "QUJDREVG", "transcript": "a b", "expires_at": 7 },
        },
        "choice": {
            "logprobs": { "content": [logprob("a"), logprob("b")] },
            "native_finish_reason": "STOP",
        },
        "chunk": {
            "system_fingerprint": "fp_1",
            "service_tier": "flex",
            "citations": ["https://a.example", "https://b.example"],
        },
    })
}

/// Returns the chunks of a stream with the members of [`expected`].
fn chunks() -> Vec<Value> {
    let chunk = |choice: Value| {
        json!({
            "id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "vendor/m-2",
            "system_fingerprint": "fp_1", "service_tier": "flex",
            "citations": ["https://a.example", "https://b.example"], "choices": [choice],
        })
    };
    let delta = |delta: Value| chunk(json!({ "index": 0, "delta": delta, "finish_reason": null }));
    let with_logprobs = |delta: Value, token: &str| {
        let logprobs = json!({ "content": [logprob(token)], "refusal": null });
        let choice = json!({ "index": 0, "delta": delta, "logprobs": logprobs });
        chunk(choice)
    };
    let detail = |members: Value| {
        let mut detail = json!({ "index": 0, "type": "reasoning.text" });
        merge(&mut detail, "", &members);
        json!([detail])
    };
    let block = json!([{ "type": "thinking", "thinking": "hm", "signature": "of the block" }]);
    let hidden = json!([{ "type": "redacted_thinking", "data": "QQ==" }]);
    let details = [
        detail(json!({ "text": "think ", "format": "f-1" })),
        detail(json!({ "text": "hard" })),
        detail(json!({ "signature": "of the details" })),
    ];
    let call = json!([{
        "index": 0, "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" },
        "extra_content": { "google": { "thought_signature": "of the call" } },
    }]);
    let [first, second, third] = details;
    vec![
        delta(json!({ "role": "assistant", "content": "", "reasoning_details": first })),
        delta(json!({ "reasoning_details": second, "thinking_blocks": block })),
        delta(json!({ "reasoning_details": third, "thinking_blocks": hidden })),
        with_logprobs(json!({ "content": "a" }), "a"),
        with_logprobs(json!({ "content": "b" }), "b"),
        delta(json!({ "annotations": [citation("https://a.example")], "images": [image()] })),
        delta(json!({ "annotations": [citation("https://b.example")] })),
        delta(json!({ "audio": { "id": "audio_1", "data": "QUJD", "transcript": "a " } })),
        delta(json!({ "audio": { "data": "REVG", "transcript": "b", "expires_at": 7 } })),
        delta(json!({ "tool_calls": call })),
        chunk(json!({
            "index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "STOP",
        })),
        json!({ "choices": [], "usage": usage() }),
    ]
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18,
        "prompt_tokens_details": { "cached_tokens": 3, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 5 },
        "cost": 0.25,
    })
}

fn streamed() -> Script {
    let chunks = chunks().into_iter().map(|chunk| event(&chunk));
    std::iter::once(head()).chain(chunks).chain([send_text("data: [DONE]\n\n")]).collect()
}

/// Returns the same answer in one piece, as from an upstream that does not stream.
fn not_streamed() -> Script {
    let mut merged = Merged::default();
    chunks().into_iter().for_each(|chunk| merged.add(chunk));
    let mut message = merged.delta;
    message["tool_calls"][0].as_object_mut().unwrap().remove("index");
    let mut choice = merged.choice;
    choice["message"] = message;
    let mut response = merged.chunk;
    response["choices"] = json!([choice]);
    status(200, "", &response.to_string())
}

/// Returns the chunks that an OpenAI client receives.
async fn read(hub: &Hub, request: &Value) -> Vec<Value> {
    let path = "POST /v1/chat/completions";
    let mut reader = Reader::request(&hub.address, path, &[], &request.to_string()).await.unwrap();
    let events = reader.rest().await;
    assert_eq!(events.last().unwrap().data, "[DONE]", "{events:?}");
    events[..events.len() - 1].iter().map(Event::json).collect()
}

fn merged(chunks: &[Value]) -> Merged {
    let mut merged = Merged::default();
    chunks.iter().for_each(|chunk| merged.add(chunk.clone()));
    merged
}

const NONE: &[String] = &[];

#[test]
fn the_scripted_answers_contain_every_member() {
    assert_eq!(merged(&chunks()).differs(), NONE);
    let Some(Step::Send(bytes)) = not_streamed().pop() else { panic!("the script is empty") };
    let body = String::from_utf8(bytes).unwrap();
    let (_, body) = body.split_once("\r\n\r\n").unwrap();
    assert_eq!(merged(&[serde_json::from_str(body).unwrap()]).differs(), NONE);
}

#[tokio::test]
async fn unknown_members_are_streamed() {
    for script in [streamed(), not_streamed()] {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let assembled = merged(&read(&hub, &chat_request(true)).await);
        assert_eq!(assembled.differs(), NONE);
        assert_eq!(assembled.delta["content"], "ab");
    }
}

#[tokio::test]
async fn unknown_members_are_in_the_whole_answer_before_and_after_a_restart() {
    for script in [streamed(), not_streamed()] {
        let upstream = Upstream::start(vec![script]).await;
        let (mut hub, _folder) = upstream.hub(&[]).await;
        let (_, headers, first) = post(&hub, &chat_request(false), &[]).await;
        let id = headers["fanfare-chat-id"].to_str().unwrap().to_owned();
        hub.kill();
        hub.restart().await;
        let (_, reread) = hub.get(&format!("/v1/chat/completions/{id}")).await;
        for completion in [first, reread] {
            let assembled = merged(std::slice::from_ref(&completion));
            assert_eq!(assembled.differs(), NONE);
            assert_eq!(assembled.delta["content"], "ab");
        }
    }
}

#[tokio::test]
async fn unknown_members_are_in_native_events() {
    for script in [streamed(), not_streamed()] {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let chat = start_chat(&hub).await;
        let events = all_events(&hub, &chat).await;
        assert_eq!(text(&events), "ab");
        let mut assembled = Merged::default();
        events.iter().for_each(|event| assembled.add_extra(&event["extra"]));
        assert_eq!(assembled.differs(), NONE, "{events:?}");
        let mut assembled = Merged::default();
        assembled.add_extra(&view(&hub, &chat).await["extra"]);
        assert_eq!(assembled.differs(), NONE, "GET /chats/{{id}}");
    }
}

#[tokio::test]
async fn the_signature_of_a_tool_call_stays_with_its_call() {
    let signed = json!({ "google": { "thought_signature": "of the call" } });
    for script in [streamed(), not_streamed()] {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let assembled = merged(&read(&hub, &chat_request(true)).await);
        let (_, _, completion) = post(&hub, &chat_request(false), &[]).await;
        let message = &completion["choices"][0]["message"];
        for calls in [&assembled.delta["tool_calls"], &message["tool_calls"]] {
            assert_eq!(calls.as_array().unwrap().len(), 1, "{calls}");
            assert_eq!(calls[0]["function"], json!({ "name": "f", "arguments": "{}" }));
            assert_eq!(calls[0]["extra_content"], signed);
        }
        let chat = start_chat(&hub).await;
        let mut extra = Merged::default();
        let events = all_events(&hub, &chat).await;
        events.iter().for_each(|event| extra.add_extra(&event["extra"]));
        assert_eq!(extra.delta["tool_calls"][0]["extra_content"], signed, "{events:?}");
        assert_eq!(extra.delta["tool_calls"][0]["index"], 0);
        assert_eq!(view(&hub, &chat).await["tool_calls"][0]["extra_content"], signed);
    }
}

#[tokio::test]
async fn custom_tool_calls_are_complete() {
    let call = |call: Value| event(&json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }));
    let mut script = vec![
        head(),
        call(
            json!({ "index": 0, "id": "c1", "type": "custom", "custom": { "name": "sh", "input": "l" } }),
        ),
        call(json!({ "index": 0, "custom": { "input": "s" } })),
    ];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let streamed = merged(&read(&hub, &chat_request(true)).await).delta["tool_calls"][0].take();
    let (_, _, mut completion) = post(&hub, &chat_request(false), &[]).await;
    for call in [streamed, completion["choices"][0]["message"]["tool_calls"][0].take()] {
        let members = (&call["id"], &call["type"], &call["custom"]);
        let custom = json!({ "name": "sh", "input": "ls" });
        assert_eq!(members, (&json!("c1"), &json!("custom"), &custom), "{call}");
        assert_eq!(call.get("function"), None, "{call}");
    }
}

#[tokio::test]
async fn all_usage_members_of_an_upstream_are_passed_on() {
    for script in [streamed(), not_streamed_with_usage()] {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let mut with_usage = chat_request(true);
        with_usage["stream_options"] = json!({ "include_usage": true });
        let chunks = read(&hub, &with_usage).await;
        let chunk = chunks.last().unwrap();
        let (_, _, completion) = post(&hub, &chat_request(false), &[]).await;
        let events = all_events(&hub, &start_chat(&hub).await).await;
        let event = events.iter().find(|event| event["type"] == "usage").unwrap();
        for (source, actual) in
            [("chunk", &chunk["usage"]), ("whole", &completion["usage"]), ("event", event)]
        {
            let usage = usage();
            let differs =
                usage.as_object().unwrap().iter().filter(|(name, value)| actual[*name] != **value);
            let differs: Vec<&String> = differs.map(|(name, _)| name).collect();
            assert_eq!(differs, Vec::<&String>::new(), "{source}: {actual}");
        }
    }
}

fn not_streamed_with_usage() -> Script {
    let message = json!({ "role": "assistant", "content": "ab" });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    status(200, "", &json!({ "choices": [choice], "usage": usage() }).to_string())
}

#[tokio::test]
async fn redacted_text_is_not_in_members_that_are_passed_on() {
    let delta = json!({ "choices": [{
        "index": 0, "delta": { "content": "klmnopq" },
        "logprobs": { "content": [logprob("kl"), logprob("mno"), logprob("pq")] },
    }] });
    let redaction = json!({ "choices": [{
        "index": 0, "content_filter_results": { "hate": { "filtered": true } },
        "content_filter_offsets": { "check_offset": 9, "start_offset": 2, "end_offset": 5 },
    }] });
    let script = [vec![head(), event(&delta), event(&redaction)], done()].concat();
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    all_events(&hub, &chat).await;
    let replayed = json!(all_events(&hub, &chat).await).to_string();
    let state = view(&hub, &chat).await.to_string();
    let (_, _, completion) = post(&hub, &chat_request(false), &[]).await;
    for text in [replayed, state, completion.to_string()] {
        assert!(text.contains("kl███pq") && !text.contains("mno"), "{text}");
    }
}

#[tokio::test]
async fn a_legacy_function_call_keeps_its_form() {
    let delta = |delta: Value| event(&json!({ "choices": [{ "index": 0, "delta": delta }] }));
    let last_chunk =
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "function_call" }] });
    let script = vec![
        head(),
        delta(
            json!({ "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "" } }),
        ),
        delta(json!({ "function_call": { "arguments": "{\"a\":" } })),
        delta(json!({ "function_call": { "arguments": "1}" } })),
        event(&last_chunk),
        send_text("data: [DONE]\n\n"),
    ];
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let streamed = merged(&read(&hub, &chat_request(true)).await).delta;
    let (_, _, mut completion) = post(&hub, &chat_request(false), &[]).await;
    let function = json!({ "name": "f", "arguments": "{\"a\":1}" });
    for message in [streamed, completion["choices"][0]["message"].take()] {
        assert_eq!(message["function_call"], function, "{message}");
        assert_eq!(message.get("tool_calls"), None, "{message}");
    }
    assert_eq!(completion["choices"][0]["finish_reason"], "function_call");
}

#[tokio::test]
async fn tool_calls_indexed_from_one_add_no_empty_call() {
    let call = |call: Value| event(&json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }));
    let begins = |index: u64, id: &str| {
        call(json!({ "index": index, "id": id, "function": { "name": "f", "arguments": "" } }))
    };
    let continues = |index: u64, arguments: &str| {
        call(json!({ "index": index, "function": { "arguments": arguments } }))
    };
    let calls =
        vec![head(), begins(1, "a"), continues(1, "{}"), begins(2, "b"), continues(2, "[]")];
    let upstream = Upstream::start(vec![[calls, done()].concat()]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let ids_and_arguments = |calls: &Value| -> Vec<(Value, Value)> {
        let calls = calls.as_array().unwrap().iter();
        calls.map(|call| (call["id"].clone(), call["function"]["arguments"].clone())).collect()
    };
    let expected = vec![(json!("a"), json!("{}")), (json!("b"), json!("[]"))];
    let (_, _, completion) = post(&hub, &chat_request(false), &[]).await;
    assert_eq!(ids_and_arguments(&completion["choices"][0]["message"]["tool_calls"]), expected);
    let chat = start_chat(&hub).await;
    all_events(&hub, &chat).await;
    assert_eq!(ids_and_arguments(&view(&hub, &chat).await["tool_calls"]).len(), 2);
    let mut indexes: Vec<Value> = Vec::new();
    for chunk in read(&hub, &chat_request(true)).await {
        let index = chunk["choices"][0]["delta"]["tool_calls"][0]["index"].clone();
        indexes.extend(Some(index).filter(|index| !index.is_null()));
    }
    indexes.dedup();
    assert_eq!(indexes, [0, 1], "clients count from 0");
}

#[tokio::test]
async fn surrogate_pairs_split_across_chunks_are_joined() {
    let raw =
        |delta: &str| send_text(format!("data: {{\"choices\":[{{\"delta\":{{{delta}}}}}]}}\n\n"));
    let call = |arguments: &str| {
        raw(&format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":"{arguments}"}}}}]"#))
    };
    let script = vec![
        head(),
        raw(r#""reasoning_content":"hm \ud83d""#),
        raw(r#""reasoning_content":"\ude00""#),
        raw(r#""content":"a\ud83d""#),
        // An empty delta does not separate the halves.
        raw(""),
        raw(r#""content":"\ude00b""#),
        raw(
            r#""tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"[\"\ud83d"}}]"#,
        ),
        call(r#"\ude00\"]"#),
        // A half without the other one becomes U+FFFD.
        raw(r#""content":"c\ud83d""#),
    ];
    let upstream = Upstream::start(vec![[script, done()].concat()]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    assert_eq!(text(&all_events(&hub, &chat).await), "a\u{1f600}bc\u{fffd}");
    let view = view(&hub, &chat).await;
    assert_eq!(view["reasoning"], "hm \u{1f600}");
    assert_eq!(view["tool_calls"][0]["function"]["arguments"], "[\"\u{1f600}\"]");
}
