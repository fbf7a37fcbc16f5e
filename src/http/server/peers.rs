//! Answers requests that other hubs of the cluster have sent on.

use crate::cluster::PeerRequest;
use crate::http::middleware::access_log::REQUEST_ID;
use crate::http::peers::message::{AnswerHead, frame, parse_request, texts_of};
use crate::http::routes::app;
use crate::http::state::AppState;
use crate::telemetry::BoundHit;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory as _, Service, ServiceFactory as _, map_config};
use actix_web::body::{BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Maximum number of requests that are answered at a time. Others get a 503.
const MAX_REQUESTS: usize = 64;
/// Maximum time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Headers of answers that the hub which was asked by the client adds itself.
const NOT_SENT: [HeaderName; 3] = [header::DATE, header::VARY, REQUEST_ID];

/// Answers requests of other hubs while this one runs.
pub async fn answer_peers(state: Data<AppState>) {
    let Some(peers) = state.peers.clone() else { return };
    let service = map_config(app(state.clone(), false), |()| AppConfig::default());
    let Ok(service) = service.into_factory().new_service(()).await else {
        return tracing::error!("cannot create the service for other hubs");
    };
    let (service, permits) = (Rc::new(service), Arc::new(Semaphore::new(MAX_REQUESTS)));
    let max_bytes = peers.max_message_bytes() / 2;
    peers
        .serve(|request| match permits.clone().try_acquire_owned() {
            Ok(permit) => {
                let service = service.clone();
                actix_web::rt::spawn(async move {
                    answer(&*service, request, max_bytes).await;
                    drop(permit);
                });
            }
            Err(_) => {
                state.telemetry.bound_hit(BoundHit::HubRequests);
                actix_web::rt::spawn(refuse(request));
            }
        })
        .await;
}

async fn refuse(request: PeerRequest) {
    let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
    request.answer(frame(&AnswerHead { status, headers: Vec::new() }, &[])).await;
}

async fn answer<S, B>(service: &S, request: PeerRequest, max_bytes: usize)
where
    S: Service<Request, Response = ServiceResponse<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    let answered = async {
        let response = match parse_request(&request.data) {
            Some(parsed) => match service.call(parsed).await {
                Ok(response) => {
                    let response: Response<B> = response.into();
                    response.map_into_boxed_body()
                }
                Err(error) => error.into(),
            },
            None => Response::new(StatusCode::BAD_REQUEST),
        };
        let headers = texts_of(response.headers(), is_sent);
        let mut head = AnswerHead { status: response.status().as_u16(), headers };
        let body = match to_bytes_limited(response.into_body(), max_bytes).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) | Err(_) => {
                head.status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
                actix_web::web::Bytes::new()
            }
        };
        frame(&head, &body)
    };
    // The asking hub waits no longer.
    let answered = actix_web::rt::time::timeout(ANSWER_WITHIN, answered).await;
    if let Ok(answer) = answered {
        request.answer(answer).await;
    }
}

fn is_sent(header: &HeaderName) -> bool {
    !NOT_SENT.contains(header) && !header.as_str().starts_with("access-control-")
}
