//! Requests that are sent on to other hubs of the cluster.
//!
//! A request is sent as the client made it, with its credentials, so that the other hub checks them again:
//! nobody gets more from it than by a connection to it. Only operations with short answers are sent on.

#[cfg(feature = "cluster")]
pub(crate) mod message;

use crate::http::state::AppState;
use actix_web::HttpRequest;
use bytes::Bytes;

/// Answers of all other hubs to a request.
#[derive(Default)]
pub(crate) struct Answers {
    /// Bodies of successful answers.
    pub(crate) bodies: Vec<Bytes>,
    /// Names of the hubs that did not answer.
    pub(crate) silent: Vec<String>,
}

/// Sends a request without a body to all other hubs, unless it is for one hub.
#[cfg(feature = "cluster")]
pub(crate) async fn ask_all(state: &AppState, request: &HttpRequest) -> Answers {
    use actix_web::http::StatusCode;
    use message::{AnswerHead, RequestHead, named_hub, parse};

    let Some(peers) = state.peers.as_ref().filter(|_| named_hub(request.query_string()).is_none())
    else {
        return Answers::default();
    };
    let head = RequestHead::of(request);
    let mut answers = Answers::default();
    for (name, answer) in peers.ask_all(|node| head.request(node, &[])).await {
        let answer = answer.ok().and_then(|frame| parse::<AnswerHead>(&frame));
        match answer {
            Some((head, body)) if head.status == StatusCode::OK.as_u16() => {
                answers.bodies.push(body)
            }
            _ => answers.silent.push(name),
        }
    }
    answers
}

/// Returns no answers: this build has no cluster.
#[cfg(not(feature = "cluster"))]
pub(crate) async fn ask_all(_: &AppState, _: &HttpRequest) -> Answers {
    Answers::default()
}
