//! A connection from its first request to the end of its event stream, if it comes to one.

use crate::http::session_socket::SessionSocket;
use crate::hub::{DirectSink as _, Subscription};
use crate::wire;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes of a session's that are joined for one write.
const JOINED_BYTES: usize = 32 * 1024;
/// Writes at a stretch, before other connections have their turn.
const WRITES_AT_ONCE: usize = 8;

/// Serves requests by `http` until one of them takes the socket over for its events, and then
/// those. What it holds meanwhile is let go of at the end.
pub(crate) fn serve<E>(
    http: impl Future<Output = Result<(), E>>,
    socket: Option<Rc<SessionSocket>>,
    held: impl Sized,
) -> impl Future<Output = Result<(), ()>> {
    // Apart from what is left of the connection later, so that its memory can go.
    let mut http = Box::pin(http);
    async move {
        // How a connection ends is nobody's business but the client's.
        let Some(socket) = socket else { return http.await.map_err(drop) };
        let guard = TakeoverGuard(&socket);
        let successor = poll_fn(|cx| match http.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => socket.takeover().map_or(Poll::Pending, |s| Poll::Ready(Ok(s))),
        });
        let subscription = match successor.await {
            Ok(subscription) => subscription,
            Err(ended) => return ended.map_err(drop),
        };
        drop(guard);
        drop(http);
        EventStream { socket, subscription, has_ended: false }.await;
        drop(held);
        Ok(())
    }
}

/// A session that was to take over and cannot any more goes; it and its socket hold each other.
struct TakeoverGuard<'a>(&'a SessionSocket);

impl Drop for TakeoverGuard<'_> {
    fn drop(&mut self) {
        self.0.cancel_takeover();
    }
}

/// A socket that is a session's, in chunks of HTTP/1.1. The session writes to it in rounds; what
/// they cannot bring goes this way: its first block, history, heartbeats, what waits for room.
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
                piece => self.socket.keep(piece),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl EventStream {
    /// Ends with a connection that is lost.
    fn lost(&self) -> Poll<()> {
        if self.socket.has_timed_out() {
            self.subscription.close_stalled();
        }
        Poll::Ready(())
    }

    /// Returns what the session has ready, as a chunk; empty if it has nothing.
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
        if self.has_ended && !self.subscription.was_cut_short() {
            piece.extend_from_slice(wire::LAST_CHUNK);
        }
        piece.into()
    }
}
