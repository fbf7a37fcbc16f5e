//! Examples of the bodies of chats in the description of the API.

use crate::http::openapi::examples::TICKET;
use serde_json::{Value, json};

const ID: &str = "7555f2e3781c4c69801f488930347edd";

pub(crate) fn request() -> Value {
    json!({ "message": "hi" })
}

pub(crate) fn request_with_messages() -> Value {
    json!({
        "model": "echo",
        "messages": [
            { "role": "system", "content": "Answer in one sentence." },
            { "role": "user", "content": "hi" },
        ],
        "max_tokens": 200,
        "metadata": { "page": "help" },
    })
}

pub(crate) fn created() -> Value {
    json!({
        "id": ID,
        "stream": format!("chat.{ID}"),
        "status": "begun",
        "events_url": format!("/chats/{ID}/events"),
        "stop_url": format!("/chats/{ID}/stop"),
        "ticket": TICKET,
        "expires_at": "2026-11-30T09:00:01.250Z",
    })
}

pub(crate) fn chat() -> Value {
    json!({
        "id": ID,
        "stream": format!("chat.{ID}"),
        "model": "llama3.3",
        "created_at": "2026-11-30T08:00:01.250Z",
        "status": "done",
        "text": "Hello!",
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 8,
            "completion_tokens": 2,
            "total_tokens": 10,
            "estimated": false,
            "attempts": 1,
        },
        "error": null,
        "metadata": {},
    })
}

pub(crate) fn ticket_request() -> Value {
    json!({ "ttl": "10m" })
}

pub(crate) fn completion_request() -> Value {
    json!({ "model": "echo", "messages": [{ "role": "user", "content": "hi" }] })
}

pub(crate) fn streamed_completion_request() -> Value {
    json!({ "model": "echo", "stream": true, "messages": [{ "role": "user", "content": "hi" }] })
}

pub(crate) fn completion() -> Value {
    json!({
        "id": format!("chatcmpl-{ID}"),
        "object": "chat.completion",
        "created": 1_796_025_601,
        "model": "llama3.3",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": "Hello!", "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10 },
        "fanfare": { "seq": 11 },
    })
}

/// Chunks of a streamed completion.
pub(crate) fn chunks() -> Value {
    let chunk = |delta: Value, finish_reason: Option<&str>, seq: u64| {
        json!({
            "id": format!("chatcmpl-{ID}"),
            "object": "chat.completion.chunk",
            "created": 1_796_025_601,
            "model": "llama3.3",
            "choices": [{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
            }],
            "fanfare": { "seq": seq },
        })
    };
    let text = chunk(json!({ "content": "Hello!" }), None, 3);
    let end = chunk(json!({}), Some("stop"), 5);
    json!(format!("data: {text}\n\ndata: {end}\n\ndata: [DONE]\n\n"))
}

pub(crate) fn model() -> Value {
    json!({ "id": "llama3.3", "object": "model", "created": 0, "owned_by": "local" })
}

pub(crate) fn models() -> Value {
    json!({ "object": "list", "data": [model()] })
}
