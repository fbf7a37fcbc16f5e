//! The body of a subscription.

use super::socket::Shared;
use crate::hub::Subscription;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A subscription as actix wants it: endless, in chunks. Where it may have the socket for itself it
/// takes that at once, and actix is asked for nothing more.
pub(super) struct EventBody {
    subscription: Option<Subscription>,
    socket: Option<Rc<Shared>>,
}

impl EventBody {
    pub(super) fn new(subscription: Subscription, socket: Option<Rc<Shared>>) -> Self {
        Self { subscription: Some(subscription), socket }
    }
}

impl MessageBody for EventBody {
    type Error = Infallible;

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
            socket.hand_over(subscription);
        }
        match &mut self.subscription {
            Some(subscription) => subscription.poll_next(cx).map(|bytes| bytes.map(Ok)),
            // The socket is the session's from here on; nobody wakes this any more.
            None => Poll::Pending,
        }
    }
}
