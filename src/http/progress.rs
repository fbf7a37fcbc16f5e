//! How far a download is, as `progress` events.

use super::files::Download;
use super::publish::{Who, hand_in_for};
use super::server::Hub;
use crate::event::{Draft, EventType, StreamName};
use crate::journal::now;
use crate::telemetry::Telemetry;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Events are so far apart at least: ten a second.
const EVERY: Duration = Duration::from_millis(100);
/// Whoever watches waits for the last of them: it is tried so often, a rate or a full queue between.
const TRIES_OF_LAST: usize = 30;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Sending,
    Done,
    Aborted,
}

#[derive(Serialize)]
struct Told<'a> {
    file: &'a str,
    state: State,
    /// Bytes of the file up to where it is: of a part, with those before it.
    bytes_sent: u64,
    total_size: u64,
    percentage: f64,
}

/// Tells a stream how far a download is. The last of it is told when this is dropped.
pub(super) struct Progress {
    at: watch::Sender<(State, u64)>,
    until: u64,
}

impl Progress {
    /// Begins to tell of a response that was not sent yet.
    pub(super) fn begin(
        hub: Data<Hub>,
        who: Who,
        (stream, file): (StreamName, String),
        response: &HttpResponse<BoxBody>,
    ) -> Self {
        let size = match response.body().size() {
            BodySize::Sized(size) => size,
            _ => 0,
        };
        let part = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
        let (first, total) = part.and_then(first_and_total).unwrap_or((0, size));
        let state = if size == 0 { State::Done } else { State::Sending };
        let (at, told) = watch::channel((state, first));
        actix_web::rt::spawn(tell(hub, who, (stream, file, total), told));
        Self { at, until: first + size }
    }

    fn sent(&self, bytes: u64) {
        self.at.send_modify(|(state, at)| {
            *at += bytes;
            if *at >= self.until {
                *state = State::Done;
            }
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.at.send_if_modified(|(state, _)| {
            let is_short = *state == State::Sending;
            if is_short {
                *state = State::Aborted;
            }
            is_short
        });
    }
}

/// What `bytes 5-9/100` says: where it begins, and of how many.
fn first_and_total(range: &str) -> Option<(u64, u64)> {
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// Tells whatever is newest, until there is nothing more to tell. What cannot be published is left out,
/// but for the last: a download waits for no journal.
async fn tell(
    hub: Data<Hub>,
    who: Who,
    (stream, file, total): (StreamName, String, u64),
    mut at: watch::Receiver<(State, u64)>,
) {
    let Ok(kind) = EventType::parse("progress") else { return };
    loop {
        let (state, bytes_sent) = *at.borrow_and_update();
        let percentage = match total {
            0 => 100.0,
            total => (bytes_sent as f64 * 1000.0 / total as f64).floor() / 10.0,
        };
        let told = Told { file: &file, state, bytes_sent, total_size: total, percentage };
        let draft = to_raw_value(&told).ok().and_then(|data| {
            Draft::from_json(vec![stream.clone()], kind.clone(), &data, now()).ok()
        });
        let bytes = file.len();
        let began = Instant::now();
        let Some(draft) = draft else { return };
        let is_last = state != State::Sending;
        for _ in 0..if is_last { TRIES_OF_LAST } else { 1 } {
            let told = hand_in_for(&hub, &who, vec![draft.clone()], (bytes, began)).await;
            if told.is_ok() || !is_last {
                break;
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        if is_last {
            return;
        }
        tokio::time::sleep_until((began + EVERY).into()).await;
        // Its sender is gone only once the last was told to us.
        if at.changed().await.is_err() && at.borrow().0 == State::Sending {
            return;
        }
    }
}

/// A body whose bytes are counted as the connection takes them.
pub(super) struct Counted {
    body: BoxBody,
    progress: Option<Progress>,
    telemetry: Telemetry,
    _place: Download,
}

impl Counted {
    pub(super) fn new(
        body: BoxBody,
        progress: Option<Progress>,
        telemetry: Telemetry,
        place: Download,
    ) -> Self {
        Self { body, progress, telemetry, _place: place }
    }
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            let count = bytes.len() as u64;
            self.telemetry.file_bytes(count);
            if let Some(progress) = &self.progress {
                progress.sent(count);
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(first_and_total("bytes 5-9/100"), Some((5, 100)));
        for none in ["bytes */100", "lines 1-2/3", "bytes 1-2", ""] {
            assert_eq!(first_and_total(none), None, "{none}");
        }
    }
}
