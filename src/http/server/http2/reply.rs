//! Responses of HTTP/2: the head, then the body within the client's flow-control window.

use crate::http::api::event_body::Stalled;
use actix_http::Response;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HttpDate};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Size at which joining stops: a frame that every peer accepts (RFC 9113 §4.2).
const FRAME_BYTES: usize = 16 * 1024;

/// Returns true for headers of an HTTP/1.1 connection, which HTTP/2 forbids (RFC 9113 §8.2.2).
fn is_connection_header(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// Returns the head of a response, and true if the response has no body.
fn response_head<B: MessageBody>(
    response: &Response<B>,
) -> Result<(http::Response<()>, bool), http::Error> {
    let status = response.status();
    let size = response.body().size();
    let has_none = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let mut head = http::Response::builder().status(status.as_u16());
    for (name, value) in response.headers() {
        if !is_connection_header(name) && *name != header::CONTENT_LENGTH {
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

/// Sends a response as the window of the client allows.
pub(crate) async fn reply<B: MessageBody>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    is_head: bool,
    write_timeout: Duration,
) {
    let Ok((head, is_complete)) = response_head(&response) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let is_complete = is_complete || is_head;
    // The connection may be gone.
    let Ok(mut stream) = respond.send_response(head, is_complete) else { return };
    if is_complete {
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

/// A part of a body.
struct Piece {
    bytes: Bytes,
    is_last: bool,
    /// True if the body failed before its end.
    has_failed: bool,
}

/// Collects the bytes that a body has ready, until there is at least one frame.
fn gather<B: MessageBody>(mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Piece> {
    let mut joined = Vec::new();
    let mut first = Bytes::new();
    loop {
        let mut has_failed = false;
        let is_last = match body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                if joined.is_empty() && first.is_empty() {
                    first = bytes;
                } else {
                    joined.extend_from_slice(&std::mem::take(&mut first));
                    joined.extend_from_slice(&bytes);
                }
                false
            }
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) => {
                has_failed = true;
                true
            }
            Poll::Pending if joined.is_empty() && first.is_empty() => return Poll::Pending,
            Poll::Pending => {
                let bytes = if joined.is_empty() { first } else { joined.into() };
                return Poll::Ready(Piece { bytes, is_last: false, has_failed });
            }
        };
        if is_last || joined.len() + first.len() >= FRAME_BYTES {
            let bytes = if joined.is_empty() { first } else { joined.into() };
            return Poll::Ready(Piece { bytes, is_last, has_failed });
        }
    }
}

/// Outcome of sending a part.
enum Sent {
    All,
    /// The client or its connection is gone.
    Gone,
    /// The client granted no window within the write timeout.
    Stalled,
}

/// Sends a part as the window of the client allows.
async fn send(mut piece: Piece, stream: &mut SendStream<Bytes>, write_timeout: Duration) -> Sent {
    while !piece.bytes.is_empty() {
        stream.reserve_capacity(piece.bytes.len());
        let room = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            // Capacity that is left from before is not reported again.
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
