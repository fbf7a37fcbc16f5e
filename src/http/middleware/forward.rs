//! Sends requests on to the hub of the cluster that they are for.

use crate::cluster::{AskError, Peers};
use crate::http::error::{Code, Problem, error_for};
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
        Some(name) => {
            let head = RequestHead::of(request.request());
            let body = body_of(&mut request).await?;
            let answer = peers.ask(&name, head.frame(&name, &body)).await;
            let answer = answer.map_err(|error| error_for(request.path(), error.into()))?;
            let response = response_of(&answer, &name);
            let response = response.map_err(|problem| error_for(request.path(), problem))?;
            Ok(request.into_response(response).map_into_right_body())
        }
        None if scope == Scope::Any => {
            let head = RequestHead::of(request.request());
            let response = next.call(request).await?;
            if response.status() != StatusCode::NOT_FOUND {
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

async fn body_of(request: &mut ServiceRequest) -> Result<Bytes, Error> {
    let payload = request.extract::<web::Payload>().await?;
    let too_large = || {
        let detail = format!("the body of a request to another hub exceeds {MAX_BODY_BYTES} bytes");
        error_for(request.path(), Problem::new(Code::PayloadTooLarge, detail))
    };
    payload.to_bytes_limited(MAX_BODY_BYTES).await.map_err(|_| too_large())?
}

/// Returns the answer of a hub that knows what the request is for. Fails if none does, and one that may know does
/// not answer.
async fn first_that_knows(
    peers: &Peers,
    head: &RequestHead,
) -> Result<Option<HttpResponse>, Problem> {
    let mut failure = None;
    for (node, answer) in peers.ask_all(|node| head.frame(node, &[])).await {
        match answer.map_err(Problem::from).and_then(|answer| response_of(&answer, &node)) {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {}
            // It had too many requests.
            Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                failure = Some(Problem::from(AskError::Silent(node)));
            }
            Ok(response) => return Ok(Some(response)),
            // What a hub that is gone had has ended.
            Err(_) if peers.gone().contains(&node) => {}
            Err(problem) => failure = Some(problem),
        }
    }
    failure.map_or(Ok(None), Err)
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
            AskError::Silent(_) => Self::new(Code::Unresponsive, error.to_string()).retry_after(5),
        }
    }
}
