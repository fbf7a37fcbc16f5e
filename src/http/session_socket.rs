//! Socket of a connection. actix uses it until a response begins to stream, then the session does.
//!
//! actix keeps 16 KiB of buffers and a task for each connection, which an event stream does not
//! need. So the body of such a response hands its subscription to the socket when it is first
//! polled. Once the head of the response is sent, `server/takeover.rs` drops actix's state and
//! serves the session on the socket.

use crate::hub::{DirectSink, Subscription, WriteOutcome};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Maximum size of one read of bytes that a subscriber sends after its request; they are ignored.
const IGNORED_BYTES: usize = 512;
/// Maximum number of consecutive reads whose bytes are ignored, so that a client that sends much
/// does not delay its own events.
const IGNORED_READS: usize = 16;

/// The end of a socket that actix uses.
pub(crate) struct Socket(Rc<SessionSocket>);

/// The end of a socket that a session uses.
pub(crate) struct SessionSocket {
    stream: RefCell<TcpStream>,
    /// True once actix has written and flushed everything.
    is_flushed: Cell<bool>,
    /// A session that waits to take over.
    successor: RefCell<Option<Subscription>>,
    /// Bytes of a session that the socket has not taken.
    unsent: RefCell<Bytes>,
    /// True once a write has failed.
    has_failed: Cell<bool>,
    has_timed_out: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Rc::new(SessionSocket {
            stream: RefCell::new(stream),
            is_flushed: Cell::new(false),
            successor: RefCell::new(None),
            unsent: RefCell::new(Bytes::new()),
            has_failed: Cell::new(false),
            has_timed_out: Cell::new(false),
        }))
    }

    /// Returns the session's end of the socket.
    pub(crate) fn shared(&self) -> Rc<SessionSocket> {
        self.0.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.is_flushed.set(false);
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf)
    }

    /// Notes that actix has written everything, because it flushes only then.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.is_flushed.set(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

impl SessionSocket {
    /// Makes the connection end with a reset. If a body ends with its connection (HTTP/1.0), an
    /// orderly end would mark an incomplete body as complete.
    pub(crate) fn reset_at_end(&self) {
        // An error means that the connection is closed already.
        let _ = socket2::SockRef::from(&*self.stream.borrow()).set_linger(Some(Duration::ZERO));
    }

    /// Leaves the socket to a session once everything that actix has written is flushed.
    pub(crate) fn schedule_takeover(&self, successor: Subscription) {
        *self.successor.borrow_mut() = Some(successor);
    }

    /// Returns the session that takes over, once actix's output is flushed.
    pub(crate) fn takeover(&self) -> Option<Subscription> {
        if self.is_flushed.get() { self.successor.borrow_mut().take() } else { None }
    }

    /// Drops a session that can no longer take over.
    pub(crate) fn cancel_takeover(&self) {
        let pending_session = self.successor.borrow_mut().take();
        drop(pending_session);
    }

    /// Ready once the peer is gone; bytes that it sends are ignored.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ignored = [0; IGNORED_BYTES];
        for _ in 0..IGNORED_READS {
            let mut buffer = ReadBuf::new(&mut ignored);
            let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer);
            if let Err(error) = ready!(read) {
                self.note_failure(&error);
                return Poll::Ready(());
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns true if the system closed the connection because the peer acknowledged nothing for
    /// the write timeout (`TCP_USER_TIMEOUT`), even if the socket had taken all bytes.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.has_timed_out.get()
    }

    fn note_failure(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            self.has_timed_out.set(true);
        }
    }

    /// Stores a piece to be sent before anything else. No other piece may be stored.
    pub(crate) fn set_unsent(&self, piece: Bytes) {
        *self.unsent.borrow_mut() = piece;
    }

    /// Ready once the socket has taken all unsent bytes.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_failed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            let mut stream = self.stream.borrow_mut();
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &unsent));
            let written = written.inspect_err(|error| self.note_failure(error))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _ = unsent.split_to(written);
        }
        // Releases the memory, which other sessions' pieces share.
        *unsent = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Ready once the write side is shut down.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}

impl DirectSink for SessionSocket {
    fn unsent_bytes(&self) -> usize {
        self.unsent.borrow().len()
    }

    fn abort(&self) {
        self.has_failed.set(true);
        // The shutdown wakes the connection. If it fails, the connection is closed already.
        let _ = socket2::SockRef::from(&*self.stream.borrow()).shutdown(Shutdown::Both);
    }

    fn write(&self, piece: &Bytes) -> WriteOutcome {
        if self.has_failed.get() {
            return WriteOutcome::Failed;
        }
        if !self.unsent.borrow().is_empty() {
            return WriteOutcome::Refused;
        }
        let written = match self.stream.borrow().try_write(piece) {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.note_failure(&error);
                self.has_failed.set(true);
                return WriteOutcome::Failed;
            }
        };
        if written == piece.len() {
            return WriteOutcome::All;
        }
        self.set_unsent(piece.slice(written..));
        WriteOutcome::Kept
    }
}
