//! Command line: the hub, its clients, and tools.
//!
//! Exit statuses: 0 success; 1 local failure; 2 usage error; 3 hub unreachable or unavailable; 4
//! refused by the hub. `run` exits with the status of its command. A closed output pipe is not a
//! failure.

#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "cli")]
mod clients;
#[cfg(feature = "cluster")]
mod cluster;
mod journal;
mod token;

use crate::config::{Config, FEATURES, RawConfig, SETTINGS, command, env_name};
use anyhow::bail;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;

/// Runs the subcommand that the arguments name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Default of every TLS client in this process; fails only if one is installed already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let done =
        dispatch(&whole_command().get_matches_from(with_default(args.into_iter().collect())));
    crate::telemetry::end_logging();
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print_message(&format!("{error:#}"));
            exit_code(&error)
        }
    }
}

/// Returns the exit status of a failure.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    #[cfg(feature = "cli")]
    if let Some(code) = clients::exit_code(error) {
        return code;
    }
    let _ = error;
    ExitCode::FAILURE
}

/// Prints a message to standard error.
fn print_message(text: &str) {
    // Standard error may be closed, or a file on a full disk.
    let _ = writeln!(std::io::stderr(), "fanfare: {text}");
}

/// Returns true if the reader of the output has closed it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("serve", flags)) => {
            raise_file_limit();
            crate::app::run(|| resolve(flags))?;
        }
        Some(("metrics", _)) => {
            std::io::stdout().write_all(crate::telemetry::markdown()?.as_bytes())?;
        }
        Some(("journal", flags)) => return journal::run(flags),
        Some(("token", flags)) => return token::run(flags, resolve),
        Some(("config", sub)) => match sub.subcommand() {
            Some(("docs", _)) => {
                std::io::stdout().write_all(crate::config::markdown().as_bytes())?;
            }
            Some(("check", flags)) => {
                crate::app::check(&resolve(flags)?)?;
                writeln!(std::io::stdout(), "the configuration is valid")?;
            }
            _ => bail!("missing subcommand of `config`"),
        },
        Some((name, flags)) => return dispatch_optional(name, flags),
        None => bail!("missing subcommand"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a subcommand that only some builds have.
fn dispatch_optional(name: &str, flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "bench")]
    if let Some(done) = bench::run(name, flags) {
        return done;
    }
    #[cfg(feature = "cluster")]
    if name == "cluster" {
        return cluster::run(flags, resolve);
    }
    #[cfg(feature = "cli")]
    if let Some(done) = clients::run(name, flags) {
        return done;
    }
    let _ = flags;
    bail!("unknown subcommand {name:?}")
}

/// Raises the open file limit as far as the system allows, because every connection is an open
/// file. Returns the limit.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        let _ = writeln!(std::io::stderr(), "fanfare: cannot raise the open file limit: {error}");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Variables that are read beside those of settings.
const OTHER_VARIABLES: [&str; 5] =
    ["FANFARE_CONFIG", "FANFARE_URL", "FANFARE_TOKEN", "FANFARE_RUN", "FANFARE_STREAM"];

/// Warns of variables that look like settings and are none.
fn warn_of_unknown_variables() {
    let known: Vec<String> = SETTINGS
        .iter()
        .map(|setting| env_name(setting.name))
        .chain(OTHER_VARIABLES.map(str::to_owned))
        .collect();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_known = known.iter().any(|known| *known == name);
        if !name.starts_with("FANFARE_") || is_known || is_of_kubernetes(&name) {
            continue;
        }
        let distance = |known: &&String| strsim::damerau_levenshtein(&name, known);
        let nearest = known.iter().min_by_key(distance).filter(|known| distance(known) <= 3);
        let hint = nearest.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "fanfare: unknown variable {name}{hint}");
    }
}

/// Returns true for a variable that Kubernetes sets for a service of the name `fanfare`.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.trim_start_matches("FANFARE_");
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn resolve(flags: &ArgMatches) -> anyhow::Result<Config> {
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("FANFARE_") && value.to_str().is_none() {
            bail!("{name} is not UTF-8");
        }
    }
    warn_of_unknown_variables();
    Config::resolve(RawConfig::collect(flags, |name| std::env::var(name).ok())).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
        anyhow::anyhow!("invalid configuration:{}", lines.concat())
    })
}

fn whole_command() -> Command {
    let check = command().name("check").about("Check the configuration and report every error");
    let docs = Command::new("docs").about("Print docs/configuration.md");
    Command::new("fanfare")
        .about("Broadcasts events to browsers and services over Server-Sent Events")
        .version(env!("CARGO_PKG_VERSION"))
        .long_version(long_version())
        .subcommand_required(true)
        .subcommand(command())
        .subcommands(optional_commands())
        .subcommand(journal::command())
        .subcommand(token::command(command()))
        .subcommand(Command::new("metrics").about("Print docs/metrics.md, the list of metrics"))
        .subcommand(
            Command::new("config")
                .about("Check or document the configuration")
                .subcommand_required(true)
                .subcommand(check)
                .subcommand(docs),
        )
}

/// Returns the subcommands that only some builds have.
fn optional_commands() -> Vec<Command> {
    let groups: &[fn() -> Vec<Command>] = &[
        #[cfg(feature = "cluster")]
        || vec![cluster::command(command())],
        #[cfg(feature = "cli")]
        clients::commands,
        #[cfg(feature = "bench")]
        bench::commands,
    ];
    groups.iter().flat_map(|commands| commands()).collect()
}

/// Returns the version, with the features of this build.
fn long_version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let enabled = FEATURES.iter().filter(|feature| feature.is_enabled);
        let enabled: Vec<&str> = enabled.map(|feature| feature.name).collect();
        let enabled = if enabled.is_empty() { "none".to_owned() } else { enabled.join(", ") };
        format!("{}\nfeatures: {enabled}", env!("CARGO_PKG_VERSION"))
    })
}

/// `fanfare` and `fanfare --flag` mean `fanfare serve`.
fn with_default(mut args: Vec<OsString>) -> Vec<OsString> {
    const TOP_LEVEL_FLAGS: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
    let has_subcommand =
        first.is_some_and(|arg| !arg.starts_with('-') || TOP_LEVEL_FLAGS.contains(&arg.as_str()));
    if !has_subcommand {
        args.insert(1.min(args.len()), "serve".into());
    }
    args
}
