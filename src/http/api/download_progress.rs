//! Progress of a download, as `progress` events.

use crate::event::{Draft, EventType, StreamName};
use crate::http::ingest::{PublishSource, ingest};
use crate::http::limits::Download;
use crate::http::state::AppState;
use crate::journal::now;
use crate::limits::QuotaOwner;
use crate::telemetry::Protocol;
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

/// Minimum time between two events of a download.
const INTERVAL: Duration = Duration::from_millis(100);
/// Attempts to publish the last event, as a rate or a full queue may refuse it.
const LAST_EVENT_ATTEMPTS: usize = 30;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// State of a download.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Sending,
    Done,
    Aborted,
}

#[derive(Serialize)]
struct ProgressData<'a> {
    file: &'a str,
    #[serde(rename = "state")]
    status: Status,
    /// Offset in the file: for a part, the bytes before it are included.
    bytes_sent: u64,
    total_size: u64,
    percentage: f64,
}

/// Stream that receives the progress of a download, and the name of the file in its events.
pub(crate) struct ProgressTarget {
    pub(crate) owner: QuotaOwner,
    pub(crate) stream: StreamName,
    pub(crate) file: String,
}

/// Reports a download to a stream; dropping it publishes the last event.
pub(crate) struct DownloadProgress {
    at: watch::Sender<(Status, u64)>,
    until: u64,
}

impl DownloadProgress {
    /// Starts to report a response that has not been sent yet.
    pub(crate) fn begin(
        state: Data<AppState>,
        target: ProgressTarget,
        response: &HttpResponse<BoxBody>,
    ) -> Self {
        let size = match response.body().size() {
            BodySize::Sized(size) => size,
            _ => 0,
        };
        let part = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
        let (first, total) = part.and_then(first_and_total).unwrap_or((0, size));
        let status = if size == 0 { Status::Done } else { Status::Sending };
        let (sender, receiver) = watch::channel((status, first));
        actix_web::rt::spawn(publish_progress(state, target, total, receiver));
        Self { at: sender, until: first + size }
    }

    fn sent(&self, bytes: u64) {
        self.at.send_modify(|(status, at)| {
            *at += bytes;
            if *at >= self.until {
                *status = Status::Done;
            }
        });
    }
}

impl Drop for DownloadProgress {
    fn drop(&mut self) {
        self.at.send_if_modified(|(status, _)| {
            let is_aborted = *status == Status::Sending;
            if is_aborted {
                *status = Status::Aborted;
            }
            is_aborted
        });
    }
}

/// Returns the first byte and the total of a `Content-Range`, such as `bytes 5-9/100`.
fn first_and_total(range: &str) -> Option<(u64, u64)> {
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// Publishes the newest state until the download ends. A refused event is skipped unless it is the
/// last one, because a download does not wait for the journal.
async fn publish_progress(
    state: Data<AppState>,
    target: ProgressTarget,
    total_size: u64,
    mut at: watch::Receiver<(Status, u64)>,
) {
    let Ok(kind) = EventType::parse("progress") else { return };
    let ProgressTarget { owner, stream, file } = target;
    loop {
        let (status, bytes_sent) = *at.borrow_and_update();
        let percentage = match total_size {
            0 => 100.0,
            total => (bytes_sent as f64 * 1000.0 / total as f64).floor() / 10.0,
        };
        let data = ProgressData { file: &file, status, bytes_sent, total_size, percentage };
        let draft = to_raw_value(&data).ok().and_then(|data| {
            Draft::from_json(vec![stream.clone()], kind.clone(), &data, now()).ok()
        });
        let started = Instant::now();
        let Some(draft) = draft else { return };
        let is_last = status != Status::Sending;
        for _ in 0..if is_last { LAST_EVENT_ATTEMPTS } else { 1 } {
            let (body_bytes, protocol) = (file.len(), Protocol::Native);
            let source = PublishSource { owner: &owner, body_bytes, started, protocol };
            if ingest(&state, source, vec![draft.clone()]).await.is_ok() || !is_last {
                break;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        if is_last {
            return;
        }
        tokio::time::sleep_until((started + INTERVAL).into()).await;
        // The sender is gone only after the last state was sent.
        if at.changed().await.is_err() && at.borrow().0 == Status::Sending {
            return;
        }
    }
}

/// A body whose bytes are counted as the connection takes them.
pub(crate) struct MeteredBody {
    body: BoxBody,
    progress: Option<DownloadProgress>,
    telemetry: Telemetry,
    _permit: Download,
}

impl MeteredBody {
    pub(crate) fn new(
        body: BoxBody,
        progress: Option<DownloadProgress>,
        telemetry: Telemetry,
        permit: Download,
    ) -> Self {
        Self { body, progress, telemetry, _permit: permit }
    }
}

impl MessageBody for MeteredBody {
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
    fn content_range_is_parsed() {
        assert_eq!(first_and_total("bytes 5-9/100"), Some((5, 100)));
        for none in ["bytes */100", "lines 1-2/3", "bytes 1-2", ""] {
            assert_eq!(first_and_total(none), None, "{none}");
        }
    }
}
