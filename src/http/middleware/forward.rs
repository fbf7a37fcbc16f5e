//! Sends requests on to the hub of the cluster that they are for.

use crate::cluster::{AskError, Peers};
use crate::http::error::{Code, Problem, error_for};
use crate::http::extract::body::read_body;
use crate::http::extract::identity::identity;
use crate::http::peers::message::{AnswerHead, RequestHead, Scope, named_hub, parse, scope};
use crate::http::state::AppState;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes, Data};
use actix_web::{Error, HttpResponse};

/// Maximum size of the body of a request that is sent on.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Answers a request here, or sends it to the hub that its query names, or to all if it is for something that
/// this hub does not know.
pub(crate) async fn forward<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let here = |response: ServiceResponse<B>| response.map_into_left_body();
    let scope = scope(request.method(), request.path());
    let peers = request.app_data::<Data<AppState>>().and_then(|state| state.peers.clone());
    let Some(peers) = peers.filter(|_| scope != Scope::This) else {
        return next.call(request).await.map(here);
    };
    match named_hub(request.query_string()).map(str::to_owned) {
        Some(name) if name == peers.node() => next.call(request).await.map(here),
        // The handler here refuses a caller without an identity.
        Some(_) if identity(request.request()).is_none() && !is_public(&request) => {
            next.call(request).await.map(here)
        }
        Some(name) => {
            let answer = ask(&peers, &name, &mut request).await;
            let response = answer.map_err(|problem| error_for(request.path(), problem))?;
            Ok(request.into_response(response).map_into_right_body())
        }
        None if scope == Scope::Any => {
            let head = RequestHead::of(request.request());
            let response = next.call(request).await?;
            if response.status() != StatusCode::NOT_FOUND || !head.has_valid_id() {
                return Ok(here(response));
            }
            let found = first_that_knows(&peers, &head).await;
            match found.map_err(|problem| error_for(response.request().path(), problem))? {
                Some(answer) => {
                    let (request, _) = response.into_parts();
                    Ok(ServiceResponse::new(request, answer).map_into_right_body())
                }
                None => Ok(here(response)),
            }
        }
        None => next.call(request).await.map(here),
    }
}

/// Returns true for a request that needs no credential.
fn is_public(request: &ServiceRequest) -> bool {
    request.method().is_safe() && ["/readyz", "/version"].contains(&request.path())
}

/// Sends a request to a hub, and returns its answer.
async fn ask(
    peers: &Peers,
    name: &str,
    request: &mut ServiceRequest,
) -> Result<HttpResponse, Problem> {
    peers.check_reports(name)?;
    let head = RequestHead::of(request.request());
    let body = if request.method().is_safe() { Bytes::new() } else { body_of(request).await? };
    response_of(&peers.ask(name, head.request(name, &body)).await?, name)
}

async fn body_of(request: &mut ServiceRequest) -> Result<Bytes, Problem> {
    let state = request.app_data::<Data<AppState>>().cloned();
    let (Some(state), Ok(payload)) = (state, request.extract::<web::Payload>().await) else {
        return Ok(Bytes::new());
    };
    let body = read_body(&state, request.request(), payload).await?;
    if body.len() > MAX_BODY_BYTES {
        let detail = format!("the body of a request to another hub exceeds {MAX_BODY_BYTES} bytes");
        return Err(Problem::new(Code::PayloadTooLarge, detail));
    }
    Ok(body)
}

/// Returns the answer of a hub that knows what the request is for: one that has done it, otherwise another.
/// Fails if none knows it, and one that may know does not answer.
async fn first_that_knows(
    peers: &Peers,
    head: &RequestHead,
) -> Result<Option<HttpResponse>, Problem> {
    let (mut failure, mut refusal) = (None, None);
    for (node, answer) in peers.ask_all(|node| head.request(node, &[])).await {
        match answer.map_err(Problem::from).and_then(|answer| response_of(&answer, &node)) {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {}
            // It had too many requests.
            Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                failure = Some(Problem::from(AskError::Silent(node)));
            }
            Ok(response) if response.status().is_success() => return Ok(Some(response)),
            Ok(response) => refusal = Some(response),
            // What a hub that is gone had has ended.
            Err(_) if peers.gone().contains(&node) => {}
            Err(problem) => failure = Some(problem),
        }
    }
    failure.map_or(Ok(refusal), Err)
}

fn response_of(answer: &Bytes, node: &str) -> Result<HttpResponse, Problem> {
    let unreadable = || {
        let detail = format!("hub {node:?} has sent an answer that cannot be read");
        Problem::new(Code::Unresponsive, detail)
    };
    let (head, body) = parse::<AnswerHead>(answer).ok_or_else(unreadable)?;
    let status = StatusCode::from_u16(head.status).map_err(|_| unreadable())?;
    let mut response = HttpResponse::build(status);
    for (name, value) in &head.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.append_header((name, value));
        }
    }
    Ok(response.body(body))
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unknown(_) => Self::new(Code::NotFound, error.to_string()).field("hub"),
            AskError::Silent(_) | AskError::Unconfirmed(_) => {
                Self::new(Code::Unresponsive, error.to_string()).retry_after(5)
            }
        }
    }
}
