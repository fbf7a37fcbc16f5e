//! `fanfare journal check` and `fanfare journal stats`: a journal looked through while no hub runs on it.

use crate::event::{EventId, Timestamp};
use crate::journal::{Checked, check};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Streams that `stats` shows, unless asked for all.
const LARGEST: usize = 20;

pub(super) fn command() -> Command {
    let arguments = |command: Command| {
        command
            .arg(
                Arg::new("data-dir")
                    .long("data-dir")
                    .value_name("DIR")
                    .env("FANFARE_DATA_DIR")
                    .default_value("./data")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Where the journal lives; no hub may run on it"),
            )
            .arg(
                Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one JSON object"),
            )
    };
    Command::new("journal")
        .about("Look through a journal while no hub runs on it")
        .subcommand_required(true)
        .subcommand(arguments(Command::new("check").about(
            "Read every record and hold it against the others; exit status 1 where something is wrong",
        )))
        .subcommand(
            arguments(Command::new("stats").about("Say what it holds")).arg(
                Arg::new("all")
                    .long("all")
                    .action(ArgAction::SetTrue)
                    .help("Every stream, not only those that take most room"),
            ),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (what, flags) = matches.subcommand().unwrap_or(("check", matches));
    let folder = flags.get_one::<PathBuf>("data-dir").map_or(Path::new("./data"), PathBuf::as_path);
    let holder = format!("fanfare journal {what}, process {}", std::process::id());
    let checked = check(folder, &holder)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (what, flags.get_flag("json")) {
        (_, true) => writeln!(out, "{}", as_json(&checked))?,
        ("stats", _) => stats(&mut out, &checked, flags.get_flag("all"))?,
        _ => findings(&mut out, &checked)?,
    }
    out.flush()?;
    Ok(if checked.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings(out: &mut impl Write, checked: &Checked) -> std::io::Result<()> {
    for wrong in &checked.wrong {
        writeln!(out, "{wrong}")?;
    }
    if checked.more_wrong > 0 {
        writeln!(out, "and {} more like these", checked.more_wrong)?;
    }
    let Checked { records, entries, bytes, .. } = checked;
    let streams = checked.streams.len();
    let is_sound = if checked.is_sound() { "sound" } else { "damaged" };
    writeln!(
        out,
        "{is_sound}: {records} records read, {entries} entries of {bytes} bytes in {streams} streams"
    )
}

fn stats(out: &mut impl Write, checked: &Checked, all: bool) -> std::io::Result<()> {
    let at = |at: &Option<(EventId, Timestamp)>| {
        at.map_or_else(|| "-".to_owned(), |(id, time)| format!("{id} at {time}"))
    };
    writeln!(out, "entries  {}", checked.entries)?;
    writeln!(out, "bytes    {} ({} in files)", checked.bytes, checked.disk_bytes)?;
    writeln!(out, "oldest   {}", at(&checked.oldest))?;
    writeln!(out, "newest   {}", at(&checked.newest))?;
    writeln!(out, "epochs   {}", checked.epochs)?;
    writeln!(out, "streams  {}", checked.streams.len())?;
    for (kind, events) in &checked.types {
        writeln!(out, "  {events:>12} of type {kind}")?;
    }
    let mut streams: Vec<_> = checked.streams.iter().collect();
    if !all {
        streams.sort_by_key(|stream| std::cmp::Reverse(stream.bytes));
        streams.truncate(LARGEST);
    }
    writeln!(out, "\n{:>12} {:>14}  {:<6} NAME", "EVENTS", "BYTES", "STATE")?;
    for stream in streams {
        let state = if stream.ended { "ended" } else { "open" };
        let (events, bytes) = (stream.events, stream.bytes);
        writeln!(out, "{events:>12} {bytes:>14}  {state:<6} {}", stream.name)?;
    }
    if !checked.is_sound() {
        writeln!(out, "\nsomething is wrong; `fanfare journal check` says what")?;
    }
    Ok(())
}

fn as_json(checked: &Checked) -> Value {
    let at = |at: &Option<(EventId, Timestamp)>| {
        at.map(|(id, time)| json!({ "id": id.to_string(), "time": time.to_string() }))
    };
    let streams = checked.streams.iter().map(|stream| {
        let (name, state) = (stream.name.as_str(), if stream.ended { "ended" } else { "open" });
        json!({ "name": name, "state": state, "events": stream.events, "bytes": stream.bytes })
    });
    json!({
        "sound": checked.is_sound(),
        "wrong": checked.wrong,
        "more_wrong": checked.more_wrong,
        "records": checked.records,
        "entries": checked.entries,
        "bytes": checked.bytes,
        "disk_bytes": checked.disk_bytes,
        "oldest": at(&checked.oldest),
        "newest": at(&checked.newest),
        "epochs": checked.epochs,
        "types": checked.types.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "streams": streams.collect::<Vec<_>>(),
    })
}
