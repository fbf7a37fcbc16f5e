//! Response body of a chat's reader: a session's records in the requested format.

use crate::http::api::event_body::EventBody;
use crate::source::ChatReader;
use crate::wire::chat::ResponseFormat;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Number of converted bytes that are gathered before they are sent.
const GATHERED_BYTES: usize = 32 * 1024;

/// The body of a session, converted to a format of chats.
pub(crate) struct ChatBody {
    session: EventBody,
    format: ResponseFormat,
    reader: ChatReader,
    out: Vec<u8>,
    is_over: bool,
    /// True once the end of the chat was sent to the reader.
    has_all: bool,
}

impl ChatBody {
    pub(crate) fn new(session: EventBody, format: ResponseFormat, reader: ChatReader) -> Self {
        Self { session, format, reader, out: Vec::new(), is_over: false, has_all: false }
    }

    fn take_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).into())
    }
}

impl MessageBody for ChatBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                // All earlier output has been taken.
                if this.has_all {
                    this.reader.acknowledge_all();
                }
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.session).poll_next(cx) {
                Poll::Ready(Some(Ok(records))) => {
                    this.format.take(&records, &mut this.out);
                    if this.out.len() < GATHERED_BYTES {
                        continue;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    this.is_over = true;
                    this.format.flush(&mut this.out);
                    this.has_all = this.format.has_ended();
                    this.format.close(&mut this.out);
                }
                Poll::Pending => {
                    // More may still come from the disk, but output that is ready is sent now.
                    this.format.flush(&mut this.out);
                    let output = this.take_output();
                    return output.map_or(Poll::Pending, |output| Poll::Ready(Some(Ok(output))));
                }
            }
            if let Some(output) = this.take_output() {
                return Poll::Ready(Some(Ok(output)));
            }
        }
    }
}
