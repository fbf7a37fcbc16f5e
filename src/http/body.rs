//! The body of a subscription.

use crate::hub::Subscription;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A subscription as actix wants it: endless, in chunks.
pub(super) struct EventBody(pub(super) Subscription);

impl MessageBody for EventBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.0.poll_next(cx).map(|bytes| bytes.map(Ok))
    }
}
