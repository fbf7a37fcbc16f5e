//! `fanfare tail`: shows events as they arrive, and after a disconnect those that were missed.

use super::client::Client;
use super::follow::Subscription;
use super::output::{Envelope, Style, escape_controls};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::cell::RefCell;
use std::io::{BufWriter, IsTerminal as _, Write as _};

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
            Arg::new("no-follow")
                .long("no-follow")
                .action(ArgAction::SetTrue)
                .help("Exit after the newest event"),
        )
        .arg(
            Arg::new("color")
                .long("color")
                .value_name("WHEN")
                .value_parser(["auto", "always", "never"])
                .default_value("auto")
                .help("Use of colours; `auto` respects NO_COLOR"),
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
            .help("Streams or patterns of streams, such as 'builds.**'"),
        text(
            "from",
            "WHEN",
            "Position to start at: `start`, `now`, a time, or a duration ago (10m)",
        ),
        text("last", "N", "Start with the newest N events").short('n'),
        text("types", "LIST", "Only events of these types, separated by commas"),
    ]
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
    let text = |name: &str| flags.get_one::<String>(name).map_or("", String::as_str);
    let (style, format) = (Style::named(text("color")), text("format"));
    let is_terminal = std::io::stdout().is_terminal();
    let follows = !flags.get_flag("no-follow");
    let query = format!("envelope=true&follow={follows}&{}", query(flags));
    let out = RefCell::new(BufWriter::new(std::io::stdout().lock()));
    Subscription { query, follows }
        .read(
            &client,
            &mut |event| {
                let data = String::from_utf8_lossy(&event.data);
                let envelope: Envelope<'_> = serde_json::from_str(&data)
                    .with_context(|| format!("invalid envelope: {data:.100}"))?;
                let line = match format {
                    "text" => {
                        let text = envelope.text();
                        let text = if is_terminal { escape_controls(&text) } else { text };
                        text.replace('\r', "\\r").replace('\n', "\\n") + "\n"
                    }
                    "ndjson" => format!("{{\"id\":\"{}\",{}\n", event.id, &data[1..]),
                    _ => style.line(&envelope),
                };
                Ok(out.borrow_mut().write_all(line.as_bytes())?)
            },
            &mut || Ok(out.borrow_mut().flush()?),
        )
        .await
}
