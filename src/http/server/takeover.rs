//! Serves a connection's requests until a session takes its socket over, then that session.

use crate::http::session_socket::SessionSocket;
use crate::hub::{DirectSink as _, Subscription};
use crate::wire;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Number of a session's bytes that are joined for one write.
const JOINED_BYTES: usize = 32 * 1024;
/// Maximum number of consecutive writes, so that other connections are not delayed.
const WRITES_AT_ONCE: usize = 8;

/// Serves requests with `http` until a session takes the socket over, then serves the session.
/// `guards` are dropped when the connection ends.
pub(crate) fn serve<E>(
    http: impl Future<Output = Result<(), E>>,
    socket: Option<Rc<SessionSocket>>,
    guards: impl Sized,
) -> impl Future<Output = Result<(), ()>> {
    // Boxed, so that its memory is freed once the session has taken over.
    let mut http = Box::pin(http);
    async move {
        // An error of a connection concerns only its client.
        let Some(socket) = socket else { return http.await.map_err(drop) };
        let takeover_guard = TakeoverGuard(&socket);
        let successor = poll_fn(|cx| match http.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => socket.takeover().map_or(Poll::Pending, |s| Poll::Ready(Ok(s))),
        });
        let subscription = match successor.await {
            Ok(subscription) => subscription,
            Err(ended) => return ended.map_err(drop),
        };
        drop(takeover_guard);
        drop(http);
        EventStream { socket, subscription, has_ended: false }.await;
        drop(guards);
        Ok(())
    }
}

/// Drops a session that can no longer take over. The session and its socket own each other, so
/// neither would be dropped otherwise.
struct TakeoverGuard<'a>(&'a SessionSocket);

impl Drop for TakeoverGuard<'_> {
    fn drop(&mut self) {
        self.0.cancel_takeover();
    }
}

/// A session on the socket that it has taken over, sent as HTTP/1.1 chunks. The shard's flushes
/// write live events; this future writes the rest: the first block, history, heartbeats, and bytes
/// that a full socket did not take.
struct EventStream {
    socket: Rc<SessionSocket>,
    subscription: Subscription,
    has_ended: bool,
}

impl Future for EventStream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.socket.poll_gone(cx).is_ready() {
            return self.lost();
        }
        for _ in 0..WRITES_AT_ONCE {
            let unsent = self.socket.unsent_bytes();
            match self.socket.poll_sent(cx) {
                Poll::Ready(Ok(())) if unsent > 0 => self.subscription.resume_after_socket(),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.lost(),
                Poll::Pending => {
                    self.subscription.wait_for_socket(self.socket.unsent_bytes() < unsent);
                    return Poll::Pending;
                }
            }
            if self.has_ended {
                return self.socket.poll_shutdown(cx).map(drop);
            }
            match self.gather(cx) {
                piece if piece.is_empty() && !self.has_ended => return Poll::Pending,
                piece => self.socket.set_unsent(piece),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl EventStream {
    /// Ends the stream of a lost connection.
    fn lost(&self) -> Poll<()> {
        if self.socket.has_timed_out() {
            self.subscription.close_for_write_timeout();
        }
        Poll::Ready(())
    }

    /// Returns the bytes that the session has ready, as a chunk; empty if there are none.
    fn gather(&mut self, cx: &mut Context<'_>) -> Bytes {
        let mut frames = Vec::new();
        while frames.len() < JOINED_BYTES && !self.has_ended {
            match self.subscription.poll_next(cx) {
                Poll::Ready(Some(bytes)) => frames.extend_from_slice(&bytes),
                Poll::Ready(None) => self.has_ended = true,
                Poll::Pending => break,
            }
        }
        let mut piece = if frames.is_empty() { Vec::new() } else { wire::chunk(&frames) };
        if self.has_ended && !self.subscription.is_truncated() {
            piece.extend_from_slice(wire::LAST_CHUNK);
        }
        piece.into()
    }
}
