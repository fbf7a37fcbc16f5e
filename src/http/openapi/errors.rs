//! Errors of the operations: which codes each of them returns, and why.

use crate::http::error::{Code, Problem};
use crate::http::openapi::responses::{Causes, Responses, problem_responses};
use crate::http::state::manager_unresponsive;
use crate::journal::{PublishError, Refusal};
use crate::limits::Limit;
use crate::telemetry::BoundHit;
use utoipa::IntoResponses;

/// Defines sets of errors, described by the function `$form`. A set has the errors of the sets in
/// brackets and its own; an own error replaces one of the same code and status.
macro_rules! error_sets {
    ($form:ident; $($(#[$doc:meta])* $name:ident [$($base:ident),*] {
        $($cause:literal => $problem:expr,)*
    })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl $name {
            pub(super) fn causes() -> Causes {
                let own: Causes = vec![$(($cause, $problem)),*];
                let inherited: Vec<Causes> = vec![$($base::causes()),*];
                inherited.into_iter().flatten().chain(own).collect()
            }
        }

        impl IntoResponses for $name {
            fn responses() -> Responses {
                $form(Self::causes())
            }
        }
    )*};
}
#[cfg(feature = "chat")]
pub(super) use error_sets;

error_sets! { problem_responses;
    /// Errors of every operation.
    PublicErrors [] {
        "The request cannot be parsed" =>
            Problem::new(Code::Malformed, "the request must have one valid Host header")
                .field("Host"),
        "The credential is invalid" =>
            Problem::new(Code::Unauthorized, "the credential is unknown"),
        "The credential has expired" =>
            Problem::new(Code::TokenExpired, "the token has expired"),
        "A page of another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: pages of other sites need their \
                origin in --cors-origin").field("Origin"),
        "The request is for a host that is not the hub's (`--public-host`)" =>
            Problem::new(Code::Misdirected, "requests without a credential are accepted only for \
                localhost, IP addresses and the names in --public-host").field("Host"),
    }
    /// Errors of operations that need a caller.
    CallerErrors [PublicErrors] {
        "The credential is missing or invalid" =>
            Problem::missing_credential("a credential is required"),
    }
    /// Errors of operations that need the grant `admin`.
    AdminErrors [CallerErrors] {
        "The caller lacks the grant `admin`, or a page of another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: the grant `admin` is required"),
    }
    /// Errors of receiving a body.
    BodyErrors [] {
        "The request or its body cannot be parsed" =>
            Problem::new(Code::Malformed, "the body must be a JSON object").field("body"),
        "The body ended early" =>
            Problem::new(Code::ClientDisconnected, "cannot read the body: payload reached EOF \
                before completing: None"),
        "The body stopped or arrives too slowly" =>
            Problem::new(Code::ConnectionTimeout, "the body arrives too slowly: nothing for \
                20 s, or less than 16384 bytes per second"),
        "The body exceeds `--max-body-bytes`" =>
            Problem::new(Code::PayloadTooLarge, "the body exceeds the maximum of 8388608 bytes \
                (--max-body-bytes)").field("body"),
        "`memory_budget` is reached, or too many bytes of bodies are being received" =>
            Problem::bound_hit(BoundHit::RequestBodies, "too many bytes of request bodies are \
                being received; retry later"),
    }
    /// Errors of reading the journal.
    HistoryErrors [] {
        "The journal cannot be read" =>
            Problem::new(Code::ServerError, "cannot read history: the read was not finished: \
                task 17 was cancelled"),
    }
    /// Errors of asking the connection manager.
    ManagerErrors [] {
        "The connection manager does not answer" => manager_unresponsive(),
    }
    /// Errors of writing to the journal.
    JournalErrors [] {
        "The publish queue is full" => PublishError::QueueFull.into(),
        "The disk has too little free space" =>
            PublishError::DiskFull("less than --min-free-bytes (268435456) free on the disk of \
                /var/lib/fanfare".into()).into(),
        "A write failed; the hub accepts no more until a restart" =>
            PublishError::Poisoned("No space left on device".into()).into(),
        "The log of the cluster does not answer; nothing was published" =>
            PublishError::LogUnavailable.into(),
        "The log of the cluster has not confirmed the publish; it may still be published" =>
            PublishError::Unconfirmed.into(),
        "The hub is stopping" => PublishError::Draining.into(),
    }
    /// Errors of writing an event to a stream, which may be new.
    StreamWriteErrors [CallerErrors, JournalErrors] {
        "A publish rate of the client or subject is reached" => {
            let limit = Limit::PublishEventsPerClient;
            Problem::limit_reached(limit, "the limit publish_events_per_client is reached")
                .retry_after(1)
        },
        "`max_streams` is reached, or the publish queue is full" =>
            PublishError::Refused(Refusal::TooManyStreams(200_000)).into(),
    }
    /// Errors of publishing.
    PublishErrors [BodyErrors, StreamWriteErrors] {
        "The path, the query or the body cannot be parsed, or the batch is empty" =>
            Problem::new(Code::Malformed, "not JSON: expected value at line 1 column 1"),
        "The caller lacks the grant `publish`, only the hub publishes to the stream, or a page of \
            another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot publish to \"builds.7\"")
                .field("stream"),
        "A stream has ended (`field` is `stream`), or the key was used for another event (`key`)" =>
            Problem::new(Code::Conflict, "stream \"builds.8\" has ended").field("stream"),
        "The body or the data of an event is too large" =>
            Problem::new(Code::PayloadTooLarge, "the data has 300000 bytes, more than the \
                maximum of 262144").field("data"),
        "A value is invalid; `field` names it" =>
            Problem::new(Code::Validation, "`value` must be a number").field("data.value"),
        "`max_streams` or `memory_budget` is reached, or a queue or buffer of the hub is full" =>
            PublishError::Refused(Refusal::TooManyStreams(200_000)).into(),
    }
    /// Errors of ending a stream.
    EndErrors [StreamWriteErrors] {
        "The caller lacks the grant `end`, only the hub publishes to the stream, or a page of \
            another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot end \"builds.8\"")
                .field("stream"),
    }
    /// Errors of deleting a stream.
    DeleteStreamErrors [CallerErrors, JournalErrors, ManagerErrors] {
        "The caller lacks the grant `delete` for the stream, or a page of another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot delete \"builds.8\"")
                .field("stream"),
        "The stream has no history, and no subscriber names it" =>
            Problem::new(Code::NotFound, "stream \"builds.8\" does not exist"),
    }
    /// Errors of listing streams.
    ListStreamsErrors [CallerErrors, HistoryErrors, ManagerErrors] {
        "A parameter is invalid; `field` names it" =>
            Problem::new(Code::Malformed, "must be 1 to 1000").field("limit"),
    }
    /// Errors of describing a stream.
    StreamErrors [CallerErrors, HistoryErrors, ManagerErrors] {
        "The caller lacks the grant `subscribe` for the stream, or a page of another site sent the \
            request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot read stream \"builds.8\"")
                .field("stream"),
        "The stream has no history, and no subscriber names it" =>
            Problem::new(Code::NotFound, "unknown stream \"builds.8\": it has no history, and no \
                subscriber names it"),
    }
    /// Refusals of sessions because of load or a stop.
    SessionErrors [] {
        "A limit of the client or subject is reached; `limit` names it" => {
            let limit = Limit::ConnectionsPerClient;
            Problem::limit_reached(limit, "the limit max_connections_per_client is reached")
                .retry_after(3)
        },
        "A limit of the hub is reached; `limit` names it" => {
            let limit = Limit::Connections;
            Problem::limit_reached(limit, "the limit max_connections is reached").retry_after(3)
        },
        "The hub is stopping" =>
            Problem::new(Code::Draining, "the hub is stopping").retry_after(3),
        "A worker thread has ended" =>
            Problem::new(Code::Unresponsive, "a worker thread has ended; retry").retry_after(3),
    }
    /// Errors of selecting stored and new events.
    SelectionErrors [CallerErrors, HistoryErrors, ChatErrors] {
        "A parameter is invalid; `field` names it" =>
            Problem::new(Code::Malformed, "1 to 100 selectors are needed, got 0").field("stream"),
        "The caller may read none of the streams, a wildcard selects chats, a chat is redacted, or \
            a page of another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot read any of these streams")
                .field("stream"),
        "`max_selectors` is reached, or the grants narrow the request to too many selectors" =>
            Problem::new(Code::Validation, "60 selectors are more than the maximum of 50; raise \
                --max-selectors").field("stream").limit(Limit::Selectors),
    }
    /// Errors of subscriptions.
    SubscribeErrors [SelectionErrors, SessionErrors] {}
    /// Errors of subscriptions with a body.
    SubscribeByBodyErrors [BodyErrors, SubscribeErrors] {
        "The body cannot be parsed, or a parameter is invalid; `field` names it" =>
            Problem::new(Code::Malformed, "must be a number").field("last"),
        "A limit of the hub is reached, or too many bytes of bodies are being received" => {
            let limit = Limit::Connections;
            Problem::limit_reached(limit, "the limit max_connections is reached").retry_after(3)
        },
    }
    /// Errors of creating a ticket.
    TicketErrors [CallerErrors, BodyErrors] {
        "The caller may read none of the streams or has a ticket itself, or a page of another site \
            sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot read any of these streams")
                .field("streams"),
        "A selector or `ttl` is invalid, or the ticket would be too long" =>
            Problem::new(Code::Validation, "\"2h\" is not between 1ms and 1h").field("ttl"),
        "The ticket cannot be signed" =>
            Problem::new(Code::ServerError, "this hub has no ticket key"),
    }
    /// Errors of revoking credentials.
    RevokeErrors [AdminErrors, BodyErrors] {
        "The revocation cannot be written" =>
            Problem::new(Code::ServerError, "cannot write the revocation: No space left on device"),
        "100,000 revocations are stored, `memory_budget` is reached, or too many bytes of bodies \
            are being received" =>
            Problem::new(Code::ResourceExhausted, "the maximum number of revocations (100000) is \
                reached"),
    }
    /// Errors of removing a revocation.
    RemoveRevocationErrors [AdminErrors, BodyErrors] {
        "There is no such revocation" => Problem::new(Code::NotFound, "no such revocation"),
        "The removal cannot be written" =>
            Problem::new(Code::ServerError, "cannot write the revocation: No space left on device"),
    }
    /// Errors of listing sessions and subscribers.
    ListSessionsErrors [AdminErrors, ManagerErrors] {
        "A parameter is invalid; `field` names it" =>
            Problem::new(Code::Malformed, "\"localhost\" is not an IP address").field("address"),
    }
    /// Errors of listing the subscribers of a stream.
    PresenceErrors [AdminErrors, ManagerErrors] {}
    /// Errors of closing a session.
    CloseSessionErrors [AdminErrors, ManagerErrors] {
        "There is no such session" =>
            Problem::new(Code::NotFound, "unknown session \
                \"d0071534-438d-4d8c-9535-e3bc4cf60b02\""),
    }
    /// Errors of acknowledging losses.
    AcknowledgeErrors [AdminErrors] {
        "The record of losses cannot be removed" =>
            Problem::new(Code::ServerError, "cannot remove the record of losses: Permission \
                denied"),
    }
    /// Errors of backups.
    BackupErrors [AdminErrors] {
        "Another backup is in progress, or the journal is in memory" =>
            Problem::new(Code::Conflict, "another backup is in progress"),
    }
    /// Errors of changing the log filter.
    LogFilterErrors [AdminErrors, BodyErrors] {
        "The filter is invalid" =>
            Problem::new(Code::Validation, "\"\" is not a valid log filter, such as `warn` or \
                `info,fanfare::hub=debug`: it is empty; use `off` to log nothing").field("filter"),
    }
    /// Errors of metrics.
    MetricsErrors [CallerErrors] {
        "The caller has neither the grant `admin` nor `--anonymous metrics`, or a page of another \
            site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: metrics require the grant `admin` or \
                `--anonymous metrics`"),
        "The metrics cannot be rendered" =>
            Problem::new(Code::ServerError, "cannot render the metrics: a family has no sample"),
    }
}

#[cfg(feature = "cluster")]
error_sets! { problem_responses;
    /// Errors of the state of the cluster.
    ClusterErrors [AdminErrors] {
        "The hub belongs to no cluster, or `hub` names none of its hubs" =>
            Problem::new(Code::NotFound, "this hub belongs to no cluster"),
        "The hub that `hub` names does not answer" =>
            Problem::new(Code::Unresponsive, "hub \"hub-b\" does not answer").retry_after(5),
    }
}

#[cfg(feature = "search")]
error_sets! { problem_responses;
    /// Errors of searches.
    SearchErrors [SelectionErrors] {
        "The maximum number of searches is running" =>
            Problem::new(Code::ResourceExhausted, "4 searches are running, which is the maximum")
                .retry_after(2),
    }
}

#[cfg(feature = "files")]
error_sets! { problem_responses;
    /// Errors of downloads.
    FileErrors [CallerErrors] {
        "The caller lacks the grant `files` for the folder or `publish` for the stream of \
            `progress`, or a page of another site sent the request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot download from folder \
                \"releases\""),
        "There is no such folder or file, or the file must not be served" =>
            Problem::new(Code::NotFound, "unknown file \"v42/app.zip\" in folder \"releases\""),
        "The client has 16 downloads in progress" =>
            Problem::new(Code::TooMany, "16 downloads of this client are in progress, which is the \
                maximum").retry_after(5),
        "The file cannot be read" =>
            Problem::new(Code::ServerError, "cannot read \"v42/app.tar.gz\": Input/output error"),
        "128 downloads are in progress" =>
            Problem::new(Code::ResourceExhausted, "128 downloads are in progress, which is the \
                maximum").retry_after(5),
    }
}

#[cfg(feature = "jobs")]
error_sets! { problem_responses;
    /// Errors of operations on one job.
    JobErrors [CallerErrors] {
        "The caller lacks the grant `run` for the job, or a page of another site sent the \
            request" =>
            Problem::new(Code::Forbidden, "permission denied: you cannot run job \"disk-usage\""),
    }
    /// Errors of starting a run.
    StartRunErrors [JobErrors, JournalErrors] {
        "There is no such job" => Problem::new(Code::NotFound, "unknown job \"disk-usage\""),
        "The job has as many running runs as `at-most` allows" =>
            Problem::new(Code::TooMany, "at-most (1) reached: too many runs of the job are running")
                .retry_after(5),
        "`max_streams` is reached, or the publish queue is full" =>
            PublishError::Refused(Refusal::TooManyStreams(200_000)).into(),
    }
    /// Errors of stopping a run.
    StopRunErrors [JobErrors, HistoryErrors] {
        "There is no such run, or its history is no longer stored" =>
            Problem::new(Code::NotFound, "unknown run \"20261125T082035Z-6f1c2a90\" of job \
                \"disk-usage\""),
    }
}

#[cfg(feature = "chat")]
error_sets! { problem_responses;
    /// Errors of operations on one chat.
    ChatErrors [] {
        "The chat is unknown or belongs to another subject" =>
            Problem::new(Code::NotFound, "unknown chat"),
        "The chat was deleted or is no longer stored" =>
            Problem::new(Code::Gone, "the chat is deleted"),
    }
}

#[cfg(not(feature = "chat"))]
error_sets! { problem_responses;
    /// Errors of operations on one chat, which this build does not have.
    ChatErrors [] {}
}
