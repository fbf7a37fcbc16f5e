//! `fanfare publish`: publishes one event, or each line of standard input.

use super::client::{Client, Failure, Retries};
use super::outgoing::{BATCH_EVENTS, Event, publish_with_retry, refused_event_index, take_batch};
use super::progress::ProgressCounter;
use crate::event::{Line, LineSplitter, StreamName};
use crate::source::log_data;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Parts of standard input that wait for the hub; beyond that its writer waits.
const WAITING_PARTS: usize = 16;
const PART_BYTES: usize = 64 * 1024;
/// Maximum bytes of a line; the hub enforces its own, lower limit.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

pub(super) fn command() -> Command {
    Command::new("publish")
        .about("Publish an event, or each line of standard input as an event")
        .long_about(
            "Publishes DATA, or standard input without it, as one event and prints its id.\n\n\
             With --lines, each line of standard input is an event. Lines are published in \
             batches as they arrive. If the hub is unreachable, publishing is retried; no line is \
             published twice, because the hub remembers the key of each line for ten minutes. \
             With --key, an interrupted command can be run again within these ten minutes: lines \
             that are published already are not published again.",
        )
        .arg(
            Arg::new("stream")
                .value_name("STREAM")
                .required(true)
                .value_parser(parse_stream)
                .help("Stream to publish to"),
        )
        .arg(
            Arg::new("data")
                .value_name("DATA")
                .conflicts_with("lines")
                .help("Data of the event; without it, standard input"),
        )
        .arg(
            Arg::new("type")
                .long("type")
                .value_name("TYPE")
                .default_value("message")
                .help("Event type; with --lines and `log`, a line is the message of a log event"),
        )
        .arg(
            Arg::new("lines")
                .long("lines")
                .action(ArgAction::SetTrue)
                .help("Publish each line of standard input as an event"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Parse the data, or each line, as JSON"),
        )
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("KEY")
                .help("Idempotency key of the event; with --lines, prefix of the key of each line"),
        )
}

/// Parses the name of a stream.
pub(super) fn parse_stream(text: &str) -> Result<String, String> {
    StreamName::parse(text).map(|_| text.to_owned()).map_err(|invalid| invalid.detail)
}

pub(super) async fn run(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let stream = text("stream").unwrap_or_default();
    let kind = text("type").unwrap_or_default();
    if flags.get_flag("lines") {
        let key = text("key").unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let lines =
            Lines { stream: to_raw_value(&stream)?, kind, key, is_json: flags.get_flag("json") };
        return lines.publish(&client).await;
    }
    let data = match text("data") {
        Some(data) => data,
        None => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?,
    };
    publish_one(&client, &stream, &kind, data, flags.get_flag("json"), text("key")).await
}

async fn publish_one(
    client: &Client,
    stream: &str,
    kind: &str,
    data: String,
    is_json: bool,
    key: Option<String>,
) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Receipt {
        id: String,
    }
    let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (path, body) = if is_json {
        let data: Box<RawValue> =
            serde_json::from_str(&data).context("the data is not valid JSON")?;
        let streams = to_raw_value(stream)?;
        let key = key.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let event = Event { stream: &streams, kind, data: &data, encoding: None, key: &key };
        ("/publish".to_owned(), event.json()?)
    } else {
        (format!("/streams/{}/events?type={}", quoted(stream), quoted(kind)), data)
    };
    let mut request = client.request(Method::POST, &path).body(body);
    if let Some(key) = &key
        && !is_json
    {
        request = request.header("idempotency-key", key);
    }
    let answer = client.send(request).await?;
    let receipt = answer.bytes().await.map_err(|error| client.connection_failure(error))?;
    let Receipt { id } =
        serde_json::from_slice(&receipt).context("the response of the hub is not a receipt")?;
    writeln!(std::io::stdout(), "{id}")?;
    Ok(())
}

/// Conversion of lines to events.
struct Lines {
    stream: Box<RawValue>,
    kind: String,
    key: String,
    is_json: bool,
}

impl Lines {
    async fn publish(&self, client: &Client) -> anyhow::Result<()> {
        let mut parts = standard_input()?;
        let mut batcher = LineBatcher::of(self);
        let (mut progress, mut pauses) = (ProgressCounter::new("lines"), Retries::new());
        let mut has_more = true;
        while has_more {
            match parts.recv().await {
                Some(part) => batcher.feed(&part.context("cannot read standard input")?),
                None => {
                    batcher.finish();
                    has_more = false;
                }
            }
            // Add input that arrived meanwhile, up to a batch.
            while batcher.pending.len() < BATCH_EVENTS
                && let Ok(part) = parts.try_recv()
            {
                batcher.feed(&part.context("cannot read standard input")?);
            }
            while !batcher.pending.is_empty() {
                let batch = take_batch(&mut batcher.pending);
                let sent = publish_with_retry(client, &batch, &mut pauses).await;
                sent.map_err(|failure| at_line(failure, progress.count()))?;
                progress.add(batch.len());
            }
            if let Some(error) = batcher.error {
                return Err(error);
            }
        }
        progress.finish();
        if batcher.replaced > 0 {
            let lines = batcher.replaced;
            super::print_message(&format!("replaced invalid UTF-8 in {lines} lines"));
        }
        Ok(())
    }

    fn event(&self, number: u64, line: &str) -> anyhow::Result<String> {
        let data = if self.is_json {
            RawValue::from_string(line.to_owned())
                .with_context(|| format!("line {number} is not valid JSON"))?
        } else if self.kind == "log" {
            to_raw_value(&log_data(line, None))?
        } else {
            to_raw_value(line)?
        };
        let key = format!("{}:{number}", self.key);
        Event { stream: &self.stream, kind: &self.kind, data: &data, encoding: None, key: &key }
            .json()
    }
}

/// Lines that were read and converted to events.
struct LineBatcher<'a> {
    lines: &'a Lines,
    splitter: LineSplitter,
    pending: VecDeque<String>,
    count: u64,
    replaced: u64,
    /// Error of the first invalid line; no line after it is converted.
    error: Option<anyhow::Error>,
}

impl<'a> LineBatcher<'a> {
    fn of(lines: &'a Lines) -> Self {
        let (splitter, pending) = (LineSplitter::new(MAX_LINE_BYTES), VecDeque::new());
        Self { lines, splitter, pending, count: 0, replaced: 0, error: None }
    }

    fn feed(&mut self, part: &[u8]) {
        self.with(|splitter, take| splitter.feed(part, take));
    }

    fn finish(&mut self) {
        self.with(|splitter, take| splitter.finish(take));
    }

    fn with(&mut self, read: impl FnOnce(&mut LineSplitter, &mut dyn FnMut(Line<'_>))) {
        let Self { lines, splitter, pending, count, replaced, error } = self;
        read(splitter, &mut |line| {
            if error.is_some() {
                return;
            }
            *count += 1;
            *replaced += u64::from(line.is_replaced());
            match lines.event(*count, &line.text) {
                Ok(event) => pending.push_back(event),
                Err(why) => *error = Some(why),
            }
        });
    }
}

/// Adds to a refusal the line that caused it; `published` lines were published before it.
fn at_line(failure: Failure, published: u64) -> anyhow::Error {
    match refused_event_index(&failure) {
        Some(at) => {
            let line = published + at as u64 + 1;
            anyhow::Error::new(failure)
                .context(format!("cannot publish line {line} ({published} lines were published)"))
        }
        None => failure.into(),
    }
}

/// Reads standard input on a separate thread.
fn standard_input() -> anyhow::Result<mpsc::Receiver<std::io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel(WAITING_PARTS);
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut part = vec![0; PART_BYTES];
            let part = match stdin.read(&mut part) {
                Ok(0) => return,
                Ok(count) => {
                    part.truncate(count);
                    Ok(part)
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = part.is_err();
            if sender.blocking_send(part).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}
