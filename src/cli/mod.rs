//! The command line: `fanfare [serve]` and `fanfare config`.

use crate::config::{Config, Said, command};
use anyhow::bail;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs what the arguments ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match dispatch(&whole_command().get_matches_from(with_default(args.into_iter().collect()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening, or the disk behind it may be full.
            let _ = writeln!(std::io::stderr(), "fanfare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<()> {
    match matches.subcommand() {
        Some(("serve", flags)) => crate::app::run(resolve(flags)?),
        Some(("config", sub)) => match sub.subcommand() {
            Some(("docs", _)) => {
                Ok(std::io::stdout().write_all(crate::config::markdown().as_bytes())?)
            }
            Some(("check", flags)) => {
                resolve(flags)?;
                Ok(writeln!(std::io::stdout(), "the configuration is fine")?)
            }
            _ => bail!("config needs a subcommand"),
        },
        _ => bail!("nothing to do"),
    }
}

fn resolve(flags: &ArgMatches) -> anyhow::Result<Config> {
    Config::resolve(Said::collect(flags, |name| std::env::var(name).ok())).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(|w| format!("\n  {w}")).collect();
        anyhow::anyhow!("the configuration is wrong:{}", lines.concat())
    })
}

fn whole_command() -> Command {
    let check =
        command().name("check").about("Say what is wrong with the configuration, if anything");
    let docs = Command::new("docs").about("Print docs/configuration.md");
    Command::new("fanfare")
        .about("Broadcasts events to browsers and services over Server-Sent Events")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommand(command())
        .subcommand(
            Command::new("config")
                .about("About the configuration")
                .subcommand_required(true)
                .subcommand(check)
                .subcommand(docs),
        )
}

/// `fanfare` and `fanfare --flag` mean `fanfare serve`.
fn with_default(mut args: Vec<OsString>) -> Vec<OsString> {
    const OF_ALL: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
    let says_what =
        first.is_some_and(|arg| !arg.starts_with('-') || OF_ALL.contains(&arg.as_str()));
    if !says_what {
        args.insert(1.min(args.len()), "serve".into());
    }
    args
}
