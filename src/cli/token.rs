//! `fanfare token`: creates tokens and API keys, and shows the content of a token.

use crate::access::{
    GrantClaims, NewToken, SigningKey, decode_unverified, hash_of, new_secret, problem_detail,
};
use crate::config::{Config, duration};
use crate::event::Timestamp;
use crate::journal::now;
use anyhow::{Context as _, bail};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::fmt::Write as _;
use std::io::Write as _;
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
        list("publish", "Streams that it publishes to"),
        list("end", "Streams that it ends"),
        list("subscribe", "Streams that it reads"),
        list("run", "Jobs that it runs"),
        list("files", "Folders that it downloads from"),
        list("chat", "Models that it chats with"),
        Arg::new("admin")
            .long("admin")
            .action(ArgAction::SetTrue)
            .help("What is for operators, too"),
    ];
    let mint = Command::new("mint")
        .about("Make a token, signed with FANFARE_JWT_SECRET or with --private-key")
        .args(&grants)
        .arg(text("sub", "NAME", "Whom it is for"))
        .arg(
            text("expires", "DURATION", "How long it is good")
                .default_value(DEFAULT_LIFETIME)
                .value_parser(ValueParser::new(duration)),
        )
        .arg(text("iss", "TEXT", "Its issuer"))
        .arg(text("aud", "TEXT", "Its audience"))
        .arg(text("kid", "TEXT", "The key's name in a key set"))
        .arg(text("algorithm", "NAME", "The algorithm, where not the usual one of the key"))
        .arg(text("private-key", "FILE", "A private key in PEM (RSA, EC, Ed25519)"));
    let inspect = serve
        .name("inspect")
        .about("Tell what a token says, and whether a hub that is configured like this takes it")
        .arg(
            Arg::new("token")
                .value_name("TOKEN")
                .required(true)
                .help("The token, or - for standard input"),
        );
    let key = Command::new("key")
        .about("Make an API key: its secret, and its lines for the configuration")
        .arg(Arg::new("name").value_name("NAME").required(true).help("How it is called"))
        .args(&grants);
    Command::new("token")
        .about("Make tokens and keys, and see what a token says")
        .subcommand_required(true)
        .subcommands([mint, inspect, key])
}

/// Runs the subcommand; `resolve` reads the configuration of a hub.
pub(super) fn run(
    matches: &ArgMatches,
    resolve: impl Fn(&ArgMatches) -> anyhow::Result<Config>,
) -> anyhow::Result<()> {
    let text = match matches.subcommand() {
        Some(("mint", flags)) => mint(flags)? + "\n",
        Some(("inspect", flags)) => inspect(flags, &resolve(flags)?)?,
        Some(("key", flags)) => key(flags),
        _ => bail!("token needs a subcommand"),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn claimed(flags: &ArgMatches) -> GrantClaims {
    let list = |name: &str| flags.get_many(name).unwrap_or_default().cloned().collect();
    GrantClaims {
        publish: list("publish"),
        end: list("end"),
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
        (None, Err(_)) => bail!("give --private-key FILE, or the secret in {SECRET_VARIABLE}"),
    };
    let new = NewToken {
        subject: text("sub"),
        grants: claimed(flags),
        lifetime: flags.get_one("expires").copied().unwrap_or(Duration::ZERO),
        issuer: text("iss"),
        audience: text("aud"),
        key_id: text("kid"),
        algorithm: text("algorithm"),
    };
    new.sign(&key, now()).map_err(anyhow::Error::msg)
}

fn inspect(flags: &ArgMatches, config: &Config) -> anyhow::Result<String> {
    let token = match flags.get_one::<String>("token").map(String::as_str) {
        None | Some("-") => std::io::read_to_string(std::io::stdin())?,
        Some(token) => token.to_owned(),
    };
    let token = token.trim();
    let (header, claims) =
        decode_unverified(token).map_err(|why| anyhow::anyhow!("it is no token: {why}"))?;
    let mut out = format!("header  {header}\nclaims  {claims}\n");
    for (name, what) in [("iat", "issued"), ("nbf", "begins"), ("exp", "ends")] {
        if let Some(seconds) = claims.get(name).and_then(serde_json::Value::as_f64) {
            let at = Timestamp::from_ms((seconds * 1e3) as u64);
            let _ = writeln!(out, "{what:7} {at}");
        }
    }
    let verdict = match config.access.verify(token, now()) {
        Ok(caller) => format!("taken, as {}", caller.subject.as_deref().unwrap_or("nobody named")),
        Err(why) => format!("refused: {}", problem_detail(why)),
    };
    let _ = writeln!(out, "here    {verdict}");
    Ok(out)
}

fn key(flags: &ArgMatches) -> String {
    let name = flags.get_one::<String>("name").cloned().unwrap_or_default();
    let secret = new_secret();
    let mut out = format!("secret: {secret}\n\n[[key]]\nname = {name:?}\n");
    let _ = writeln!(out, "sha256 = {:?}", hash_of(&secret));
    let claimed = claimed(flags);
    for (name, list) in [
        ("publish", claimed.publish),
        ("end", claimed.end),
        ("subscribe", claimed.subscribe),
        ("run", claimed.run),
        ("files", claimed.files),
        ("chat", claimed.chat),
    ] {
        if !list.is_empty() {
            let _ = writeln!(out, "{name} = {list:?}");
        }
    }
    if claimed.admin {
        out.push_str("admin = true\n");
    }
    out
}
