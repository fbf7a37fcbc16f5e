//! `fanfare journal`: checks a journal that no hub has open, makes a backup of a running hub's and
//! restores it, and acknowledges losses.

use super::client::{self, Client};
use crate::event::{EventId, Timestamp};
use crate::journal::{CheckReport, check, restore, verify_backup};
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Streams that `stats` shows, unless asked for all.
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
    let file = |help: &'static str| {
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .value_parser(clap::value_parser!(PathBuf))
            .help(help)
    };
    Command::new("journal")
        .about("Check, back up and restore a journal")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("Read every record of a stopped hub's journal; exit status 1 if damaged")
                .args([data_dir(), as_json()]),
        )
        .subcommand(
            Command::new("stats").about("Print what a stopped hub's journal holds").args([
                data_dir(),
                as_json(),
                Arg::new("all")
                    .long("all")
                    .action(ArgAction::SetTrue)
                    .help("Print every stream, not only the largest"),
            ]),
        )
        .subcommand(
            Command::new("backup")
                .about("Copy a running hub's journal to a file, consistent as of one moment")
                .arg(file("The file to write"))
                .args(client::arguments()),
        )
        .subcommand(
            Command::new("restore")
                .about("Restore a backup into an empty data directory")
                .arg(file("The backup to read"))
                .arg(data_dir()),
        )
        .subcommand(
            Command::new("acknowledge-loss")
                .about("Acknowledge the losses that a running hub reports")
                .args(client::arguments()),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (what, flags) = matches.subcommand().unwrap_or(("check", matches));
    match what {
        "backup" => super::as_client(back_up(flags))?,
        "acknowledge-loss" => super::as_client(acknowledge(flags))?,
        "restore" => restore_file(flags)?,
        _ => return look(what, flags),
    }
    Ok(ExitCode::SUCCESS)
}

fn data_dir(flags: &ArgMatches) -> &Path {
    flags.get_one::<PathBuf>("data-dir").map_or(Path::new("./data"), PathBuf::as_path)
}

fn holder(what: &str) -> String {
    format!("fanfare journal {what}, process {}", std::process::id())
}

fn look(what: &str, flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let checked = check(data_dir(flags), &holder(what))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (what, flags.get_flag("json")) {
        (_, true) => writeln!(out, "{}", as_json(&checked))?,
        ("stats", _) => stats(&mut out, &checked, flags.get_flag("all"))?,
        _ => findings(&mut out, &checked)?,
    }
    out.flush()?;
    Ok(if checked.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the backup beside its place, checks that it is whole, and renames it.
async fn back_up(flags: &ArgMatches) -> anyhow::Result<()> {
    let file = flags.get_one::<PathBuf>("file").context("a file to write is needed")?;
    let client = Client::of(flags)?;
    let mut answer = client.send(client.request(Method::GET, "/journal/backup")).await?;
    let mut made = file.clone().into_os_string();
    made.push(".part");
    let made = PathBuf::from(made);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&made);
    let mut out = opened.with_context(|| format!("cannot create {}", made.display()))?;
    while let Some(piece) = answer.chunk().await.map_err(|error| client.away(error))? {
        out.write_all(&piece).with_context(|| format!("cannot write {}", made.display()))?;
    }
    out.sync_all()?;
    let records = verify_backup(&made)?;
    std::fs::rename(&made, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    let bytes = out.metadata()?.len();
    writeln!(std::io::stdout(), "{}: {records} records, {bytes} bytes", file.display())?;
    Ok(())
}

fn restore_file(flags: &ArgMatches) -> anyhow::Result<()> {
    let file = flags.get_one::<PathBuf>("file").context("a backup to read is needed")?;
    let records = restore(file, data_dir(flags), &holder("restore"))?;
    let folder = data_dir(flags).display();
    writeln!(std::io::stdout(), "restored {records} records to {folder}")?;
    Ok(())
}

async fn acknowledge(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let answer = client.send(client.request(Method::DELETE, "/journal/losses")).await?;
    let answer = answer.bytes().await.map_err(|error| client.away(error))?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let losses = answer["losses"].as_array().map_or(&[][..], Vec::as_slice);
    for loss in losses {
        writeln!(std::io::stdout(), "{loss}")?;
    }
    writeln!(std::io::stdout(), "acknowledged {} losses", losses.len())?;
    Ok(())
}

fn findings(out: &mut impl Write, checked: &CheckReport) -> std::io::Result<()> {
    for remark in &checked.remarks {
        writeln!(out, "note: {remark}")?;
    }
    for wrong in &checked.wrong {
        writeln!(out, "{wrong}")?;
    }
    if checked.more_wrong > 0 {
        writeln!(out, "and {} more like these", checked.more_wrong)?;
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
        writeln!(out, "\nsomething is wrong; `fanfare journal check` says what")?;
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
        "remarks": checked.remarks,
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
