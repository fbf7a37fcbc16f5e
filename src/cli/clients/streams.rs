//! `fanfare streams`: lists the streams.

use super::client::{Client, Retries, wait_argument};
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{BufWriter, Write as _};

/// Maximum number of streams in one request.
const AT_ONCE: usize = 1_000;

pub(super) fn command() -> Command {
    Command::new("streams")
        .about("List streams")
        .arg(Arg::new("prefix").value_name("PREFIX").help("Only streams whose names start with it"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print each stream as a line of JSON, as the hub returns it"),
        )
        .arg(wait_argument())
}

/// A page of the list of streams.
#[derive(Deserialize)]
struct List {
    streams: Vec<Box<RawValue>>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    state: String,
    subscribers: u32,
    events: u64,
    bytes: u64,
    last_time: Option<String>,
}

pub(super) async fn run(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let prefix = quoted(flags.get_one::<String>("prefix").map_or("", String::as_str));
    let as_json = flags.get_flag("json");
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut after, mut pauses) = (String::new(), Retries::within_wait(flags));
    loop {
        let path = format!("/streams?limit={AT_ONCE}&prefix={prefix}{after}");
        let build = |client: &Client| client.request(Method::GET, &path);
        let answer = client.send_with_retry(build, &mut pauses).await?;
        let answer = answer.bytes().await.map_err(|error| client.connection_failure(error))?;
        let list: List = serde_json::from_slice(&answer)?;
        if after.is_empty() && !as_json {
            let names = ["EVENTS", "BYTES", "SUBSCRIBERS", "STATE", "LAST", "NAME"];
            row(&mut out, names.map(str::to_owned))?;
        }
        for stream in &list.streams {
            if as_json {
                writeln!(out, "{}", stream.get())?;
                continue;
            }
            let view: Stream = serde_json::from_str(stream.get())?;
            let last = view.last_time.unwrap_or_else(|| "-".to_owned());
            let numbers =
                [view.events.to_string(), view.bytes.to_string(), view.subscribers.to_string()];
            let [events, bytes, subscribers] = numbers;
            row(&mut out, [events, bytes, subscribers, view.state, last, view.name])?;
        }
        let Some(next) = list.next else { break };
        after = format!("&after={}", quoted(&next));
    }
    out.flush()?;
    Ok(())
}

/// Writes a row of the table; the name comes last because its length has no bound.
fn row(out: &mut impl std::io::Write, cells: [String; 6]) -> std::io::Result<()> {
    let [events, bytes, subscribers, state, last, name] = cells;
    writeln!(out, "{events:>10} {bytes:>12} {subscribers:>12}  {state:<6} {last:<24}  {name}")
}
