//! HTTP/2 (RFC 9113): requests that share a connection, each with its own flow.
//!
//! Promises: a stream whose client takes nothing keeps no other back, and is reset after the write
//! timeout; a client that resets a stream is gone at once, also while there is nothing to send.
//! Never: routes. A request is handed to the same service that HTTP/1.1 is served by.

use super::body::Stalled;
use super::server::AppState;
use crate::telemetry::ConnectionRefused;
use actix_http::error::PayloadError;
use actix_http::{Payload, Request, Response};
use actix_service::Service;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue, HttpDate};
use actix_web::http::{Method, StatusCode, Uri, Version};
use actix_web::web::Data;
use bytes::Bytes;
use futures_util::Stream;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use std::cell::Cell;
use std::cmp::Ordering;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// How long a client may take to say that it speaks HTTP/2.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that one connection may have open: more than a page of tiles needs.
const MAX_STREAMS: u32 = 256;
/// The head of a request at most, in bytes: as long as a hundred selectors and a token.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Bytes of a body that may be on their way to us, of one request and of all of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a stream that wait for the socket.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that are joined for one frame: no more than every peer takes in one (RFC 9113 §4.2).
const JOINED_BYTES: usize = 16 * 1024;
/// How often is looked whether a connection is used, and how long one may have no stream.
const LOOK_EVERY: Duration = Duration::from_secs(15);
const IDLE_LOOKS: u32 = 5;
/// How long a connection may take to its first request.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// What a connection's streams have in common.
struct ConnectionContext<S> {
    service: Rc<S>,
    peer: Option<SocketAddr>,
    write_timeout: Duration,
    open: Cell<usize>,
    /// Whether there was a request.
    has_asked: Cell<bool>,
}

/// Serves a connection until both sides are done, or until `stopping` and the streams have ended.
pub(super) async fn serve<S, B>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    (service, state): (Rc<S>, &Data<AppState>),
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
    let refused = || state.telemetry.connection_refused(ConnectionRefused::Http2);
    let mut stopping = pin!(stopping);
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE_TIMEOUT, builder.handshake(io)) => handshake,
        () = &mut stopping => return Ok(()),
    };
    let connection = match handshake {
        Ok(Ok(connection)) => connection,
        failed => {
            refused();
            return failed.map_or(Ok(()), |handshake| handshake.map(drop));
        }
    };
    let write_timeout = state.settings.write_timeout;
    let has_asked = Cell::new(false);
    let shared =
        Rc::new(ConnectionContext { service, peer, write_timeout, open: Cell::new(0), has_asked });
    let done = run(connection, &shared, &mut stopping).await;
    if !shared.has_asked.get() {
        refused();
    }
    done
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
    let (mut is_stopping, mut idle_looks) = (false, 0);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut patience = pin!(tokio::time::sleep(FIRST_REQUEST_WITHIN));
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted?;
                    idle_looks = 0;
                    shared.has_asked.set(true);
                    let open = OpenRequest::new(shared.clone());
                    // Streams of one connection go on beside each other.
                    tokio::task::spawn_local(answer(request, respond, open));
                }
                None => return Ok(()),
            },
            () = &mut stopping, if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
                patience.as_mut().reset(tokio::time::Instant::now());
            }
            () = &mut patience, if !shared.has_asked.get() => return Ok(()),
            _ = looks.tick() => {
                idle_looks = if shared.open.get() == 0 { idle_looks + 1 } else { 0 };
                match idle_looks.cmp(&IDLE_LOOKS) {
                    Ordering::Less => {}
                    Ordering::Equal => connection.graceful_shutdown(),
                    // Whoever does not answer that is gone, or does not want to be.
                    Ordering::Greater => return Ok(()),
                }
            }
        }
    }
}

/// A stream that is open.
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
            return reply(refused, respond, (is_head, shared.write_timeout)).await;
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
            reply(response.into(), respond, (is_head, shared.write_timeout)).await;
        }
        Some(Err(error)) => {
            reply(error.into(), respond, (is_head, shared.write_timeout)).await;
        }
    }
}

/// The request as actix has it. `Host` is what HTTP/1.1 calls it also where only `:authority` was
/// sent; where both were they are the same (RFC 9113 §8.3.1).
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
            // Two that differ are two, which the guard refuses.
            _ => head.headers.append(header::HOST, authority),
        }
    }
    Ok(request)
}

/// A request's body; what has been read makes room for more.
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

/// Headers that are a connection's of HTTP/1.1, and nothing here (RFC 9113 §8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// The head of a response, and whether it is all there is.
fn head_of<B: MessageBody>(
    response: &Response<B>,
) -> Result<(http::Response<()>, bool), http::Error> {
    let status = response.status();
    let size = response.body().size();
    let has_none = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let mut head = http::Response::builder().status(status.as_u16());
    for (name, value) in response.headers() {
        if !is_of_connection(name) && *name != header::CONTENT_LENGTH {
            head = head.header(name.as_str(), value.as_bytes());
        }
    }
    if let BodySize::Sized(length) = size
        && !has_none
    {
        head = head.header("content-length", length);
    }
    if !response.headers().contains_key(header::DATE) {
        head = head.header("date", HttpDate::from(SystemTime::now()).to_string());
    }
    Ok((head.body(())?, has_none || size.is_eof()))
}

async fn reply<B: MessageBody>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    (is_head, write_timeout): (bool, Duration),
) {
    let Ok((head, is_all)) = head_of(&response) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let is_all = is_all || is_head;
    // A connection that is gone has nobody to tell.
    let Ok(mut stream) = respond.send_response(head, is_all) else { return };
    if is_all {
        return;
    }
    let stalled = response.extensions().get::<Stalled>().cloned();
    let mut body = pin!(response.into_body());
    let mut has_ended = false;
    while !has_ended {
        let gathered = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => gather(body.as_mut(), cx).map(Some),
        });
        let Some(piece) = gathered.await else { return };
        has_ended = piece.is_last;
        let has_failed = piece.has_failed;
        match send(piece, &mut stream, write_timeout).await {
            Sent::All if has_failed => return stream.send_reset(Reason::INTERNAL_ERROR),
            Sent::All => {}
            Sent::Gone => return,
            Sent::Stalled => {
                if let Some(stalled) = &stalled {
                    stalled.note();
                }
                return stream.send_reset(Reason::CANCEL);
            }
        }
    }
}

/// Some bytes of a body.
struct Piece {
    bytes: Bytes,
    is_last: bool,
    /// There should be more, and cannot.
    has_failed: bool,
}

/// What a body has now, as one frame.
fn gather<B: MessageBody>(mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Piece> {
    let mut joined = Vec::new();
    let mut only = Bytes::new();
    loop {
        let mut has_failed = false;
        let is_last = match body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                if joined.is_empty() && only.is_empty() {
                    only = bytes;
                } else {
                    joined.extend_from_slice(&std::mem::take(&mut only));
                    joined.extend_from_slice(&bytes);
                }
                false
            }
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) => {
                has_failed = true;
                true
            }
            Poll::Pending if joined.is_empty() && only.is_empty() => return Poll::Pending,
            Poll::Pending => {
                let bytes = if joined.is_empty() { only } else { joined.into() };
                return Poll::Ready(Piece { bytes, is_last: false, has_failed });
            }
        };
        if is_last || joined.len() + only.len() >= JOINED_BYTES {
            let bytes = if joined.is_empty() { only } else { joined.into() };
            return Poll::Ready(Piece { bytes, is_last, has_failed });
        }
    }
}

/// What became of a piece.
enum Sent {
    All,
    /// The client, or its connection, is gone.
    Gone,
    /// The client made no room.
    Stalled,
}

/// Sends a piece as the client makes room.
async fn send(mut piece: Piece, stream: &mut SendStream<Bytes>, write_timeout: Duration) -> Sent {
    while !piece.bytes.is_empty() {
        stream.reserve_capacity(piece.bytes.len());
        let room = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            // What is left of what was made before is not told again.
            Poll::Pending if stream.capacity() > 0 => Poll::Ready(Some(Ok(stream.capacity()))),
            Poll::Pending => stream.poll_capacity(cx),
        });
        let room = match timeout(write_timeout, room).await {
            Ok(Some(Ok(room))) => room,
            Ok(_) => return Sent::Gone,
            Err(_) => return Sent::Stalled,
        };
        let part = piece.bytes.split_to(room.min(piece.bytes.len()));
        if stream.send_data(part, false).is_err() {
            return Sent::Gone;
        }
    }
    if piece.is_last && !piece.has_failed && stream.send_data(Bytes::new(), true).is_err() {
        return Sent::Gone;
    }
    Sent::All
}
