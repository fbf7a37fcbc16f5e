//! `fanfare journal backup` and `acknowledge-loss`: commands on the journal of a running hub.

use super::as_client;
use super::client::{self, Client};
use crate::cli::journal::file_argument;
use crate::journal::verify_backup;
use anyhow::Context as _;
use clap::{ArgMatches, Command};
use reqwest::Method;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Returns the subcommands of `fanfare journal`.
pub(in crate::cli) fn commands() -> [Command; 2] {
    [
        Command::new("backup")
            .about("Copy a running hub's journal to a file, as a consistent snapshot")
            .arg(file_argument("Backup file to write"))
            .args(client::arguments()),
        Command::new("acknowledge-loss")
            .about("Acknowledge the losses of events that a running hub reports")
            .args(client::arguments()),
    ]
}

/// Runs a subcommand; `None` if it is not one of these.
pub(in crate::cli) fn run(name: &str, flags: &ArgMatches) -> Option<anyhow::Result<ExitCode>> {
    let done = match name {
        "backup" => as_client(back_up(flags)),
        "acknowledge-loss" => as_client(acknowledge(flags)),
        _ => return None,
    };
    Some(done.map(|()| ExitCode::SUCCESS))
}

/// Writes the backup to a temporary file beside its path, verifies it, and renames it.
async fn back_up(flags: &ArgMatches) -> anyhow::Result<()> {
    let file = flags.get_one::<PathBuf>("file").context("missing FILE, the backup to write")?;
    let client = Client::of(flags)?;
    let mut answer = client.send(client.request(Method::GET, "/journal/backup")).await?;
    let mut part_file = file.clone().into_os_string();
    part_file.push(".part");
    let part_file = PathBuf::from(part_file);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&part_file);
    let mut out = opened.with_context(|| format!("cannot create {}", part_file.display()))?;
    while let Some(piece) =
        answer.chunk().await.map_err(|error| client.connection_failure(error))?
    {
        out.write_all(&piece).with_context(|| format!("cannot write {}", part_file.display()))?;
    }
    out.sync_all()?;
    let records = verify_backup(&part_file)?;
    std::fs::rename(&part_file, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    let bytes = out.metadata()?.len();
    writeln!(std::io::stdout(), "{}: {records} records, {bytes} bytes", file.display())?;
    Ok(())
}

async fn acknowledge(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let answer = client.send(client.request(Method::DELETE, "/journal/losses")).await?;
    let answer = answer.bytes().await.map_err(|error| client.connection_failure(error))?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let losses = answer["losses"].as_array().map_or(&[][..], Vec::as_slice);
    for loss in losses {
        writeln!(std::io::stdout(), "{loss}")?;
    }
    writeln!(std::io::stdout(), "acknowledged {} losses", losses.len())?;
    Ok(())
}
