//! `fanfare token`: creates tokens and API keys, and shows the content of a token.

use crate::access::{
    GrantClaims, NewToken, SigningKey, decode_unverified, hash_of, new_secret, problem_detail,
};
use crate::config::{Config, SETTINGS, duration};
use crate::event::Timestamp;
use crate::journal::now;
use anyhow::{Context as _, bail};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Default lifetime of a token.
const DEFAULT_LIFETIME: &str = "1h";
/// Variable with the secret for signing and for the hub, so that it is on no command line.
const SECRET_VARIABLE: &str = "FANFARE_JWT_SECRET";

/// Returns the subcommand; `serve` has the arguments of a hub.
pub(super) fn command(serve: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let list =
        |name, help| text(name, "SELECTOR", help).action(ArgAction::Append).value_delimiter(',');
    let grants = [
        list("publish", "Streams that it may publish to"),
        list("end", "Streams that it may end"),
        list("delete", "Streams that it may delete"),
        list("subscribe", "Streams that it may read"),
        list("run", "Jobs that it may run, by name"),
        list("files", "Folders that it may download from, by name"),
        list("chat", "Models that it may chat with, by name"),
        Arg::new("admin")
            .long("admin")
            .action(ArgAction::SetTrue)
            .help("Grant admin operations, such as deleting streams and reading metrics"),
    ];
    let mint = Command::new("mint")
        .about("Create a token, signed with FANFARE_JWT_SECRET or with --private-key")
        .args(&grants)
        .arg(text("sub", "NAME", "Subject of the token (`sub`)"))
        .arg(
            text("expires", "DURATION", "Lifetime of the token")
                .default_value(DEFAULT_LIFETIME)
                .value_parser(ValueParser::new(duration)),
        )
        .arg(
            text("jwt-max-lifetime", "DURATION", "Maximum lifetime that the hub accepts")
                .env("FANFARE_JWT_MAX_LIFETIME")
                .default_value(default_of("jwt-max-lifetime"))
                .value_parser(ValueParser::new(duration)),
        )
        .arg(text("iss", "TEXT", "Issuer of the token (`iss`)"))
        .arg(text("aud", "TEXT", "Audience of the token (`aud`)"))
        .arg(text("kid", "TEXT", "Id of the key in a key set (`kid`)"))
        .arg(text("algorithm", "NAME", "Signature algorithm, if not the default of the key"))
        .arg(text("private-key", "FILE", "Private key (PEM: RSA, EC, Ed25519)"));
    let inspect = serve
        .name("inspect")
        .about("Show the content of a token, and whether a hub with this configuration accepts it")
        .arg(
            Arg::new("token")
                .value_name("TOKEN")
                .required(true)
                .help("Token, or - for standard input"),
        );
    let key = Command::new("key")
        .about("Create an API key: print its secret, and its lines for the configuration")
        .arg(Arg::new("name").value_name("NAME").required(true).help("Name of the key"))
        .args(&grants);
    Command::new("token")
        .about("Create tokens and API keys, and inspect tokens")
        .subcommand_required(true)
        .subcommands([mint, inspect, key])
}

/// Runs the subcommand; `resolve` reads the configuration of a hub.
pub(super) fn run(
    matches: &ArgMatches,
    resolve: impl Fn(&ArgMatches) -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let (text, code) = match matches.subcommand() {
        Some(("mint", flags)) => (mint(flags)? + "\n", ExitCode::SUCCESS),
        Some(("inspect", flags)) => inspect(flags, &resolve(flags)?)?,
        Some(("key", flags)) => (key(flags), ExitCode::SUCCESS),
        _ => bail!("missing subcommand of `token`"),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(code)
}

/// Returns the default of a setting of the hub.
fn default_of(name: &str) -> &'static str {
    SETTINGS.iter().find(|setting| setting.name == name).map_or("", |setting| setting.default)
}

fn grant_claims(flags: &ArgMatches) -> GrantClaims {
    let list = |name: &str| flags.get_many(name).unwrap_or_default().cloned().collect();
    GrantClaims {
        publish: list("publish"),
        end: list("end"),
        delete: list("delete"),
        subscribe: list("subscribe"),
        run: list("run"),
        files: list("files"),
        chat: list("chat"),
        admin: flags.get_flag("admin"),
    }
}

fn mint(flags: &ArgMatches) -> anyhow::Result<String> {
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let key = match (text("private-key"), std::env::var(SECRET_VARIABLE)) {
        (Some(path), _) => SigningKey::Pem(std::fs::read(&path).with_context(|| path.clone())?),
        (None, Ok(secret)) => SigningKey::Secret(secret),
        (None, Err(_)) => bail!("no signing key: set --private-key FILE or {SECRET_VARIABLE}"),
    };
    let lifetime: Duration = flags.get_one("expires").copied().unwrap_or_default();
    let max_lifetime: Duration = flags.get_one("jwt-max-lifetime").copied().unwrap_or_default();
    if lifetime > max_lifetime {
        bail!(
            "the hub would refuse the token: its lifetime exceeds --jwt-max-lifetime ({})",
            flags
                .get_raw("jwt-max-lifetime")
                .into_iter()
                .flatten()
                .map(|v| v.to_string_lossy())
                .collect::<String>()
        );
    }
    let new = NewToken {
        subject: text("sub"),
        grants: grant_claims(flags),
        lifetime,
        issuer: text("iss"),
        audience: text("aud"),
        key_id: text("kid"),
        algorithm: text("algorithm"),
    };
    new.sign(&key, now()).map_err(anyhow::Error::msg)
}

/// Returns the description of a token; the exit status is a failure if the hub refuses the token.
fn inspect(flags: &ArgMatches, config: &Config) -> anyhow::Result<(String, ExitCode)> {
    let token = match flags.get_one::<String>("token").map(String::as_str) {
        None | Some("-") => std::io::read_to_string(std::io::stdin())?,
        Some(token) => token.to_owned(),
    };
    let token = token.trim();
    let (header, claims) =
        decode_unverified(token).map_err(|why| anyhow::anyhow!("not a token: {why}"))?;
    let mut out = format!("header  {header}\nclaims  {claims}\n");
    for (name, label) in [("iat", "issued"), ("nbf", "begins"), ("exp", "expires")] {
        if let Some(seconds) = claims.get(name).and_then(serde_json::Value::as_f64) {
            let at = Timestamp::from_ms((seconds * 1e3) as u64);
            let _ = writeln!(out, "{label:7} {at}");
        }
    }
    let (result, code) = match config.access.verify(token, now()) {
        Ok(caller) => {
            let subject = caller.subject.as_deref().unwrap_or("none");
            (format!("accepted, subject {subject}"), ExitCode::SUCCESS)
        }
        Err(why) => (format!("refused: {}", problem_detail(why)), ExitCode::FAILURE),
    };
    let _ = writeln!(out, "result  {result}");
    Ok((out, code))
}

fn key(flags: &ArgMatches) -> String {
    let name = flags.get_one::<String>("name").cloned().unwrap_or_default();
    let secret = new_secret();
    let mut out = format!("secret: {secret}\n\n[[key]]\nname = {name:?}\n");
    let _ = writeln!(out, "sha256 = {:?}", hash_of(&secret));
    let claims = grant_claims(flags);
    for (name, list) in [
        ("publish", claims.publish),
        ("end", claims.end),
        ("delete", claims.delete),
        ("subscribe", claims.subscribe),
        ("run", claims.run),
        ("files", claims.files),
        ("chat", claims.chat),
    ] {
        if !list.is_empty() {
            let _ = writeln!(out, "{name} = {list:?}");
        }
    }
    if claims.admin {
        out.push_str("admin = true\n");
    }
    out
}
