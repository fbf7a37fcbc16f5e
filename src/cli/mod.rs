//! The command line: the hub itself, its clients, and what helps with both.
//!
//! Exit statuses: 0 it is done; 1 it failed here; 2 it was asked for wrongly; 3 the hub is not to be
//! reached; 4 the hub refuses it. `run` ends as its command does. A reader that closes the pipe is no
//! failure.

mod client;
mod command;
mod follow;
mod journal;
mod outgoing;
mod output;
mod progress;
mod publish;
mod run;
mod shell;
mod spool;
mod streams;
mod tail;
mod token;
mod transfer;

use crate::bench;
use crate::config::{Config, RawConfig, command};
use anyhow::bail;
use clap::{Arg, ArgMatches, Command};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs what the arguments ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // For every client of this process; only one that is there already could be in its way.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let done =
        dispatch(&whole_command().get_matches_from(with_default(args.into_iter().collect())));
    crate::telemetry::end_logging();
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            error.downcast_ref().map_or(ExitCode::FAILURE, client::Failure::exit_code)
        }
    }
}

/// Says something to whoever runs this.
fn say(text: &str) {
    // Nobody may be listening, or the disk behind it may be full.
    let _ = writeln!(std::io::stderr(), "fanfare: {text}");
}

/// Returns true if the reader of the output has closed it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs a client of a hub.
fn as_client<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("serve", flags)) => {
            raise_file_limit();
            crate::app::run(|| resolve(flags))?;
        }
        Some(("bench", flags)) => return measure(flags),
        Some(("bench-floor", flags)) => {
            raise_file_limit();
            bench::floor::serve(flags.get_one("workers").copied().unwrap_or(1))?;
        }
        Some(("metrics", _)) => {
            std::io::stdout().write_all(crate::telemetry::markdown()?.as_bytes())?;
        }
        Some(("publish", flags)) => as_client(publish::run(flags))?,
        Some(("run", flags)) => return as_client(run::run(flags)),
        Some(("tail", flags)) => as_client(tail::run(flags))?,
        Some(("streams", flags)) => as_client(streams::run(flags))?,
        Some(("export", flags)) => as_client(transfer::export(flags))?,
        Some(("import", flags)) => as_client(transfer::import(flags))?,
        Some(("completions", flags)) => {
            std::io::stdout().write_all(&shell::completions(flags, whole_command()))?;
        }
        Some(("man", flags)) => {
            std::io::stdout().write_all(&shell::man(flags, whole_command())?)?;
        }
        Some(("journal", flags)) => return journal::run(flags),
        Some(("token", flags)) => token::run(flags, resolve)?,
        Some((bench::child::SUBCOMMAND, flags)) => {
            let program: Vec<OsString> =
                flags.get_many("program").unwrap_or_default().cloned().collect();
            let parent = flags.get_one("parent").copied().unwrap_or_default();
            return Err(bench::child::become_program(parent, &program).into());
        }
        Some(("config", sub)) => match sub.subcommand() {
            Some(("docs", _)) => {
                std::io::stdout().write_all(crate::config::markdown().as_bytes())?;
            }
            Some(("check", flags)) => {
                resolve(flags)?;
                writeln!(std::io::stdout(), "the configuration is fine")?;
            }
            _ => bail!("config needs a subcommand"),
        },
        _ => bail!("nothing to do"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit status 1 also where events were lost, duplicated or reordered, or subscribers lost.
fn measure(flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    crate::telemetry::start_logging("warn", crate::telemetry::LogFormat::Text);
    let plan = bench::Plan::read(flags)?;
    let report = bench::run(&plan, raise_file_limit())?;
    let text = if plan.json { serde_json::to_string(&report)? + "\n" } else { report.table() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every connection is an open file: takes as many as the system lets this process have, and
/// returns how many that is.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        let _ = writeln!(std::io::stderr(), "fanfare: the open file limit stays low: {error}");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn resolve(flags: &ArgMatches) -> anyhow::Result<Config> {
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("FANFARE_") && value.to_str().is_none() {
            bail!("{name} is not UTF-8");
        }
    }
    Config::resolve(RawConfig::collect(flags, |name| std::env::var(name).ok())).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(|w| format!("\n  {w}")).collect();
        anyhow::anyhow!("the configuration is wrong:{}", lines.concat())
    })
}

/// Returns the subcommands that are clients of a hub.
fn clients() -> impl Iterator<Item = Command> {
    let all = [
        publish::command(),
        run::command(),
        tail::command(),
        streams::command(),
        transfer::export_command(),
        transfer::import_command(),
    ];
    all.into_iter().map(|command| command.args(client::arguments()))
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
        .subcommands(clients())
        .subcommand(shell::completions_command())
        .subcommand(shell::man_command())
        .subcommand(journal::command())
        .subcommand(token::command(command()))
        .subcommand(bench::command())
        .subcommand(
            Command::new("bench-floor")
                .about("Serve the floor that `bench --floor` measures")
                .hide(true)
                .arg(Arg::new("workers").long("workers").value_parser(clap::value_parser!(usize))),
        )
        .subcommand(
            Command::new(bench::child::SUBCOMMAND)
                .about("Become a program that ends with the one that started it")
                .hide(true)
                .arg(Arg::new("parent").required(true).value_parser(clap::value_parser!(u32)))
                .arg(
                    Arg::new("program")
                        .last(true)
                        .num_args(1..)
                        .value_parser(clap::value_parser!(OsString)),
                ),
        )
        .subcommand(Command::new("metrics").about("Print docs/metrics.md: every metric there is"))
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
