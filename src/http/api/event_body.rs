//! Response body of a subscription.

use crate::http::session_socket::SessionSocket;
use crate::hub::Subscription;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A subscription as an endless body for actix. If the session can take the socket over, the first
/// poll requests the takeover, and the body produces nothing.
pub(crate) struct EventBody {
    subscription: Option<Subscription>,
    socket: Option<Rc<SessionSocket>>,
    /// The connection, if its end is the end of this body.
    ends_connection: Option<Rc<SessionSocket>>,
    stalled: Stalled,
}

/// True once a client accepted no bytes of its session within the write timeout. The response
/// carries it, so that the sender of the body can set it.
#[derive(Clone, Default)]
pub(crate) struct Stalled(Rc<Cell<bool>>);

impl Stalled {
    /// Notes that the write timeout has passed.
    pub(crate) fn note(&self) {
        self.0.set(true);
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        if self.stalled.0.get()
            && let Some(subscription) = &self.subscription
        {
            subscription.close_for_write_timeout();
        }
    }
}

impl EventBody {
    pub(crate) fn new(
        subscription: Subscription,
        socket: Option<Rc<SessionSocket>>,
        ends_connection: Option<Rc<SessionSocket>>,
        stalled: Stalled,
    ) -> Self {
        Self { subscription: Some(subscription), socket, ends_connection, stalled }
    }
}

impl MessageBody for EventBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(socket) = self.socket.take()
            && let Some(subscription) = self.subscription.take()
        {
            socket.schedule_takeover(subscription);
        }
        let this = &mut *self;
        match &mut this.subscription {
            Some(subscription) => match subscription.poll_next(cx) {
                Poll::Ready(None) if subscription.is_truncated() => {
                    if let Some(connection) = &this.ends_connection {
                        connection.reset_at_end();
                    }
                    let why = "the session was closed before all events were sent";
                    Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))))
                }
                polled => polled.map(|bytes| bytes.map(Ok)),
            },
            // The session takes over the socket. Nothing wakes this body again.
            None => Poll::Pending,
        }
    }
}
