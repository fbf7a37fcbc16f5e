//! `fanfare tail`: shows events as they arrive, and after a disconnect those that were missed.

use super::client::{Client, Retries, wait_argument};
use super::follow::Subscription;
use super::grep::{matches, search};
use super::output::{Envelope, Style, escape_controls};
use crate::config::duration;
use crate::event::{Filter, Selector, Timestamp};
use crate::wire::SseEvent;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::cell::RefCell;
use std::io::{BufWriter, IsTerminal as _, Stdout, Write as _};
use std::sync::Arc;

pub(super) fn command() -> Command {
    Command::new("tail")
        .about("Show events as they arrive")
        .long_about(
            "Shows events as they arrive, coloured by level on a terminal. After a disconnect it \
             reconnects and resumes after the last event shown: no event is missed and none is \
             shown twice. It exits when every stream that it names has ended.",
        )
        .args(selection())
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["pretty", "text", "ndjson"])
                .default_value("pretty")
                .help("Output format: for people, only the data, or one JSON envelope per line"),
        )
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .overrides_with("no-follow")
                .help("Continue with new events, which is the default"),
        )
        .arg(
            Arg::new("no-follow")
                .long("no-follow")
                .action(ArgAction::SetTrue)
                .help("Exit after the newest event"),
        )
        .arg(wait_argument().help(
            "Time to wait for a hub that cannot be reached; without it, wait indefinitely, or \
             with --no-follow fail at once",
        ))
        .arg(grep_argument())
        .arg(
            Arg::new("color")
                .long("color")
                .value_name("WHEN")
                .value_parser(["auto", "always", "never"])
                .default_value("auto")
                .help("Use of colours; `auto` respects NO_COLOR"),
        )
}

/// A filter, as text for the hub, and parsed.
#[derive(Clone)]
struct Grep {
    text: String,
    filter: Arc<Filter>,
}

/// Returns the argument of the filter.
fn grep_argument() -> Arg {
    Arg::new("grep")
        .long("grep")
        .value_name("FILTER")
        .conflicts_with("last")
        .value_parser(|text: &str| match Filter::parse(text) {
            Ok(filter) => Ok(Grep { text: text.to_owned(), filter: Arc::new(filter) }),
            Err(invalid) => Err(invalid.detail),
        })
        .help(
            "Only events that match all terms, such as 'level>=warn /timed? ?out/ order=9088'; \
             stored events are searched on the hub",
        )
}

/// Returns the arguments that select events.
pub(super) fn selection() -> [Arg; 4] {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    [
        Arg::new("streams")
            .value_name("SELECTOR")
            .num_args(1..)
            .required(true)
            .value_parser(parse_selector)
            .help("Streams or patterns of streams, such as 'builds.**'"),
        text(
            "from",
            "WHEN",
            "Position to start at: `start`, `now`, a date or time (UTC without an offset), or a \
             duration ago (10m)",
        )
        .visible_alias("since")
        .value_parser(parse_start),
        text("last", "N", "Start with the newest N events").short('n').value_parser(parse_count),
        text("types", "LIST", "Only events of these types, separated by commas"),
    ]
}

fn parse_selector(text: &str) -> Result<String, String> {
    Selector::parse(text).map(|_| text.to_owned()).map_err(|invalid| invalid.detail)
}

fn parse_count(text: &str) -> Result<String, String> {
    text.parse::<u64>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Parses a position to start at. Returns it in the form that the hub accepts: a date may be
/// followed by a time without seconds or offset.
fn parse_start(text: &str) -> Result<String, String> {
    if matches!(text, "start" | "now") || duration(text).is_ok() {
        return Ok(text.to_owned());
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let seconds = if clock.len() == "00:00".len() { ":00" } else { "" };
    let whole = format!("{date}T{clock}{seconds}{offset}");
    match Timestamp::parse("from", &whole) {
        Ok(_) => Ok(whole),
        Err(_) => {
            let expected = "expected start, now, a duration such as 10m, a date such as \
                            2026-01-31, or a time such as 2026-01-31T12:00";
            Err(expected.to_owned())
        }
    }
}

/// Returns the query string of the selection.
pub(super) fn query(flags: &ArgMatches) -> String {
    let pair = |name: &str, value: &str| {
        format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
    };
    let streams = flags.get_many::<String>("streams").unwrap_or_default();
    let mut pairs: Vec<String> = streams.map(|stream| pair("stream", stream)).collect();
    for name in ["from", "last", "types"] {
        pairs.extend(flags.get_one::<String>(name).map(|value| pair(name, value)));
    }
    pairs.join("&")
}

pub(super) async fn run(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let printer = Printer::new(flags);
    let follows = !flags.get_flag("no-follow");
    let mut pauses = if follows && !flags.contains_id("wait") {
        Retries::new()
    } else {
        Retries::within_wait(flags)
    };
    let grep = flags.get_one::<Grep>("grep");
    let mut after = String::new();
    if let Some(Grep { text, .. }) = grep
        && (!follows || flags.contains_id("from"))
    {
        let mut show = |event: &SseEvent| printer.print(event);
        after = search(&client, &query(flags), text, &mut pauses, &mut show).await?;
        printer.flush()?;
        if !follows {
            return Ok(());
        }
    }
    let query = format!("envelope=true&follow={follows}&{}", query(flags));
    let mut show = |event: &SseEvent| match grep {
        Some(grep) if !matches(&grep.filter, event)? => Ok(()),
        _ => printer.print(event),
    };
    let subscription = Subscription { query, follows, after, pauses };
    subscription.read(&client, &mut show, &mut || printer.flush()).await
}

/// Prints events in the requested format.
struct Printer {
    style: Style,
    format: String,
    is_terminal: bool,
    out: RefCell<BufWriter<Stdout>>,
}

impl Printer {
    fn new(flags: &ArgMatches) -> Self {
        let text = |name: &str| flags.get_one::<String>(name).map_or("", String::as_str);
        Self {
            style: Style::named(text("color")),
            format: text("format").to_owned(),
            is_terminal: std::io::stdout().is_terminal(),
            out: RefCell::new(BufWriter::new(std::io::stdout())),
        }
    }

    fn print(&self, event: &SseEvent) -> anyhow::Result<()> {
        let data = String::from_utf8_lossy(&event.data);
        let envelope: Envelope<'_> = serde_json::from_str(&data)
            .with_context(|| format!("invalid envelope: {data:.100}"))?;
        let line = match self.format.as_str() {
            "text" => {
                let text = envelope.text();
                let text = if self.is_terminal { escape_controls(&text) } else { text };
                text.replace('\r', "\\r").replace('\n', "\\n") + "\n"
            }
            "ndjson" => format!("{{\"id\":\"{}\",{}\n", event.id, &data[1..]),
            _ => self.style.line(&envelope),
        };
        Ok(self.out.borrow_mut().write_all(line.as_bytes())?)
    }

    fn flush(&self) -> anyhow::Result<()> {
        Ok(self.out.borrow_mut().flush()?)
    }
}
