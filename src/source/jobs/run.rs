//! A run of a job: its command, its output, and its end.
//!
//! Promises: a line that was read is published, however long the journal refuses it, unless the
//! journal accepts nothing until a restart; meanwhile the command blocks on its pipe. A command
//! that does not end after TERM is killed with the processes that it started.

use super::exit::{ExitReason, JobExit, event, exit_items, publish_items};
use super::spec::JobSpec;
use crate::event::{Line, LineSplitter, StreamName};
use crate::journal::{Item, Publisher};
use crate::source::output::{OUTPUT_WITHIN, Output, log_data, shown_line};
use futures_util::future::join_all;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Maximum number of lines that wait for the journal; beyond it the command blocks on its pipe.
const MAX_WAITING_LINES: usize = 1_024;
/// Maximum number of lines in one commit.
const MAX_LINES_PER_COMMIT: usize = 256;

/// Request to stop a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Reason of the stop.
    pub(super) reason: ExitReason,
    /// Maximum time between TERM and KILL, if it is less than the job's setting.
    pub(super) within: Option<Duration>,
}

/// Receiver of the stop request of a run.
pub(super) type StopReceiver = watch::Receiver<Option<Stop>>;

/// The run that a command belongs to, and the stream that it is published on.
#[derive(Clone, Copy)]
pub(super) struct RunTarget<'a> {
    pub(super) run: &'a str,
    pub(super) stream: &'a StreamName,
    pub(super) publisher: &'a Publisher,
}

/// Runs a job, and publishes its output and its end. Stores the process group of the command in
/// `group`.
pub(super) async fn run(
    spec: &JobSpec,
    target: RunTarget<'_>,
    stop: StopReceiver,
    group: &OnceLock<Pid>,
) -> JobExit {
    let RunTarget { run, stream, publisher } = target;
    let began = Instant::now();
    // The run may have been stopped before its command is started.
    let before = stop.borrow().map(|stop| stop.reason);
    if let Some(reason) = before {
        drop(stop);
        let exit = JobExit::without_status(reason, Some("stopped before it started".into()));
        publish_items(publisher, stream, exit_items(stream, &exit)).await;
        return exit;
    }
    let exit = match spec.start(run, stream.as_str()) {
        Ok(child) => {
            if let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = group.set(id);
            }
            let ended = follow(spec, child, group.get().copied(), target, stop).await;
            let took = ended.at.saturating_duration_since(began);
            match ended.status {
                Ok(status) => JobExit::of(status, took, ended.stopped),
                Err(error) => {
                    JobExit::without_status(ExitReason::NotStarted, Some(error.to_string()))
                }
            }
        }
        Err(error) => {
            drop(stop);
            let program = spec.command.first().map_or("", String::as_str);
            let why = format!("{program}: {error}");
            JobExit::without_status(ExitReason::NotStarted, Some(why))
        }
    };
    publish_items(publisher, stream, exit_items(stream, &exit)).await;
    exit
}

/// Exit status of a command, the time of its end, and whether it was stopped.
struct RunEnd {
    status: std::io::Result<ExitStatus>,
    at: Instant,
    stopped: Option<ExitReason>,
}

/// Publishes the output of a command. Returns once the command has ended and all output is
/// published.
async fn follow(
    spec: &JobSpec,
    mut child: Child,
    group: Option<Pid>,
    target: RunTarget<'_>,
    stop: StopReceiver,
) -> RunEnd {
    let RunTarget { stream, publisher, .. } = target;
    let (lines, waiting) = mpsc::channel(MAX_WAITING_LINES);
    let (ended, is_over) = watch::channel(false);
    let out = child.stdout.take().map(|out| read(out, "stdout", stream, &lines, &is_over));
    let err = child.stderr.take().map(|err| read(err, "stderr", stream, &lines, &is_over));
    drop(lines);
    let publishing = tokio::spawn(publish_lines(waiting, publisher.clone(), stream.clone()));
    // The process id stays in use until the child is reaped, so no other process group can get it
    // before.
    let stopped = end_in_time(spec, &mut child, group, stop).await;
    let at = Instant::now();
    let mut reading = std::pin::pin!(join_all([out, err].into_iter().flatten()));
    let is_read = timeout(OUTPUT_WITHIN, &mut reading).await.is_ok();
    // Processes that it started and left behind end with it.
    signal(group, Signal::KILL);
    let status = child.wait().await;
    if !is_read {
        // Reads the rest of the pipe, however long the journal takes for it.
        ended.send_replace(true);
        reading.await;
    }
    let _ = publishing.await;
    RunEnd { status, at, stopped }
}

/// Waits until a command has ended, and stops it on a timeout or a request. Returns the reason if
/// it was stopped. Does not reap the child.
async fn end_in_time(
    spec: &JobSpec,
    child: &mut Child,
    group: Option<Pid>,
    mut stop: StopReceiver,
) -> Option<ExitReason> {
    let mut ended = std::pin::pin!(wait_for_exit(child));
    let limit = async {
        match spec.timeout {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        () = &mut ended => return None,
        () = limit => ExitReason::Timeout,
        stop = wait_for_stop(&mut stop) => stop.reason,
    };
    let began = Instant::now();
    signal(group, Signal::TERM);
    loop {
        // A later request may allow less time than the job does, for example when the hub stops.
        let within = stop.borrow_and_update().and_then(|stop| stop.within);
        let within = within.map_or(spec.stop_after, |within| within.min(spec.stop_after));
        tokio::select! {
            () = &mut ended => return Some(reason),
            () = sleep(within.saturating_sub(began.elapsed())) => break,
            Ok(()) = stop.changed() => {}
        }
    }
    signal(group, Signal::KILL);
    ended.await;
    Some(reason)
}

/// Waits until a child has ended, without reaping it (waitid(2), WNOWAIT).
async fn wait_for_exit(child: &mut Child) {
    let Some(process) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let (sender, ended) = tokio::sync::oneshot::channel();
    let waits = move || {
        let _ = sender.send(retry_on_intr(|| waitid(WaitId::Pid(process), options)).is_ok());
    };
    // A dedicated thread: a run may take days, and the blocking pool of a worker has few threads.
    let started = std::thread::Builder::new().name("job".into()).spawn(waits);
    if started.is_err() || !matches!(ended.await, Ok(true)) {
        let _ = child.wait().await;
    }
}

/// Waits for a stop request; never returns if none can come.
async fn wait_for_stop(stop: &mut StopReceiver) -> Stop {
    let requested = stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop);
    match requested {
        Some(stop) => stop,
        None => std::future::pending().await,
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // A process group that is gone needs no signal.
        let _ = kill_process_group(group, signal);
    }
}

/// Sends the lines of an output to `lines` until its end.
fn read(
    from: impl AsyncRead + Unpin + Send + 'static,
    output: &'static str,
    stream: &StreamName,
    lines: &mpsc::Sender<Item>,
    is_over: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let (stream, lines) = (stream.clone(), lines.clone());
    let mut output_reader = Output::new(from, is_over.clone());
    tokio::spawn(async move {
        let mut splitter = LineSplitter::default();
        loop {
            let part = output_reader.next().await;
            let is_last = part.is_empty();
            for item in lines_of(part, &mut splitter, output, &stream) {
                if lines.send(item).await.is_err() {
                    return;
                }
            }
            if is_last {
                return;
            }
        }
    })
}

/// Returns the lines that `part` completes. An empty `part` is the end of the output, and completes
/// the last line.
fn lines_of(
    part: &[u8],
    splitter: &mut LineSplitter,
    output: &str,
    stream: &StreamName,
) -> Vec<Item> {
    let mut items = Vec::new();
    let mut take = |line: Line<'_>| {
        let data = log_data(shown_line(&line.text), Some(output));
        items.extend(event(stream, "log", &data));
    };
    if part.is_empty() {
        splitter.finish(&mut take)
    } else {
        splitter.feed(part, &mut take)
    }
    items
}

async fn publish_lines(
    mut waiting: mpsc::Receiver<Item>,
    publisher: Publisher,
    stream: StreamName,
) {
    let mut lines = Vec::new();
    while waiting.recv_many(&mut lines, MAX_LINES_PER_COMMIT).await > 0 {
        publish_items(&publisher, &stream, std::mem::take(&mut lines)).await;
    }
}
