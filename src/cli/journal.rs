//! `fanfare journal`: checks and restores a journal that no hub has open.

#[cfg(feature = "cli")]
use super::clients;
use crate::event::{EventId, Timestamp};
use crate::journal::{CheckReport, check, restore, salvage};
use crate::wire::{self, Format, View};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Number of streams that `stats` shows without `--all`.
const LARGEST: usize = 20;

pub(super) fn command() -> Command {
    let data_dir = || {
        Arg::new("data-dir")
            .long("data-dir")
            .value_name("DIR")
            .env("FANFARE_DATA_DIR")
            .default_value("./data")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Data directory; no hub may be running on it")
    };
    let as_json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object");
    let journal = Command::new("journal")
        .about("Check, back up and restore a journal")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("Read every record of a stopped hub's journal; exit status 1 if damaged")
                .args([data_dir(), as_json()]),
        )
        .subcommand(
            Command::new("stats").about("Print statistics of a stopped hub's journal").args([
                data_dir(),
                as_json(),
                Arg::new("all")
                    .long("all")
                    .action(ArgAction::SetTrue)
                    .help("Print every stream, not only the largest"),
            ]),
        )
        .subcommand(
            Command::new("restore")
                .about("Restore a backup into an empty data directory")
                .arg(file_argument("Backup file to read"))
                .arg(data_dir()),
        );
    let journal = journal.subcommand(
        Command::new("salvage")
            .about("Write the readable events of a damaged journal to a file, for `import`")
            .arg(
                Arg::new("to")
                    .long("to")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("File to write, as `fanfare export` writes it; must not exist"),
            )
            .arg(data_dir()),
    );
    #[cfg(feature = "cli")]
    let journal = journal.subcommands(clients::journal_commands());
    journal
}

/// Returns the argument for a file.
pub(super) fn file_argument(help: &'static str) -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_parser(clap::value_parser!(PathBuf))
        .help(help)
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (name, flags) = matches.subcommand().unwrap_or(("check", matches));
    #[cfg(feature = "cli")]
    if let Some(done) = clients::run_journal(name, flags) {
        return done;
    }
    match name {
        "restore" => restore_file(flags).map(|()| ExitCode::SUCCESS),
        "salvage" => salvage_to_file(flags),
        _ => run_check(name, flags),
    }
}

/// Writes the readable events to a file. The exit status is a failure if something is damaged.
fn salvage_to_file(flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let file = flags.get_one::<PathBuf>("to").context("missing --to FILE")?;
    let created = File::options().write(true).create_new(true).mode(0o600).open(file);
    let created = created.with_context(|| format!("cannot create {}", file.display()))?;
    let mut out = BufWriter::new(created);
    let view = View { format: Format::Ndjson, without_control: true, ..View::default() };
    let mut line = Vec::new();
    let salvaged = salvage(data_dir(flags), &lock_owner("salvage"), &mut |id, entry| {
        line.clear();
        wire::entry(&mut line, id, entry, &view, None);
        out.write_all(&line)
    })?;
    out.into_inner()?.sync_all()?;
    let mut stdout = std::io::stdout().lock();
    for damage in &salvaged.damage {
        writeln!(stdout, "cannot read {damage}")?;
    }
    if salvaged.unnamed_streams > 0 {
        let count = salvaged.unnamed_streams;
        writeln!(stdout, "the names of {count} streams are lost; they are salvaged.NUMBER")?;
    }
    writeln!(stdout, "wrote {} events to {}", salvaged.events, file.display())?;
    let is_whole = salvaged.damage.is_empty();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn data_dir(flags: &ArgMatches) -> &Path {
    flags.get_one::<PathBuf>("data-dir").map_or(Path::new("./data"), PathBuf::as_path)
}

fn lock_owner(subcommand: &str) -> String {
    format!("fanfare journal {subcommand}, process {}", std::process::id())
}

fn run_check(name: &str, flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let checked = check(data_dir(flags), &lock_owner(name))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if flags.get_flag("json") {
        writeln!(out, "{}", as_json(&checked))?;
    } else if name == "stats" {
        stats(&mut out, &checked, flags.get_flag("all"))?;
    } else {
        findings(&mut out, &checked)?;
    }
    out.flush()?;
    Ok(if checked.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn restore_file(flags: &ArgMatches) -> anyhow::Result<()> {
    let file = flags.get_one::<PathBuf>("file").context("missing FILE, the backup to read")?;
    let records = restore(file, data_dir(flags), &lock_owner("restore"))?;
    let folder = data_dir(flags).display();
    writeln!(std::io::stdout(), "restored {records} records to {folder}")?;
    Ok(())
}

fn findings(out: &mut impl Write, checked: &CheckReport) -> std::io::Result<()> {
    for warning in &checked.warnings {
        writeln!(out, "note: {warning}")?;
    }
    for error in &checked.errors {
        writeln!(out, "{error}")?;
    }
    if checked.unlisted_errors > 0 {
        writeln!(out, "and {} more like these", checked.unlisted_errors)?;
    }
    let CheckReport { records, entries, bytes, .. } = checked;
    let streams = checked.streams.len();
    let is_sound = if checked.is_sound() { "sound" } else { "damaged" };
    writeln!(
        out,
        "{is_sound}: {records} records read, {entries} entries of {bytes} bytes in {streams} streams"
    )
}

fn stats(out: &mut impl Write, checked: &CheckReport, all: bool) -> std::io::Result<()> {
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
        writeln!(out, "\nthe journal is damaged; run `fanfare journal check` for details")?;
    }
    Ok(())
}

fn as_json(checked: &CheckReport) -> Value {
    let at = |at: &Option<(EventId, Timestamp)>| {
        at.map(|(id, time)| json!({ "id": id.to_string(), "time": time.to_string() }))
    };
    let streams = checked.streams.iter().map(|stream| {
        let (name, state) = (stream.name.as_str(), if stream.ended { "ended" } else { "open" });
        json!({ "name": name, "state": state, "events": stream.events, "bytes": stream.bytes })
    });
    json!({
        "sound": checked.is_sound(),
        "remarks": checked.warnings,
        "wrong": checked.errors,
        "more_wrong": checked.unlisted_errors,
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
