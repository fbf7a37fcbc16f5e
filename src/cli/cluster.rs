//! `fanfare cluster`: shows the state of a cluster, and recovers its log.

#[cfg(feature = "cli")]
use super::clients;
use crate::app::{RecoverOptions, recover};
use crate::config::Config;
use crate::telemetry::{LogFormat, start_logging};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::Write as _;
use std::process::ExitCode;

/// Returns the subcommand; `serve` has the arguments of a hub.
pub(super) fn command(serve: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let recover = serve
        .name("recover")
        .about("Begin a new log with the events of a stopped hub, after the log has lost messages")
        .long_about(
            "Begin a new log with the events of a stopped hub, after the log has lost messages. Stop all hubs, \
             run this with the settings of the hub that has most, and start that hub. Then start the others \
             with empty data directories.",
        )
        .args([
            flag("dry-run", "Show what would be done, and change nothing"),
            flag("force", "Replace a log that has messages which this hub may lack"),
        ]);
    let cluster = Command::new("cluster")
        .about("Show the state of a cluster, or recover its log")
        .subcommand_required(true)
        .subcommand(recover);
    #[cfg(feature = "cli")]
    let cluster = cluster.subcommand(clients::cluster_command());
    cluster
}

pub(super) fn run(
    matches: &ArgMatches,
    resolve: impl Fn(&ArgMatches) -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("recover", flags)) => {
            let is_dry_run = flags.get_flag("dry-run");
            let options = RecoverOptions { is_dry_run, is_forced: flags.get_flag("force") };
            start_logging("warn", LogFormat::Text);
            let recovery = recover(&resolve(flags)?, options)?;
            let last = if is_dry_run {
                "dry run: the log and the events were not changed"
            } else {
                "start this hub"
            };
            writeln!(std::io::stdout(), "{recovery}\n{last}")?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "cli")]
        Some(("status", flags)) => clients::run_cluster(flags),
        _ => anyhow::bail!("missing subcommand of `cluster`"),
    }
}
