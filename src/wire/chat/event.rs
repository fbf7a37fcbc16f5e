//! Events of a chat, as they are stored in the journal and sent to readers.

use super::extra::Extra;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event of a chat. Exactly one terminal event ([`ChatEvent::is_terminal`]) is the last one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatEvent {
    /// The first event.
    Start {
        /// The chat's id.
        chat: String,
        /// The model that is asked.
        model: String,
        /// Time of creation, in seconds since 1970.
        created: u64,
        /// Metadata of the request.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
        /// Messages of the request, if the hub is configured to keep them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        messages: Option<Value>,
    },
    /// More of the answer.
    Token {
        /// The text.
        content: String,
        /// Number of characters (Unicode scalar values) of the answer before it.
        index: u64,
        /// Number of its characters.
        n: u64,
        /// Always false: more may come.
        is_final: bool,
    },
    /// More of the model's reasoning before its answer.
    Reasoning {
        /// The text.
        content: String,
    },
    /// More of the model's refusal to answer.
    Refusal {
        /// The text.
        content: String,
    },
    /// More of a tool call.
    ToolCall {
        /// Index of the call.
        index: u64,
        /// Id of the call, in its first event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Name of the tool, in the first event of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// More of its arguments, as JSON text.
        arguments: String,
        /// True if the upstream sends it as `function_call`, the predecessor of `tool_calls`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        legacy: bool,
        /// Members of the call that the hub does not interpret, in `delta.tool_calls`.
        #[serde(default, skip_serializing_if = "Extra::is_empty")]
        extra: Extra,
    },
    /// Members of the upstream's answer that the hub does not interpret.
    Extra {
        /// The members.
        extra: Extra,
    },
    /// State while there is no output.
    Status {
        /// State.
        state: State,
        /// Number of the request to the upstream, from 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u64>,
        /// Time until the next request, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        /// Reason for the state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Result of the upstream's filter.
    Filter {
        /// Result as the upstream sent it.
        results: Value,
    },
    /// A part of the answer must no longer be shown; its replacement has as many characters.
    Redact {
        /// Index of the first character.
        from_index: u64,
        /// Index after the last character.
        to_index: u64,
        /// Replacement text.
        replacement: String,
    },
    /// Usage of tokens.
    Usage(Usage),
    /// The answer is complete.
    Done {
        /// Finish reason of the model, as the upstream sent it.
        finish_reason: String,
        /// Always true.
        is_final: bool,
    },
    /// The chat was stopped.
    Cancelled {
        /// Origin of the stop: `user`, `no_readers` or `deleted`.
        by: String,
    },
    /// The chat failed.
    Error {
        /// Cause of the failure.
        code: FailureCause,
        /// Description of the failure.
        message: String,
        /// True if a retry may help.
        retryable: bool,
        /// True if a part of the answer exists.
        partial: bool,
        /// HTTP status of the upstream's answer, if that was the cause.
        upstream_status: Option<u16>,
        /// Seconds after which the upstream accepts a retry, if it named a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// The `code` of the upstream's error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream_code: Option<String>,
        /// The `type` of the upstream's error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream_type: Option<String>,
        /// The `param` of the upstream's error: the part of the request that is at fault.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upstream_param: Option<String>,
    },
}

/// Usage of an answer, in tokens.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Sum of both.
    pub total_tokens: u64,
    /// True if the hub has estimated the numbers, because the upstream sent none.
    pub estimated: bool,
    /// Number of requests to the upstream.
    pub attempts: u64,
    /// Further members of the upstream's usage, such as details and costs.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// State of a chat without output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a permit of its upstream.
    Queued,
    /// A request to the upstream is in progress.
    Connecting,
    /// The request will be retried.
    Retrying,
    /// The upstream has stalled.
    Stalled,
}

/// Cause of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The upstream's answer ended without a finish reason.
    UpstreamIncomplete,
    /// The upstream sent nothing for too long.
    UpstreamStalled,
    /// The upstream refused the request, or sent something that is no answer.
    UpstreamError,
    /// The upstream refused the hub's key.
    UpstreamAuth,
    /// The chat took too long.
    Timeout,
    /// The upstream's content filter refused the chat.
    ContentFilter,
    /// The hub stopped, or was killed, meanwhile.
    HubRestarted,
    /// The journal accepted no more events of the chat.
    JournalUnavailable,
}

impl FailureCause {
    /// Returns the name that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamIncomplete => "upstream_incomplete",
            Self::UpstreamStalled => "upstream_stalled",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamAuth => "upstream_auth",
            Self::Timeout => "timeout",
            Self::ContentFilter => "content_filter",
            Self::HubRestarted => "hub_restarted",
            Self::JournalUnavailable => "journal_unavailable",
        }
    }
}

impl ChatEvent {
    /// Returns a part of an answer that has `index` characters before it.
    pub fn token(content: String, index: u64) -> Self {
        let n = content.chars().count() as u64;
        Self::Token { content, index, n, is_final: false }
    }

    /// Appends `next` if it continues this output and both have at most `max_bytes` together;
    /// returns it otherwise.
    pub fn join(&mut self, next: Self, max_bytes: usize) -> Option<Self> {
        let (text, more) = match (&mut *self, &next) {
            (
                Self::Token { content, index, n, .. },
                Self::Token { content: more, index: next_index, .. },
            ) if *index + *n == *next_index => (content, more),
            (Self::Reasoning { content }, Self::Reasoning { content: more })
            | (Self::Refusal { content }, Self::Refusal { content: more }) => (content, more),
            (
                Self::ToolCall { index, arguments, .. },
                Self::ToolCall {
                    index: next_index,
                    id: None,
                    name: None,
                    arguments: more,
                    extra,
                    ..
                },
            ) if index == next_index && extra.is_empty() => (arguments, more),
            _ => return Some(next),
        };
        if text.len() + more.len() > max_bytes {
            return Some(next);
        }
        text.push_str(more);
        if let (Self::Token { n, .. }, Self::Token { n: next_n, .. }) = (self, next) {
            *n += next_n;
        }
        None
    }

    /// Returns true if no event follows.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Cancelled { .. } | Self::Error { .. })
    }

    /// Returns true for output of the model.
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Token { .. }
                | Self::Reasoning { .. }
                | Self::Refusal { .. }
                | Self::ToolCall { .. }
        )
    }
}
