//! Socket of a connection, which actix uses until a response begins to stream and the session after that.
//!
//! actix keeps 16 KiB of buffers and a task for each connection, which an event stream does not need. So
//! the body of such a response hands its subscription to the socket when it is first polled. Once the head
//! of the response is sent, `server/takeover.rs` drops actix's state and serves the session on the socket.

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

/// Bytes of what a subscriber says after its request, which nobody wants, read at once.
const IGNORED_BYTES: usize = 512;
/// Maximum number of consecutive reads whose bytes are ignored, so that a client that sends much
/// does not delay its own events.
const IGNORED_READS: usize = 16;

/// actix' end.
pub(crate) struct Socket(Rc<SessionSocket>);

/// The session's end.
pub(crate) struct SessionSocket {
    stream: RefCell<TcpStream>,
    /// True once actix has written and flushed everything.
    is_flushed: Cell<bool>,
    /// A session that waits to take over.
    successor: RefCell<Option<Subscription>>,
    /// Bytes of a session that the socket has not taken.
    unsent: RefCell<Bytes>,
    /// A write failed.
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

    /// The session's end of it.
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

    /// actix flushes once it has written all it had.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.is_flushed.set(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

impl SessionSocket {
    /// Has the connection end by a reset: where a body ends with its connection (HTTP/1.0), an orderly end
    /// would say that it was whole.
    pub(crate) fn reset_at_end(&self) {
        // One that is gone has nobody to tell.
        let _ = socket2::SockRef::from(&*self.stream.borrow()).set_linger(Some(Duration::ZERO));
    }

    /// Leaves the socket to a session as soon as what actix has written is out.
    pub(crate) fn request_takeover(&self, successor: Subscription) {
        *self.successor.borrow_mut() = Some(successor);
    }

    /// The session that takes over now, if one does.
    pub(crate) fn takeover(&self) -> Option<Subscription> {
        if self.is_flushed.get() { self.successor.borrow_mut().take() } else { None }
    }

    /// Lets go of a session that can take over no more.
    pub(crate) fn cancel_takeover(&self) {
        let successor = self.successor.borrow_mut().take();
        drop(successor);
    }

    /// Ready once the peer is gone; what it says is ignored.
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

    /// Returns true if the system closed the connection because the peer acknowledged nothing for the
    /// write timeout (`TCP_USER_TIMEOUT`), also of bytes that the socket took.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.has_timed_out.get()
    }

    fn note_failure(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            self.has_timed_out.set(true);
        }
    }

    /// Puts a piece into the way of all that follows; there must be none.
    pub(crate) fn keep(&self, piece: Bytes) {
        *self.unsent.borrow_mut() = piece;
    }

    /// Ready once everything is with the socket.
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
        // Its memory is shared with other sessions' pieces.
        *unsent = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Ready once the peer has been told that nothing more comes.
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
        // It wakes the connection. One that cannot be shut down is closed already.
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
        self.keep(piece.slice(written..));
        WriteOutcome::Kept
    }
}
