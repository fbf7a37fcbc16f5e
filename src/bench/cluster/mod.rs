//! `fanfare bench cluster`: measures three hubs on three NATS servers of this machine, beside a single hub.
//!
//! All of them share the processors of the machine with the load, so that only the ratios to the single hub count.

mod faults;
mod join;
mod lag;
mod load;
mod machines;
mod report;

use crate::config::duration;
use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use machines::Machines;
pub use report::ClusterReport;
use report::Figure;
use std::path::PathBuf;
use std::time::Duration;

/// Figures that can be measured.
const FIGURES: [(&str, &str); 6] = [
    ("batches", "events per second in batches of 100 over 16 connections"),
    ("single", "time of the answers to 64 publishers"),
    ("paced", "processor time per delivery"),
    ("lag", "time between the first and the last hub that delivers an event"),
    ("faults", "time without an acknowledged publish when the leader of the log fails"),
    ("join", "events per second that a new hub gets, and the answers of others meanwhile"),
];

/// Plan of a measurement.
pub struct ClusterPlan {
    figures: Vec<String>,
    nats_server: PathBuf,
    rounds: usize,
    faults: usize,
    events: u64,
    duration: Duration,
    is_json: bool,
}

/// Returns the subcommand.
pub fn command() -> Command {
    let figures = FIGURES.map(|(name, about)| PossibleValue::new(name).help(about));
    let count = |name: &'static str, default: &'static str, help: &'static str| {
        let parser = value_parser!(u64).range(1..);
        Arg::new(name)
            .long(name)
            .value_name("N")
            .default_value(default)
            .value_parser(parser)
            .help(help)
    };
    Command::new("cluster")
        .about("Measure three hubs on three NATS servers, beside a single hub")
        .arg(
            Arg::new("figure")
                .long("figure")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(PossibleValuesParser::new(figures))
                .help("Figure to measure (repeatable); all without it"),
        )
        .arg(
            Arg::new("nats-server")
                .long("nats-server")
                .value_name("FILE")
                .default_value("nats-server")
                .value_parser(value_parser!(PathBuf))
                .help("Program of the NATS servers"),
        )
        .arg(count("rounds", "3", "Rounds, in which the single hub and the cluster take turns"))
        .arg(count("faults", "5", "Number of faults of each kind"))
        .arg(count("events", "1000000", "Events that the new hub gets"))
        .arg(
            Arg::new("duration")
                .long("duration")
                .value_name("TIME")
                .default_value("5s")
                .value_parser(ValueParser::new(duration))
                .help("Duration of a round"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
}

impl ClusterPlan {
    /// Reads the flags.
    pub fn read(flags: &ArgMatches) -> Self {
        let count = |name: &str| flags.get_one::<u64>(name).copied().unwrap_or(1);
        let given: Vec<String> = flags.get_many("figure").unwrap_or_default().cloned().collect();
        let all = || FIGURES.map(|(name, _)| name.to_owned()).to_vec();
        Self {
            figures: if given.is_empty() { all() } else { given },
            nats_server: flags.get_one("nats-server").cloned().unwrap_or_default(),
            rounds: count("rounds") as usize,
            faults: count("faults") as usize,
            events: count("events"),
            duration: flags.get_one("duration").copied().unwrap_or_default(),
            is_json: flags.get_flag("json"),
        }
    }

    /// Returns true if the report is printed as JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }
}

/// Measures the figures of a plan.
pub fn run_cluster(plan: &ClusterPlan) -> Result<ClusterReport> {
    let mut machines = Machines::start(&plan.nats_server)?;
    let mut figures: Vec<Figure> = Vec::new();
    for name in &plan.figures {
        if name == "join" && !figures.is_empty() {
            // The new hub is to get only the events that are counted.
            drop(machines);
            machines = Machines::start(&plan.nats_server)?;
        }
        figures.extend(match name.as_str() {
            "batches" => load::batches(&machines, plan)?,
            "single" => load::single(&machines, plan)?,
            "paced" => load::paced(&machines, plan)?,
            "lag" => lag::measure(&machines, plan)?,
            "faults" => faults::measure(&mut machines, plan)?,
            _ => join::measure(&mut machines, plan)?,
        });
    }
    Ok(ClusterReport { figures })
}
