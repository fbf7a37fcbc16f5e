//! Runs that a stop of the hub interrupted.

use super::exit::{ExitReason, JobExit, exit_items};
use crate::event::StreamName;
use crate::journal::{History, JournalError, PublishError, Publisher, StreamView};
use crate::source::own_streams::{JOB_PREFIX, NodeName};
use crate::source::publish_with_retry::publish_with_retry;

/// Number of streams that are listed in one page.
const PAGE: usize = 500;

/// Ends the streams of runs that were left open because the hub `node` ended before them, as soon as the
/// journal accepts that.
pub fn end_orphaned_runs(
    history: &History,
    publisher: &Publisher,
    node: &NodeName,
) -> Result<(), JournalError> {
    let mut after: Option<StreamName> = None;
    loop {
        let page =
            history.list(JOB_PREFIX, after.as_ref().map(StreamName::as_str), PAGE, |_| true)?;
        let is_own_and_open = |stream: &StreamName, view: &StreamView| {
            !view.ended && stream.as_str().rsplit('.').next().is_some_and(|run| node.has_run(run))
        };
        let open = page.streams.iter().filter(|(stream, view)| is_own_and_open(stream, view));
        for (stream, _) in open {
            tracing::warn!(%stream, "the hub stopped before this job run ended");
            let (stream, publisher) = (stream.clone(), publisher.clone());
            let exit = JobExit::without_status(ExitReason::HubRestarted, None);
            let items = exit_items(&stream, &exit);
            tokio::spawn(async move {
                match publish_with_retry(&publisher, items, |_| {}).await {
                    // Another hub of the cluster was faster.
                    Ok(()) | Err(PublishError::Refused(_)) => {}
                    Err(error) => tracing::error!(%stream, %error, "failed to end a job run"),
                }
            });
        }
        let last = page.streams.last().filter(|_| page.streams.len() == PAGE);
        after = page.stopped_at.or_else(|| last.map(|(stream, _)| stream.clone()));
        if after.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::event;
    use super::*;
    use crate::journal::memory_journal;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn open_runs_get_an_exit_and_their_end() {
        let journal = memory_journal(1 << 20);
        let stream = StreamName::parse("jobs.backup.20260101T000000Z-1").expect("a name");
        let other = StreamName::parse("jobs").expect("a name");
        for stream in [&stream, &other] {
            let start = event(stream, "start", &"x").expect("an event");
            journal.publisher.publish(vec![start], 1).await.expect("published");
        }
        end_orphaned_runs(&journal.history, &journal.publisher, &NodeName::default())
            .expect("reads");
        let view = |stream| journal.history.stream(stream).expect("reads").expect("a stream");
        let started = Instant::now();
        while !view(&stream).ended {
            assert!(started.elapsed() < Duration::from_secs(180), "the run gets no end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(view(&stream).published, 2, "its start and its exit");
        assert!(!view(&other).ended, "it is no run");
    }
}
