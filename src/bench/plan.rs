//! Plan of a bench: the defaults of its scenario, and the flags that change them.

use super::layout::Layout;
use super::mark::MARK_BYTES;
use super::scenario::{PRESETS, Scenario};
use crate::config::duration;
use anyhow::{Result, anyhow, bail, ensure};
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::time::Duration;

/// Maximum number of streams in a subscriber's URL.
const MAX_STREAMS_PER_SUBSCRIBER: usize = 64;
const MAX_PUBLISHERS: usize = 4_096;

/// Default interval of scrapes in the scenario `scraped`.
const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_millis(100);
/// Default number of searched events in the scenario `searched`.
const DEFAULT_HISTORY: usize = 1_000_000;
/// Default number of slow clients in the scenario `slow`.
const DEFAULT_SLOW_CLIENTS: usize = 900;

/// The server to measure.
#[derive(Clone, Debug)]
pub enum Target {
    /// A hub that the bench starts with these arguments, on a temporary data directory.
    Own(Vec<String>),
    /// The floor, with this number of workers.
    Floor(usize),
    /// A server that is running.
    Running {
        /// URL for subscribers; `None` if there are none.
        subscribe: Option<String>,
        /// URL for publishers; `None` if there are none.
        publish: Option<String>,
        /// Process id, for its resource usage.
        pid: Option<u32>,
    },
}

/// Plan of a bench.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Scenario.
    pub scenario: Scenario,
    /// Server to measure.
    pub target: Target,
    /// Body of a publish, with `{data}` and `{stream}`.
    pub body: String,
    /// Headers of every request.
    pub headers: Vec<String>,
    /// Streams, publishers and subscribers.
    pub layout: Layout,
    /// Connections that read.
    pub subscribers: usize,
    /// Number of these connections that never read.
    pub stuck: usize,
    /// Additional connections that are slow on purpose.
    pub slow: usize,
    /// Interval of scrapes during the bench.
    pub scrape: Option<Duration>,
    /// Number of events that are searched during the bench.
    pub history: usize,
    /// Events per second; `None` for as many as possible.
    pub rate: Option<f64>,
    /// Number of events after which the bench ends.
    pub events: Option<u64>,
    /// Time after which the bench ends.
    pub duration: Duration,
    /// Bytes of an event's data.
    pub size: usize,
    /// Events missed in a storm.
    pub missed: u64,
    /// Events read in a visit of `churn`.
    pub visit: u64,
    /// Threads that read.
    pub threads: usize,
    /// Maximum number of connections that are opened concurrently.
    pub connecting: usize,
    /// Time for the server to settle before it is measured.
    pub settle: Duration,
    /// Print JSON instead of a table.
    pub json: bool,
}

/// Text after the flags in `--help`.
const EXPLANATION: &str = "Without URLs the bench starts a hub on a temporary data directory, with the arguments \
     after `--`.\nIn URLs and the body, {stream} is replaced by the name of a stream, \
     {streams} by\nstream=NAME&stream=…, and {data} by the data of the event, a JSON \
     string. A publish URL\nredis://HOST:PORT/{stream} sends XADD.\nThe exit status is 1 \
     if an event was lost, duplicated or reordered, or if a\nsubscriber was refused or \
     disconnected by the server.";

/// Returns the command `bench` with its flags.
pub fn command() -> Command {
    let scenarios = PRESETS.map(|p| clap::builder::PossibleValue::new(p.name).help(p.about));
    let text =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let count = |name, value| text(name, value).value_parser(clap::value_parser!(u64));
    Command::new("bench")
        .about("Measure the cost, latency and losses of this hub or of any other SSE server")
        .after_help(EXPLANATION)
        .subcommands(subcommands())
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("scenario")
                .value_name("SCENARIO")
                .default_value("paced")
                .value_parser(PossibleValuesParser::new(scenarios)),
        )
        .arg(text("subscribe-url", "URL").help("URL to subscribe to"))
        .arg(text("publish-url", "URL").help("URL to publish to"))
        .arg(text("publish-body", "TEXT").default_value("{data}").help("Body of a publish"))
        .arg(
            text("header", "NAME: VALUE").action(ArgAction::Append).help("Header of every request"),
        )
        .arg(count("pid", "PID").help("Process of the server, whose CPU and memory are measured"))
        .arg(text("floor", "WORKERS").value_parser(clap::value_parser!(u64)).help(
            "Measure the floor instead: a minimal server with WORKERS threads, which only writes \
             each frame to each socket",
        ))
        .arg(count("subscribers", "N").help("Connections that subscribe"))
        .arg(count("stuck", "N").help("Number of subscribers that never read"))
        .arg(count("slow", "N").help(
            "Additional connections that are slow on purpose: a third never end their head, a \
             third never end their body, a third never read",
        ))
        .arg(
            text("scrape", "TIME")
                .value_parser(ValueParser::new(duration))
                .help("Interval of scrapes of the server's /metrics; 0s for none"),
        )
        .arg(count("history", "N").help("Stored events that are searched during the bench"))
        .arg(count("streams", "K").help("Number of streams"))
        .arg(count("streams-per-subscriber", "M").help("Streams that each subscriber reads"))
        .arg(count("publishers", "P").help("Connections that publish; each waits for its response"))
        .arg(text("rate", "R|max").help("Events per second, or as many as possible"))
        .arg(count("events", "E").help("Number of events after which the bench ends"))
        .arg(count("size", "BYTES").default_value("200").help("Bytes of an event's data"))
        .arg(
            text("duration", "TIME")
                .value_parser(ValueParser::new(duration))
                .help("Time after which the bench ends, such as 20s"),
        )
        .arg(
            count("missed", "N").default_value("100").help("Events missed in the scenario `storm`"),
        )
        .arg(count("visit", "N").default_value("5").help("Events read per connection in `churn`"))
        .arg(count("threads", "N").default_value("1").help("Threads of the subscribers"))
        .arg(count("connecting", "N").default_value("500").help("Connections opened concurrently"))
        .arg(
            text("settle", "TIME")
                .value_parser(ValueParser::new(duration))
                .default_value("1s")
                .help("Time for the server to settle before it is measured"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
        .arg(
            Arg::new("hub")
                .last(true)
                .num_args(0..)
                .value_name("ARGUMENTS")
                .help("Arguments of the hub that the bench starts"),
        )
}

/// Returns the subcommands that only some builds have.
fn subcommands() -> Vec<Command> {
    vec![
        #[cfg(feature = "cluster")]
        super::cluster::command(),
    ]
}

impl Plan {
    /// Reads the flags, with the defaults of the scenario.
    pub fn read(matches: &ArgMatches) -> Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let count = |name: &str| matches.get_one::<u64>(name).copied();
        let size_of = |name: &str, default: usize| count(name).map_or(default, |n| n as usize);
        // clap has filled in the defaults of these.
        let given = |name: &str| count(name).unwrap_or_default();
        let name = text("scenario").unwrap_or_default();
        let Some(preset) = PRESETS.iter().find(|p| p.name == name) else {
            bail!("unknown scenario {name:?}");
        };
        let rate = match text("rate").as_deref() {
            None => preset.rate,
            Some("max") => None,
            Some(text) => Some(text.parse().ok().filter(|r| *r > 0.0).ok_or_else(|| {
                anyhow!("--rate {text:?} is not a number greater than 0 or `max`")
            })?),
        };
        // The default of the scenario that is named after it, and otherwise 0.
        let default_of = |scenario, default| if preset.scenario == scenario { default } else { 0 };
        let plan = Self {
            scenario: preset.scenario,
            target: target(matches, preset.scenario)?,
            body: text("publish-body").unwrap_or_default(),
            headers: matches.get_many::<String>("header").unwrap_or_default().cloned().collect(),
            layout: Layout {
                streams: size_of("streams", preset.streams),
                streams_per_subscriber: size_of("streams-per-subscriber", preset.per_subscriber),
                publishers: size_of("publishers", preset.publishers),
            },
            subscribers: size_of("subscribers", preset.subscribers),
            stuck: size_of("stuck", 0),
            slow: size_of("slow", default_of(Scenario::Slow, DEFAULT_SLOW_CLIENTS)),
            scrape: matches
                .get_one::<Duration>("scrape")
                .copied()
                .or((preset.scenario == Scenario::Scraped).then_some(DEFAULT_SCRAPE_INTERVAL))
                .filter(|every| !every.is_zero()),
            history: size_of("history", default_of(Scenario::Searched, DEFAULT_HISTORY)),
            rate,
            events: count("events"),
            duration: *matches
                .get_one::<Duration>("duration")
                .unwrap_or(&Duration::from_secs(preset.seconds)),
            size: given("size") as usize,
            missed: given("missed"),
            visit: given("visit").max(1),
            threads: given("threads").max(1) as usize,
            connecting: given("connecting").max(1) as usize,
            settle: *matches.get_one::<Duration>("settle").unwrap_or(&Duration::ZERO),
            json: matches.get_flag("json"),
        };
        plan.checked()
    }

    fn checked(self) -> Result<Self> {
        let Layout { streams, streams_per_subscriber, publishers } = self.layout;
        let within = |name: &str, value: usize, range: std::ops::RangeInclusive<usize>| {
            ensure!(range.contains(&value), "--{name} {value} is not within {range:?}");
            Ok(())
        };
        within("streams", streams, 1..=10_000_000)?;
        within("publishers", publishers, 1..=MAX_PUBLISHERS)?;
        within(
            "streams-per-subscriber",
            streams_per_subscriber,
            1..=MAX_STREAMS_PER_SUBSCRIBER.min(streams),
        )?;
        within("stuck", self.stuck, 0..=self.subscribers)?;
        within("size", self.size, MARK_BYTES..=64 * 1024 * 1024)?;
        within("threads", self.threads, 1..=64)?;
        if !self.body.contains("{data}") {
            bail!("--publish-body must contain {{data}}");
        }
        if let Some(invalid) = self.headers.iter().find(|h| !h.contains(':') || h.contains('\n')) {
            bail!("--header {invalid:?} must have the form `Name: value`");
        }
        Ok(self)
    }
}

fn target(matches: &ArgMatches, scenario: Scenario) -> Result<Target> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let (subscribe, publish) = (text("subscribe-url"), text("publish-url"));
    let pid = matches.get_one::<u64>("pid").map(|pid| *pid as u32);
    let floor = matches.get_one::<u64>("floor");
    let hub: Vec<String> = matches.get_many("hub").unwrap_or_default().cloned().collect();
    if subscribe.is_none() && publish.is_none() {
        if pid.is_some() {
            bail!("--pid requires --subscribe-url or --publish-url");
        }
        return Ok(match floor {
            Some(workers) => Target::Floor((*workers as usize).clamp(1, 64)),
            None => Target::Own(hub),
        });
    }
    if floor.is_some() || !hub.is_empty() {
        bail!("URLs name a running server; remove --floor and the arguments after `--`");
    }
    let (reads, writes) = (scenario != Scenario::Publish, scenario != Scenario::Idle);
    match (&subscribe, &publish) {
        (None, _) if reads => bail!("this scenario also requires --subscribe-url"),
        (_, None) if writes => bail!("this scenario also requires --publish-url"),
        _ => Ok(Target::Running { subscribe, publish, pid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan> {
        let args = std::iter::once("bench").chain(args.iter().copied());
        let matches = command().try_get_matches_from(args)?;
        Plan::read(&matches)
    }

    #[test]
    fn flags_override_the_defaults_of_a_scenario() {
        let default = plan(&[]).expect("a plan");
        assert_eq!(
            (default.scenario, default.subscribers, default.rate),
            (Scenario::Paced, 1_000, Some(50.0))
        );
        let changed = plan(&["storm", "--subscribers", "7", "--missed", "3"]).expect("a plan");
        assert_eq!((changed.subscribers, changed.missed), (7, 3));
        assert_eq!(plan(&["--rate", "max"]).expect("a plan").rate, None);
        let own = plan(&["publish", "--", "--durability", "os"]).expect("a plan");
        assert!(matches!(own.target, Target::Own(args) if args == ["--durability", "os"]));
    }

    #[test]
    fn invalid_flags_are_reported_by_name() {
        for (args, expected) in [
            (&["--rate", "0"][..], "--rate"),
            (&["--size", "3"], "--size"),
            (&["--stuck", "2000"], "--stuck"),
            (&["--publish-body", "x"], "{data}"),
            (&["--header", "x"], "--header"),
            (&["--subscribe-url", "http://127.0.0.1/"], "--publish-url"),
            (&["--pid", "1"], "--pid"),
            (&["--streams", "2", "--streams-per-subscriber", "3"], "--streams-per-subscriber"),
        ] {
            let error = plan(args).expect_err("invalid flags");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
