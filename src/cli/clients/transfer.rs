//! `fanfare export` and `fanfare import`: copy history out of a hub and into another.

use super::client::{Client, Failure, Retries, wait_argument};
use super::outgoing::{Event, publish_with_retry, refused_event_index, take_batch};
use super::progress::ProgressCounter;
use super::tail::{query, selection};
use crate::event::StreamName;
use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::Duration;

/// Events that are read from a file ahead of publishing.
const READ_AHEAD: usize = 4_096;
/// Time without any bytes in the middle of an export after which the hub counts as unreachable.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn export_command() -> Command {
    let file = Arg::new("output").short('o').long("output").value_name("FILE");
    Command::new("export")
        .about("Write stored events to a file or to standard output")
        .long_about(
            "Writes all stored events of the streams, unless --from or --last selects some, and \
             exits after the newest event. The format ndjson, which `fanfare import` reads, is \
             resumed after a disconnect.",
        )
        .args(selection())
        .arg(file.help("File to write; without it, standard output"))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["ndjson", "csv", "text", "sse"])
                .default_value("ndjson")
                .help("Output format"),
        )
        .arg(
            Arg::new("columns")
                .long("columns")
                .value_name("LIST")
                .help("Members of the data that are columns of csv, separated by commas"),
        )
        .arg(wait_argument())
}

pub(super) fn import_command() -> Command {
    Command::new("import")
        .about("Publish the events of a `fanfare export`")
        .long_about(
            "Publishes the events of a file or of standard input, as `fanfare export` writes \
             them. The events get new ids and times from this hub; times within their data are \
             unchanged. Running it again within ten minutes publishes nothing twice. Events of \
             streams that only the hub itself can write are skipped and counted.",
        )
        .arg(
            Arg::new("input")
                .value_name("FILE")
                .help("File to read; without it, or with -, standard input"),
        )
        .arg(wait_argument())
}

pub(super) async fn export(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let text = |name: &str| flags.get_one::<String>(name).map_or("", String::as_str);
    let format = text("format");
    let mut query = format!("format={format}&control=off&follow=false&{}", query(flags));
    if flags.contains_id("columns") {
        let columns = utf8_percent_encode(text("columns"), NON_ALPHANUMERIC);
        query.push_str(&format!("&columns={columns}"));
    }
    let mut pauses = Retries::within_wait(flags);
    check_streams(&client, flags, &mut pauses).await?;
    let out: Box<dyn Write> = match flags.get_one::<String>("output") {
        Some(file) => Box::new(File::create(file).with_context(|| file.clone())?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut export = Export {
        out: BufWriter::new(out),
        partial_line: Vec::new(),
        last_id: None,
        progress: ProgressCounter::new(if format == "ndjson" { "events" } else { "bytes" }),
        by_line: format == "ndjson",
    };
    while let Err(failure) = export.connection(&client, &query, &mut pauses).await? {
        if !export.by_line && export.progress.count() > 0 {
            bail!("{failure}; an export as {format} cannot be resumed");
        }
        pauses.after(failure).await?;
    }
    export.out.flush()?;
    export.progress.finish();
    Ok(())
}

/// Fails if a stream that is given by name does not exist.
async fn check_streams(
    client: &Client,
    flags: &ArgMatches,
    pauses: &mut Retries,
) -> anyhow::Result<()> {
    let selectors = flags.get_many::<String>("streams").unwrap_or_default();
    for stream in selectors.filter(|selector| !selector.contains('*')) {
        let path = format!("/streams/{}", utf8_percent_encode(stream, NON_ALPHANUMERIC));
        let build = |client: &Client| client.request(Method::GET, &path);
        client.send_with_retry(build, pauses).await.with_context(|| format!("stream {stream}"))?;
    }
    Ok(())
}

struct Export {
    out: BufWriter<Box<dyn Write>>,
    /// Start of an incomplete line.
    partial_line: Vec<u8>,
    /// Id of the last line that was written.
    last_id: Option<String>,
    progress: ProgressCounter,
    by_line: bool,
}

impl Export {
    /// Reads one connection; returns the failure that ended it.
    async fn connection(
        &mut self,
        client: &Client,
        query: &str,
        pauses: &mut Retries,
    ) -> anyhow::Result<Result<(), Failure>> {
        let mut request = client.request(Method::GET, &format!("/events?refusal=status&{query}"));
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let mut answer = match client.send(request).await {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => return Ok(Ok(())),
            Ok(answer) => answer,
            Err(failure) => return Ok(Err(failure)),
        };
        pauses.reset();
        // If the hub resumes after another id than the requested one, events are missing.
        let from = answer.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        if let (Some(requested), Some(from)) = (&self.last_id, from)
            && requested != from
        {
            bail!("events after {requested} are no longer stored: the hub resumes after {from}");
        }
        self.partial_line.clear();
        loop {
            match tokio::time::timeout(READ_TIMEOUT, answer.chunk()).await {
                Ok(Ok(Some(part))) => self.take(&part)?,
                Ok(Ok(None)) => return Ok(Ok(())),
                Ok(Err(error)) => return Ok(Err(client.connection_failure(error))),
                Err(_) => {
                    let why = format!("no data received for {} s", READ_TIMEOUT.as_secs());
                    return Ok(Err(Failure::Unavailable { why, after: None }));
                }
            }
        }
    }

    fn take(&mut self, part: &[u8]) -> anyhow::Result<()> {
        if !self.by_line {
            self.progress.add(part.len());
            return Ok(self.out.write_all(part)?);
        }
        self.partial_line.extend_from_slice(part);
        let Some(end) = memchr::memrchr(b'\n', &self.partial_line) else { return Ok(()) };
        let complete = &self.partial_line[..=end];
        // An empty line is a heartbeat.
        let lines = complete.split_inclusive(|byte| *byte == b'\n').filter(|line| line.len() > 1);
        let (mut count, mut last) = (0, None);
        for line in lines {
            self.out.write_all(line)?;
            last = Some(line);
            count += 1;
        }
        if let Some(last) = last {
            let Line { id, .. } =
                serde_json::from_slice(last).context("not a line of an export")?;
            self.last_id = id;
        }
        self.progress.add(count);
        self.partial_line.drain(..=end);
        Ok(())
    }
}

/// A line of an export, or of the events that `fanfare run` could not publish.
#[derive(Deserialize)]
struct Line<'a> {
    id: Option<String>,
    #[serde(borrow)]
    stream: &'a RawValue,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'a RawValue,
    encoding: Option<String>,
    key: Option<String>,
}

pub(super) async fn import(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let input = flags.get_one::<String>("input").filter(|file| *file != "-");
    let mut input: Box<dyn BufRead> = match input {
        Some(file) => Box::new(BufReader::new(File::open(file).with_context(|| file.clone())?)),
        None => Box::new(std::io::stdin().lock()),
    };
    let (mut progress, mut pauses) = (ProgressCounter::new("events"), Retries::within_wait(flags));
    let mut duplicates = 0;
    let (mut pending, mut lines, mut skipped) = (VecDeque::new(), VecDeque::new(), 0_u64);
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        while pending.len() < READ_AHEAD {
            line.clear();
            if input
                .read_line(&mut line)
                .with_context(|| format!("cannot read line {}", number + 1))?
                == 0
            {
                break;
            }
            number += 1;
            if line.trim().is_empty() {
                continue;
            }
            match event(&line).with_context(|| format!("line {number}"))? {
                Some(event) => {
                    pending.push_back(event);
                    lines.push_back(number);
                }
                None => skipped += 1,
            }
        }
        let batch = take_batch(&mut pending);
        if batch.is_empty() {
            break;
        }
        match publish_with_retry(&client, &batch, &mut pauses).await {
            Ok(published) => duplicates += batch.len() - published.min(batch.len()),
            Err(failure) => {
                let at = refused_event_index(&failure).and_then(|at| lines.get(at).copied());
                let first = lines.front().copied().unwrap_or_default();
                let last = lines.get(batch.len() - 1).copied().unwrap_or_default();
                let lines = match at {
                    Some(line) => format!("line {line}"),
                    None => format!("lines {first} to {last}"),
                };
                let before = progress.count();
                return Err(failure).with_context(|| {
                    format!("cannot publish {lines}; {before} events were published before")
                });
            }
        }
        lines.drain(..batch.len());
        progress.add(batch.len());
    }
    progress.finish();
    super::print_message(&summary(progress.count(), duplicates as u64, skipped));
    Ok(())
}

/// Describes the result of an import of `sent` events.
fn summary(sent: u64, duplicates: u64, skipped: u64) -> String {
    let mut text = format!("published {} events", sent - duplicates);
    if duplicates > 0 {
        text.push_str(&format!("; {duplicates} were published before"));
    }
    if skipped > 0 {
        text.push_str(&format!(
            "; skipped {skipped} events of streams that only the hub itself can write"
        ));
    }
    text
}

/// Parses a line as an event; returns `None` if only a hub itself may publish it.
fn event(line: &str) -> anyhow::Result<Option<String>> {
    let parsed: Line<'_> = serde_json::from_str(line).context("not a line of an export")?;
    let names: Vec<String> = match serde_json::from_str::<String>(parsed.stream.get()) {
        Ok(name) => vec![name],
        Err(_) => serde_json::from_str(parsed.stream.get())
            .context("`stream` is neither a name nor a list of names")?,
    };
    let is_own = |name: &String| StreamName::parse(name).is_ok_and(|name| name.is_written_by_hub());
    if names.iter().any(is_own) {
        return Ok(None);
    }
    let key = match (parsed.key, parsed.id) {
        (Some(key), _) => key,
        (None, Some(id)) => format!("import:{id}"),
        (None, None) => bail!("missing `id` or `key`"),
    };
    let encoding = parsed.encoding.as_deref();
    Event { stream: parsed.stream, kind: &parsed.kind, data: parsed.data, encoding, key: &key }
        .json()
        .map(Some)
}
