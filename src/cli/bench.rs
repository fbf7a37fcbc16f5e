//! `fanfare bench`, and the hidden subcommands that it starts.

use super::raise_file_limit;
use crate::bench::{Plan, child, command, floor, run as measure};
use crate::telemetry::{LogFormat, start_logging};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Subcommand that serves the floor.
const FLOOR: &str = "bench-floor";

/// Returns the subcommands.
pub(super) fn commands() -> Vec<Command> {
    let floor = Command::new(FLOOR)
        .about("Run the minimal server that `bench --floor` measures")
        .hide(true)
        .arg(Arg::new("workers").long("workers").value_parser(value_parser!(usize)));
    let program =
        Arg::new("program").last(true).num_args(1..).value_parser(value_parser!(OsString));
    let child = Command::new(child::SUBCOMMAND)
        .about("Run a program that exits with its parent process")
        .hide(true)
        .arg(Arg::new("parent").required(true).value_parser(value_parser!(u32)))
        .arg(program);
    vec![command(), floor, child]
}

/// Runs a subcommand; `None` if it is not one of these.
pub(super) fn run(name: &str, flags: &ArgMatches) -> Option<anyhow::Result<ExitCode>> {
    Some(match name {
        "bench" => bench(flags),
        FLOOR => {
            raise_file_limit();
            let workers = flags.get_one("workers").copied().unwrap_or(1);
            floor::serve(workers).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        child::SUBCOMMAND => {
            let program: Vec<OsString> =
                flags.get_many("program").unwrap_or_default().cloned().collect();
            let parent = flags.get_one("parent").copied().unwrap_or_default();
            Err(child::become_program(parent, &program).into())
        }
        _ => return None,
    })
}

/// Runs a measurement. The exit status is 1 if events were lost, duplicated or reordered, or if
/// subscribers were lost.
fn bench(flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    start_logging("warn", LogFormat::Text);
    #[cfg(feature = "cluster")]
    if let Some(("cluster", flags)) = flags.subcommand() {
        let plan = crate::bench::ClusterPlan::read(flags);
        let report = crate::bench::run_cluster(&plan)?;
        let text =
            if plan.is_json() { serde_json::to_string(&report)? + "\n" } else { report.table() };
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::read(flags)?;
    let report = measure(&plan, raise_file_limit())?;
    let text = if plan.json { serde_json::to_string(&report)? + "\n" } else { report.table() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
