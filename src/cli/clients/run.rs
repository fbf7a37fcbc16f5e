//! `fanfare run`: runs a command locally, shows its output, and publishes it line by line.
//!
//! Promises: exits with the status of the command; an unreachable hub never blocks the command;
//! events that could not be published are left in a file, which is reported.

use super::client::{Client, Failure, Retries};
use super::command::{Signals, relay_output, start};
use super::outgoing::{Event, publish, refused_event_index, take_batch};
use super::publish::parse_stream;
use super::spool::Spool;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use uuid::Uuid;

/// Default time to wait for an unreachable hub after the command has exited.
const DEFAULT_WAIT: &str = "30s";
/// Exit statuses of a shell if a command is not found, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Run a local command and publish its output line by line")
        .long_about(
            "Runs a command, shows its output, and publishes each line of it as a `log` event, \
             with an `exit` event at the end. The exit status is that of the command, or 128 plus \
             the signal that ended it. While the hub is unreachable, lines are queued in memory, \
             and beyond 8 MiB on disk.",
        )
        .arg(
            Arg::new("stream")
                .long("stream")
                .value_name("STREAM")
                .required(true)
                .value_parser(parse_stream)
                .help("Stream to publish to"),
        )
        .arg(
            Arg::new("end")
                .long("end")
                .action(ArgAction::SetTrue)
                .help("End the stream when the command exits"),
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("DURATION")
                .default_value(DEFAULT_WAIT)
                .value_parser(clap::builder::ValueParser::new(crate::config::duration))
                .help("Maximum time to wait for an unreachable hub after the command exits"),
        )
        .arg(
            Arg::new("spool")
                .long("spool")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Folder for unpublished events; without it, that of temporary files"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .last(true)
                .required(true)
                .num_args(1..)
                .value_parser(clap::value_parser!(OsString))
                .help("Command and its arguments"),
        )
}

pub(super) async fn run(flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let client = Client::of(flags)?;
    let stream = flags.get_one::<String>("stream").cloned().unwrap_or_default();
    let command: Vec<OsString> = flags.get_many("command").unwrap_or_default().cloned().collect();
    let started = Instant::now();
    let mut child = match start(&command) {
        Ok(child) => child,
        Err(error) => {
            super::print_message(&format!("{}: {error}", command[0].display()));
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if is_missing { NOT_FOUND } else { NOT_RUNNABLE }));
        }
    };
    let spool = Arc::new(OutputSpool {
        stream: to_raw_value(&stream)?,
        key: Uuid::new_v4().simple().to_string(),
        state: Mutex::default(),
        changed: Notify::new(),
    });
    let mut sending = tokio::spawn(send(client.clone(), spool.clone()));
    let status = relay_output(&mut child, &spool).await?;
    spool.push("exit", &to_raw_value(&Exit::of(status, started.elapsed()))?);
    spool.close();
    let wait = flags.get_one::<Duration>("wait").copied().unwrap_or_default();
    let mut signals = Signals::new()?;
    let sent = tokio::select! {
        sent = &mut sending => sent?,
        () = tokio::time::sleep(wait) => Err(anyhow::anyhow!("the hub was unreachable")),
        () = signals.any() => Err(anyhow::anyhow!("interrupted while the hub was unreachable")),
    };
    // Stop sending before the unpublished events are written to a file.
    sending.abort();
    // Failures from here on are reported, but the exit status is that of the command.
    let done = match sent {
        Ok(()) if flags.get_flag("end") => end_within(wait, &client, &stream).await,
        Ok(()) => Ok(()),
        Err(why) => spool.write_unpublished(flags.get_one::<PathBuf>("spool"), &why),
    };
    if let Err(why) = done {
        super::print_message(&format!("{why:#}"));
    }
    spool.report_lost_events();
    Ok(exit_code(status))
}

/// Output of the command, queued for the hub.
pub(super) struct OutputSpool {
    stream: Box<RawValue>,
    /// Prefix of every idempotency key.
    key: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    spool: Spool,
    /// Number of events so far.
    count: u64,
    /// Events that are being published.
    in_flight: Vec<String>,
    /// Events that could not be queued, or that the hub refused.
    lost: u64,
    loss_reason: Option<String>,
    is_closed: bool,
}

impl OutputSpool {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues an event. An event that cannot be queued is lost; the command continues.
    pub(super) fn push(&self, kind: &str, data: &RawValue) {
        self.with(|state| {
            state.count += 1;
            let key = format!("{}:{}", self.key, state.count);
            let event =
                Event { stream: &self.stream, kind, data, encoding: None, key: &key }.json();
            let queued = event.and_then(|event| {
                state.spool.push(event).context("cannot write the queue of events to disk")
            });
            if let Err(why) = queued {
                state.record_loss(1, &why.to_string());
            }
        });
        self.changed.notify_one();
    }

    fn report_lost_events(&self) {
        self.with(|state| {
            if state.lost > 0 {
                let (lost, why) = (state.lost, state.loss_reason.as_deref().unwrap_or_default());
                super::print_message(&format!("{lost} events are lost: {why}"));
            }
        });
    }

    fn close(&self) {
        self.with(|state| state.is_closed = true);
        self.changed.notify_one();
    }

    /// Writes the unpublished events to a file.
    fn write_unpublished(
        &self,
        folder: Option<&PathBuf>,
        why: &anyhow::Error,
    ) -> anyhow::Result<()> {
        let folder = folder.cloned().unwrap_or_else(std::env::temp_dir);
        let path = folder.join(format!("fanfare-run-{}.ndjson", self.key));
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let mut file = std::io::BufWriter::new(file);
        let lines = self.with(|state| {
            let mut lines = 0_u64;
            let mut batch = std::mem::take(&mut state.in_flight);
            while !batch.is_empty() {
                for event in &batch {
                    writeln!(file, "{event}")?;
                    lines += 1;
                }
                batch = state.spool.take(take_batch)?;
            }
            file.flush().map(|()| lines)
        })?;
        let path = path.display();
        super::print_message(&format!(
            "{lines} events were not published ({why:#}); publish them with `fanfare import {path}`"
        ));
        Ok(())
    }
}

/// Publishes the queued events until the queue is closed and empty.
async fn send(client: Client, spool: Arc<OutputSpool>) -> anyhow::Result<()> {
    let mut pauses = Retries::new();
    loop {
        let is_closed = spool.with(|state| {
            if state.in_flight.is_empty() {
                state.in_flight = state.spool.take(take_batch)?;
            }
            Ok::<_, std::io::Error>(state.is_closed)
        })?;
        let batch = spool.with(|state| state.in_flight.clone());
        if batch.is_empty() {
            if is_closed {
                return Ok(());
            }
            spool.changed.notified().await;
            continue;
        }
        match publish(&client, &batch).await {
            Ok(_) => {
                pauses.reset();
                spool.with(|state| state.in_flight.clear());
            }
            // The hub refused one of them; the others are sent without it.
            Err(failure) => match refused_event_index(&failure).filter(|at| *at < batch.len()) {
                Some(at) => spool.with(|state| {
                    if at < state.in_flight.len() {
                        state.in_flight.remove(at);
                        state.record_loss(1, &failure.to_string());
                    }
                }),
                None => pauses.after(failure).await?,
            },
        }
    }
}

impl State {
    fn record_loss(&mut self, events: u64, why: &str) {
        self.lost += events;
        self.loss_reason.get_or_insert_with(|| why.to_owned());
    }
}

/// Ends the stream, with retries for at most `wait`.
async fn end_within(wait: Duration, client: &Client, stream: &str) -> anyhow::Result<()> {
    let mut pauses = Retries::new();
    let ended = tokio::time::timeout(wait, async {
        loop {
            match end(client, stream).await {
                Ok(()) => return Ok(()),
                Err(failure) => pauses.after(failure).await?,
            }
        }
    });
    let ended: Result<Result<(), Failure>, _> = ended.await;
    ended.map_err(|_| anyhow::anyhow!("cannot end the stream: the hub was unreachable"))??;
    Ok(())
}

/// Ends the stream. If the hub refuses that, the stream stays open and a message reports it.
async fn end(client: &Client, stream: &str) -> Result<(), Failure> {
    let name = utf8_percent_encode(stream, NON_ALPHANUMERIC);
    let request = client.request(Method::POST, &format!("/streams/{name}/end"));
    match client.send(request).await {
        Err(Failure::Refused { why, .. }) => {
            eprintln!("fanfare: cannot end the stream: {why}");
            Ok(())
        }
        sent => sent.map(drop),
    }
}

/// Exit status of the command: the data of the last event.
#[derive(Serialize)]
struct Exit {
    code: Option<i32>,
    signal: Option<i32>,
    duration_ms: u64,
}

impl Exit {
    fn of(status: ExitStatus, duration: Duration) -> Self {
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { code: status.code(), signal: status.signal(), duration_ms }
    }
}

/// Returns the exit code that a shell would use.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
