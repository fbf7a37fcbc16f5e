//! The subcommands that are clients of a hub, and those for the shell.

mod client;
#[cfg(feature = "cluster")]
mod cluster;
mod command;
mod follow;
mod grep;
mod outgoing;
mod output;
mod progress;
mod publish;
mod run;
mod running_journal;
mod shell;
mod spool;
mod streams;
mod tail;
mod transfer;

#[cfg(feature = "cluster")]
pub(super) use cluster::command as cluster_command;
pub(super) use running_journal::{commands as journal_commands, run as run_journal};

use super::{print_message, whole_command};
use clap::{ArgMatches, Command};
use std::io::Write as _;
use std::process::ExitCode;

/// Returns the subcommands.
pub(super) fn commands() -> Vec<Command> {
    let clients = [
        publish::command(),
        run::command(),
        tail::command(),
        streams::command(),
        transfer::export_command(),
        transfer::import_command(),
    ];
    let clients = clients.into_iter().map(|command| command.args(client::arguments()));
    let others = [shell::completions_command(), shell::man_command()];
    clients.chain(others).collect()
}

/// Runs a subcommand; `None` if it is not one of these.
pub(super) fn run(name: &str, flags: &ArgMatches) -> Option<anyhow::Result<ExitCode>> {
    let done = match name {
        "publish" => as_client(publish::run(flags)),
        "run" => return Some(as_client(run::run(flags))),
        "tail" => as_client(tail::run(flags)),
        "streams" => as_client(streams::run(flags)),
        "export" => as_client(transfer::export(flags)),
        "import" => as_client(transfer::import(flags)),
        "completions" => print(&shell::completions(flags, whole_command())),
        "man" => shell::man(flags, whole_command()).and_then(|page| print(&page)),
        _ => return None,
    };
    Some(done.map(|()| ExitCode::SUCCESS))
}

/// Runs `fanfare cluster status`.
#[cfg(feature = "cluster")]
pub(super) fn run_cluster(flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    as_client(cluster::run(flags)).map(|()| ExitCode::SUCCESS)
}

/// Returns the exit status of a failed request to a hub.
pub(super) fn exit_code(error: &anyhow::Error) -> Option<ExitCode> {
    error.downcast_ref().map(client::Failure::exit_code)
}

/// Runs a client of a hub.
fn as_client<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    std::io::stdout().write_all(text)?;
    Ok(())
}
