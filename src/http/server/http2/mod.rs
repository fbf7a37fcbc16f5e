//! HTTP/2 (RFC 9113): requests that share a connection, each with its own flow control.
//!
//! Promises: a stream whose client reads nothing delays no other stream and is reset after the
//! write timeout; a client's reset of a stream is noticed immediately, even while there is nothing
//! to send. Never: routes requests. They go to the same service as those of HTTP/1.1.

mod reply;

use crate::http::state::AppState;
use crate::telemetry::ConnectionRefused;
use actix_http::error::PayloadError;
use actix_http::{Payload, Request, Response};
use actix_service::Service;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri, Version};
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use reply::reply;
use std::cell::Cell;
use std::cmp::Ordering;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Maximum time until a client has completed the HTTP/2 handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of open streams per connection: more than a page of tiles needs.
const MAX_STREAMS: u32 = 256;
/// Maximum size of a request's head: room for a hundred selectors and a token.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Flow-control windows of request bodies, for one request and for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Maximum number of bytes of a stream that wait for the socket.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Interval at which a connection is checked for open streams.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Number of consecutive checks without an open stream after which a connection is closed.
const MAX_IDLE_CHECKS: u32 = 5;
/// Maximum time from the handshake to the first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// State shared by the streams of a connection.
struct ConnectionContext<S> {
    service: Rc<S>,
    peer: Option<SocketAddr>,
    write_timeout: Duration,
    open: Cell<usize>,
    /// True once a request was received.
    has_requested: Cell<bool>,
}

/// Serves a connection until it is closed, or until `stopping` resolves and its streams have ended.
pub(crate) async fn serve<S, B>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    service: Rc<S>,
    state: &Data<AppState>,
    peer: Option<SocketAddr>,
    stopping: impl Future<Output = ()>,
) -> Result<(), h2::Error>
where
    S: Service<Request, Response = ServiceResponse<B>> + 'static,
    S::Error: Into<Response<BoxBody>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    let count_refused = || state.telemetry.connection_refused(ConnectionRefused::Http2);
    let mut stopping = pin!(stopping);
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, builder.handshake(io)) => handshake,
        () = &mut stopping => return Ok(()),
    };
    let connection = match handshake {
        Ok(Ok(connection)) => connection,
        failed => {
            count_refused();
            return failed.map_or(Ok(()), |handshake| handshake.map(drop));
        }
    };
    let write_timeout = state.settings.write_timeout;
    let has_requested = Cell::new(false);
    let shared = Rc::new(ConnectionContext {
        service,
        peer,
        write_timeout,
        open: Cell::new(0),
        has_requested,
    });
    let result = run(connection, &shared, &mut stopping).await;
    if !shared.has_requested.get() {
        count_refused();
    }
    result
}

async fn run<T, S, B>(
    mut connection: Connection<T, Bytes>,
    shared: &Rc<ConnectionContext<S>>,
    mut stopping: impl Future<Output = ()> + Unpin,
) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = ServiceResponse<B>> + 'static,
    S::Error: Into<Response<BoxBody>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let (mut is_stopping, mut idle_checks) = (false, 0);
    let mut checks = tokio::time::interval(IDLE_CHECK_INTERVAL);
    let mut first_request_timer = pin!(tokio::time::sleep(FIRST_REQUEST_TIMEOUT));
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    idle_checks = 0;
                    shared.has_requested.set(true);
                    let open = OpenRequest::new(shared.clone());
                    // The streams of a connection are served concurrently.
                    tokio::task::spawn_local(answer(request, respond, open));
                }
                None => return Ok(()),
            },
            () = &mut stopping, if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
                first_request_timer.as_mut().reset(tokio::time::Instant::now());
            }
            () = &mut first_request_timer, if !shared.has_requested.get() => return Ok(()),
            _ = checks.tick() => {
                idle_checks = if shared.open.get() == 0 { idle_checks + 1 } else { 0 };
                match idle_checks.cmp(&MAX_IDLE_CHECKS) {
                    Ordering::Less => {}
                    Ordering::Equal => connection.graceful_shutdown(),
                    // The client ignored the graceful shutdown.
                    Ordering::Greater => return Ok(()),
                }
            }
        }
    }
}

/// An open stream; counted until this is dropped.
struct OpenRequest<S>(Rc<ConnectionContext<S>>);

impl<S> OpenRequest<S> {
    fn new(shared: Rc<ConnectionContext<S>>) -> Self {
        shared.open.set(shared.open.get() + 1);
        Self(shared)
    }
}

impl<S> Drop for OpenRequest<S> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

async fn answer<S, B>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    open: OpenRequest<S>,
) where
    S: Service<Request, Response = ServiceResponse<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody,
{
    let shared = &open.0;
    let is_head = request.method() == http::Method::HEAD;
    let request = match parse_request(request, shared.peer) {
        Ok(request) => request,
        Err(status) => {
            let refused: Response<BoxBody> = Response::new(status);
            return reply(refused, respond, is_head, shared.write_timeout).await;
        }
    };
    let mut answered = pin!(shared.service.call(request));
    let response = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        answered.as_mut().poll(cx).map(Some)
    });
    match response.await {
        None => {}
        Some(Ok(response)) => {
            reply(response.into(), respond, is_head, shared.write_timeout).await;
        }
        Some(Err(error)) => {
            reply(error.into(), respond, is_head, shared.write_timeout).await;
        }
    }
}

/// Converts a request to actix's type. `:authority` becomes the `Host` header. If the request has
/// both, they must be equal (RFC 9113 §8.3.1).
fn parse_request(
    request: http::Request<RecvStream>,
    peer: Option<SocketAddr>,
) -> Result<Request, StatusCode> {
    let (parts, body) = request.into_parts();
    let unreadable = StatusCode::BAD_REQUEST;
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(Body(body));
    let mut request = Request::with_payload(Payload::Stream { payload: stream });
    let head = request.head_mut();
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).map_err(|_| unreadable)?;
    head.uri = parts.uri.to_string().parse::<Uri>().map_err(|_| unreadable)?;
    head.version = Version::HTTP_2;
    head.peer_addr = peer;
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| unreadable)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unreadable)?;
        head.headers.append(name, value);
    }
    if let Some(authority) = parts.uri.authority() {
        let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| unreadable)?;
        match head.headers.get(header::HOST) {
            Some(host) if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {}
            // A request with two hosts is refused by the authentication middleware.
            _ => head.headers.append(header::HOST, authority),
        }
    }
    Ok(request)
}

/// A request's body; each chunk that was read extends the flow-control window.
struct Body(RecvStream);

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let failed = |e| PayloadError::Io(io::Error::other(e));
        let chunk = match ready!(self.0.poll_data(cx)) {
            None => return Poll::Ready(None),
            Some(Err(e)) => return Poll::Ready(Some(Err(failed(e)))),
            Some(Ok(chunk)) => chunk,
        };
        let released = self.0.flow_control().release_capacity(chunk.len());
        Poll::Ready(Some(released.map(|()| chunk).map_err(failed)))
    }
}
