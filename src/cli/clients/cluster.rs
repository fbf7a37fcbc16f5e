//! `fanfare cluster status`: shows the hubs of a cluster and its log.

use super::client::{self, Client, Retries, wait_argument};
use clap::{Arg, ArgAction, ArgMatches, Command};
use reqwest::Method;
use serde::Deserialize;
use std::io::{self, BufWriter, Write};

pub(in crate::cli) fn command() -> Command {
    Command::new("status")
        .about("Show the hubs of a cluster, how far each has read the log, and the log")
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the answer of the hub, in JSON"),
        )
        .arg(wait_argument())
        .args(client::arguments())
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    log: Log,
    hubs: Vec<Hub>,
}

#[derive(Deserialize)]
struct Log {
    end: u64,
    leader: Option<String>,
    stale_servers: Vec<String>,
    unreachable_s: Option<u64>,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct Hub {
    name: String,
    version: String,
    applied: u64,
    lag: u64,
    sessions: u64,
    state: String,
    problem: Option<String>,
}

pub(super) async fn run(flags: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::of(flags)?;
    let build = |client: &Client| client.request(Method::GET, "/cluster");
    let answer = client.send_with_retry(build, &mut Retries::within_wait(flags)).await?;
    let answer = answer.bytes().await.map_err(|error| client.connection_failure(error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    if flags.get_flag("json") {
        out.write_all(&answer)?;
        writeln!(out)?;
    } else {
        print(&mut out, &serde_json::from_slice(&answer)?)?;
    }
    out.flush()?;
    Ok(())
}

fn print(out: &mut impl Write, cluster: &Cluster) -> io::Result<()> {
    let Cluster { name, log, hubs } = cluster;
    let leader = log.leader.as_deref().unwrap_or("none");
    writeln!(out, "cluster {name}, log ends at message {}, leader {leader}", log.end)?;
    if let Some(seconds) = log.unreachable_s {
        writeln!(out, "the log has not answered for {seconds} s")?;
    }
    if !log.stale_servers.is_empty() {
        writeln!(out, "servers that are not up to date: {}", log.stale_servers.join(", "))?;
    }
    if let Some(problem) = &log.problem {
        writeln!(out, "{problem}")?;
    }
    writeln!(
        out,
        "{:<20} {:<9} {:>12} {:>8} {:>8}  VERSION",
        "HUB", "STATE", "APPLIED", "LAG", "SESSIONS"
    )?;
    for hub in hubs {
        let Hub { name, version, applied, lag, sessions, state, problem } = hub;
        let detail = problem.as_ref().map_or(String::new(), |problem| format!("  {problem}"));
        writeln!(
            out,
            "{name:<20} {state:<9} {applied:>12} {lag:>8} {sessions:>8}  {version}{detail}"
        )?;
    }
    Ok(())
}
