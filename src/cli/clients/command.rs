//! Runs a command locally: its output is shown unchanged, and published line by line.
//!
//! Promises: a slow reader of the shown output blocks the command, as a pipe does, and loses no
//! line; a signal that would end this process is left to the command.

use super::run::OutputSpool;
use crate::event::LineSplitter;
use crate::source::{Output, Unbuffered, log_data, shown_line};
use serde_json::value::to_raw_value;
use std::ffi::OsString;
use std::io::Write;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Starts the command with its output piped to this process.
pub(super) fn start(command: &[OsString]) -> std::io::Result<Child> {
    tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .unbuffered()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Shows and publishes the child's output until it exits. SIGTERM is forwarded to the child; an
/// interrupt from the terminal reaches it anyway.
pub(super) async fn relay_output(
    child: &mut Child,
    spool: &Arc<OutputSpool>,
) -> anyhow::Result<ExitStatus> {
    let (ended, is_over) = watch::channel(false);
    let out = child.stdout.take().map(|out| Output::new(out, is_over.clone()));
    let err = child.stderr.take().map(|err| Output::new(err, is_over));
    let copying = [
        out.map(|out| tokio::spawn(copy(out, "stdout", spool.clone()))),
        err.map(|err| tokio::spawn(copy(err, "stderr", spool.clone()))),
    ];
    let mut signals = Signals::new()?;
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => if let Some(id) = id {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            },
        }
    };
    ended.send_replace(true);
    for output in copying.into_iter().flatten() {
        output.await??;
    }
    Ok(status)
}

/// Parts of an output that wait to be shown; beyond that the command waits, as on a full pipe.
const WAITING_PARTS: usize = 16;

async fn copy(
    mut output: Output<impl AsyncRead + Unpin>,
    source: &'static str,
    spool: Arc<OutputSpool>,
) -> anyhow::Result<()> {
    let mut splitter = LineSplitter::default();
    // On a separate thread, because the reader of the output may be slow.
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(WAITING_PARTS);
    let display = tokio::task::spawn_blocking(move || {
        while let Some(part) = receiver.blocking_recv() {
            // Publishing continues even if the reader of the output is gone.
            let _ = match source {
                "stdout" => {
                    std::io::stdout().write_all(&part).and_then(|()| std::io::stdout().flush())
                }
                _ => std::io::stderr().write_all(&part),
            };
        }
    });
    loop {
        let part = output.next().await.to_vec();
        let mut take = |line: crate::event::Line<'_>| {
            if let Ok(data) = to_raw_value(&log_data(shown_line(&line.text), Some(source))) {
                spool.push("log", &data);
            }
        };
        if part.is_empty() {
            splitter.finish(&mut take)
        } else {
            splitter.feed(&part, &mut take)
        }
        if part.is_empty() {
            break;
        }
        let _ = sender.send(part).await;
    }
    drop(sender);
    Ok(display.await?)
}

/// Signals that end this process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
