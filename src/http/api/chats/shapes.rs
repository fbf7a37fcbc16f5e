//! Bodies of chats in the native form.

use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A request for a chat in the native form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `wire/chat/request.rs` reads")]
pub(crate) struct ChatAsk {
    /// Message of the user, instead of `messages`.
    #[schema(nullable = false, min_length = 1)]
    message: Option<String>,
    /// Messages so far, each with a `role`.
    #[schema(nullable = false, min_items = 1)]
    messages: Option<Vec<Map<String, Value>>>,
    /// Model; the default one if it is not set.
    #[schema(nullable = true)]
    model: Option<String>,
    /// Maximum number of tokens in the answer.
    #[schema(nullable = true, minimum = 1)]
    max_tokens: Option<u64>,
    /// Sampling temperature, from 0 to 2.
    #[schema(nullable = false, minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Up to 16 texts that are stored with the chat.
    #[schema(nullable = true)]
    metadata: Option<BTreeMap<String, String>>,
}

/// A chat that was created.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedChat)]
pub(crate) struct BegunShape {
    /// Id of the chat.
    pub(super) id: String,
    /// Stream of the chat.
    pub(super) stream: String,
    /// `begun`; the events report the progress.
    pub(super) status: &'static str,
    /// URL of its events, from the start.
    pub(super) events_url: String,
    /// URL that stops it.
    pub(super) stop_url: String,
    /// A ticket to read the chat.
    pub(super) ticket: String,
    /// Time after which the ticket opens no new connections.
    pub(super) expires_at: String,
}

/// A chat with its answer so far.
#[derive(Serialize, ToSchema)]
#[schema(as = Chat)]
pub(crate) struct ChatShape {
    /// Id of the chat.
    pub(super) id: String,
    /// Stream of the chat.
    pub(super) stream: String,
    /// The model.
    pub(super) model: String,
    /// Time at which the chat was created.
    pub(super) created_at: String,
    /// `running`, `done`, `cancelled` or `error`.
    pub(super) status: &'static str,
    /// The answer so far.
    pub(super) text: String,
    /// Reasoning before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<String>,
    /// Reason of the model for refusing an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    /// Tool calls, in OpenAI's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Value>,
    /// Members of the upstream's answer that the hub does not interpret: of its `delta`, its `choice`
    /// and its `chunk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra: Option<Value>,
    /// Reason why the model finished, if it did.
    pub(super) finish_reason: Option<String>,
    /// Tokens used.
    pub(super) usage: Option<Value>,
    /// Error, if the chat failed.
    pub(super) error: Option<Value>,
    /// Metadata of the request.
    #[schema(value_type = Object)]
    pub(super) metadata: Map<String, Value>,
}
