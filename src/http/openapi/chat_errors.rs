//! Errors of chats: problem documents of the hub's own API, and errors in OpenAI's form.

use crate::http::error::{Code, Problem, openai};
use crate::http::extract::idempotency_key::IDEMPOTENCY_KEY;
use crate::http::openapi::errors::{
    BodyErrors, CallerErrors, ChatErrors, HistoryErrors, JournalErrors, SessionErrors, error_sets,
};
use crate::http::openapi::responses::{
    Causes, ErrorCase, Responses, error_responses, problem_responses,
};
use crate::limits::Limit;
use crate::wire::chat::{ChatEvent, FailureCause, error_object};
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoResponses, ToSchema};

/// An error in OpenAI's form.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiError {
    error: OpenAiErrorObject,
}

/// The members of an error in OpenAI's form.
#[derive(Serialize, ToSchema)]
struct OpenAiErrorObject {
    /// Description of the error.
    message: String,
    /// Kind of the error, as OpenAI's API names it, or the upstream's.
    r#type: String,
    /// Part of the request that is invalid.
    param: Option<String>,
    /// Code of the error, for programs: of the hub, or of the upstream.
    code: Option<String>,
}

error_sets! { problem_responses;
    /// Errors of beginning a chat.
    BeginChatErrors [CallerErrors, BodyErrors, HistoryErrors, JournalErrors] {
        "The caller lacks the grant `chat` for the model, or a page of another site sent the \
            request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot use model \"llama3.3\"")
                .field("model"),
        "The model is unknown" =>
            Problem::new(Code::NotFound, "unknown model \"llama3.3\"").field("model"),
        "The chat that was created with the idempotency key was deleted" =>
            Problem::new(Code::Gone, "the chat to resume no longer exists").field(IDEMPOTENCY_KEY),
        "The body exceeds `--max-body-bytes` or `--chat-max-request-bytes`" =>
            Problem::new(Code::PayloadTooLarge, "the request exceeds the maximum of 1048576 bytes \
                (--chat-max-request-bytes)").field("body"),
        "A value is invalid, or the idempotency key was used with another request" =>
            Problem::new(Code::Validation, "the Idempotency-Key was used with another request")
                .field(IDEMPOTENCY_KEY),
        "`max_chats_per_subject` is reached" => {
            let limit = Limit::ChatsPerSubject;
            let detail = "max_chats_per_subject (20) reached: too many chats are running";
            Problem::limit_reached(limit, detail).retry_after(5)
        },
        "`max_chats`, `max_streams` or `memory_budget` is reached, or a queue or buffer of the hub \
            is full" => {
            let limit = Limit::Chats;
            let detail = "max_chats (200) reached: too many chats are running";
            Problem::limit_reached(limit, detail).retry_after(5)
        },
    }
    /// Errors of creating a chat, with a ticket for it.
    CreateChatErrors [BeginChatErrors] {
        "The journal cannot be read, or the ticket cannot be signed" =>
            Problem::new(Code::ServerError, "this hub has no ticket key"),
    }
    /// Errors of creating a chat and reading its answer.
    StreamChatErrors [SessionErrors, BeginChatErrors] {
        "The chat to resume, or the one that was created with the key, no longer exists" =>
            Problem::new(Code::Gone, "the chat to resume no longer exists"),
        "`max_chats_per_subject` or a limit on the client's sessions is reached" => {
            let limit = Limit::ChatsPerSubject;
            let detail = "max_chats_per_subject (20) reached: too many chats are running";
            Problem::limit_reached(limit, detail).retry_after(5)
        },
    }
    /// Errors of reading a chat.
    ReadChatErrors [CallerErrors, HistoryErrors, ChatErrors] {}
    /// Errors of streaming a chat.
    ChatEventsErrors [ReadChatErrors, SessionErrors] {
        "A parameter is invalid; `field` names it" =>
            Problem::new(Code::Malformed, "must be 1, 0, true or false").field("accumulated"),
    }
    /// Errors of stopping a chat.
    StopChatErrors [CallerErrors, ChatErrors] {}
    /// Errors of deleting a chat.
    DeleteChatErrors [StopChatErrors, JournalErrors] {
        "The journal accepts no writes; the chat is deleted as soon as it does" =>
            Problem::new(Code::Unresponsive, "the journal accepts no writes; the chat is deleted \
                as soon as it does").retry_after(5),
    }
    /// Errors of creating a ticket for a chat.
    ChatTicketErrors [StopChatErrors, BodyErrors] {
        "`ttl` is invalid" =>
            Problem::new(Code::Validation, "\"2h\" is not between 1ms and 1h").field("ttl"),
        "The journal cannot be read, or the ticket cannot be signed" =>
            Problem::new(Code::ServerError, "this hub has no ticket key"),
    }
}

error_sets! { openai_responses;
    /// Errors of listing models.
    ListModelsErrors [CallerErrors] {}
    /// Errors of describing a model.
    ModelErrors [CallerErrors] {
        "The model is unknown, or the caller lacks the grant `chat` for it" =>
            Problem::new(Code::NotFound, "unknown model \"llama3.3\"").field("model"),
    }
    /// Errors of cancelling a completion.
    CancelErrors [ReadChatErrors] {}
}

error_sets! { completion_responses;
    /// Errors of creating a completion.
    CompletionErrors [StreamChatErrors] {}
    /// Errors of reading a stored completion.
    StoredCompletionErrors [ReadChatErrors, SessionErrors] {
        "A parameter is invalid" =>
            Problem::new(Code::Malformed, "\"x\" is not a number; use the `fanfare.seq` of a chunk")
                .field("starting_after"),
    }
}

/// Describes errors in OpenAI's form.
fn openai_responses(causes: Causes) -> Responses {
    openai_cases(causes, Vec::new())
}

/// Describes errors in OpenAI's form, with those of chats that failed.
fn completion_responses(causes: Causes) -> Responses {
    openai_cases(causes, failures())
}

fn openai_cases(causes: Causes, failures: Vec<ErrorCase>) -> Responses {
    let refusals = causes.into_iter();
    let refusals = refusals.map(|(cause, problem)| ErrorCase::new(cause, &problem, openai::body));
    error_responses(refusals.chain(failures), "application/json", "OpenAiError")
}

/// Returns the failures of chats that have a status.
fn failures() -> Vec<ErrorCase> {
    use FailureCause as F;
    let refused = "The upstream refused with this status; `code` is the upstream's if it sent one";
    let refusals = [400, 404, 413, 422, 429].map(|status| {
        failure(refused, F::UpstreamError, Some(status), format!("the upstream answered {status}"))
    });
    let stopped = ChatEvent::Cancelled { by: "user".to_owned() };
    let failures = [
        (
            "The upstream's filter refused the request or the answer",
            F::ContentFilter,
            "the response was filtered",
        ),
        (
            "The upstream refused the hub's key",
            F::UpstreamAuth,
            "the upstream answered 401: it refused the hub's key",
        ),
        (
            "The upstream could not be reached, or refused with another status",
            F::UpstreamError,
            "cannot connect to the upstream: Connection refused",
        ),
        (
            "The answer ended without a finish reason",
            F::UpstreamIncomplete,
            "the upstream's answer is incomplete: it ended without a finish reason",
        ),
        (
            "The hub stopped in the middle of the answer",
            F::HubRestarted,
            "the hub stopped while the model answered",
        ),
        (
            "The journal accepted no more events of the chat",
            F::JournalUnavailable,
            "the publish queue is full",
        ),
        (
            "The upstream sent nothing for too long",
            F::UpstreamStalled,
            "the upstream sent nothing for 60s",
        ),
        (
            "The chat took longer than `--chat-total-timeout`",
            F::Timeout,
            "chat took longer than 600s",
        ),
    ]
    .map(|(cause, code, message)| failure(cause, code, None, message.to_owned()));
    let stopped = ended_case("The chat was stopped", &stopped);
    refusals.into_iter().chain(failures).chain([stopped]).flatten().collect()
}

fn failure(
    cause: &'static str,
    code: FailureCause,
    upstream_status: Option<u16>,
    message: String,
) -> Option<ErrorCase> {
    let end = ChatEvent::Error {
        code,
        message,
        retryable: false,
        partial: false,
        upstream_status,
        retry_after: None,
        upstream_code: None,
        upstream_type: None,
        upstream_param: None,
    };
    ended_case(cause, &end)
}

/// Returns the case of a chat that ended with `end`, if the end has a status.
fn ended_case(cause: &'static str, end: &ChatEvent) -> Option<ErrorCase> {
    let error = error_object(end);
    let code = error["code"].as_str()?.to_owned();
    let (status, body) = (openai::status_of(end)?, json!({ "error": error }));
    Some(ErrorCase { status, code, cause, body })
}
