//! The outcome of a request, which its response carries to the access log.

use actix_web::HttpResponse;
use uuid::Uuid;

/// Outcome of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestOutcome {
    /// A session began.
    Session {
        /// Id of the session.
        id: Uuid,
        /// Number of selectors.
        streams: usize,
        /// Result of the resume.
        resume: &'static str,
    },
    /// Events were published.
    Published {
        /// Number of events.
        events: usize,
        /// Number of streams that they were published to.
        streams: usize,
    },
    /// The request was refused, possibly with status 200.
    Refused(&'static str),
}

/// Description of an internal error.
pub(crate) struct InternalFailure(pub(crate) String);

/// Attaches the outcome to a response.
pub(crate) fn with_outcome(mut response: HttpResponse, outcome: RequestOutcome) -> HttpResponse {
    response.extensions_mut().insert(outcome);
    response
}
