//! Settings of the binary by flags, environment and file.

use crate::hub::Hub;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn fanfare(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(crate::hub::program()).args(args).envs(env.iter().copied()).output().unwrap()
}

#[test]
fn all_invalid_settings_are_reported_together_and_the_hub_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanfare.toml");
    std::fs::write(&file, "retry = \"soon\"\n").unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--durability", "perhaps"];
    let output = fanfare(&flags, &[("FANFARE_MAX_EVENTS", "none")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for location in ["--durability", "FANFARE_MAX_EVENTS", "fanfare.toml:1"] {
        assert!(text.contains(location), "{location} in {text}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn help_and_docs_list_every_setting() {
    let help = String::from_utf8(fanfare(&["serve", "--help"], &[]).stdout).unwrap();
    let docs = String::from_utf8(fanfare(&["config", "docs"], &[]).stdout).unwrap();
    for name in [
        "listen",
        "data-dir",
        "durability",
        "retry",
        "heartbeat",
        "max-age",
        "max-events",
        "max-bytes",
        "journal-max-bytes",
        "min-free-bytes",
        "max-event-bytes",
        "max-body-bytes",
        "write-timeout",
        "drain",
        "workers",
        "refusal-return-rate",
    ] {
        assert!(help.contains(&format!("--{name}")), "--{name} in the help");
        assert!(docs.contains(&format!("`--{name}")), "--{name} in the page");
    }
}

#[tokio::test]
async fn a_second_hub_on_the_same_directory_names_the_holder() {
    let hub = Hub::start(&[]).await;
    let data = hub.data.to_str().unwrap();
    let output = fanfare(&["--listen", "127.0.0.1:0", "--data-dir", data], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains(&format!("process {}", hub.pid())), "{text}");
    hub.publish("s", "unharmed").await;
}

#[tokio::test]
async fn a_newer_format_is_refused_with_both_versions() {
    let mut hub = Hub::start(&[]).await;
    hub.stop().await;
    std::fs::write(hub.data.join("FORMAT"), "7\n").unwrap();
    let output =
        fanfare(&["--listen", "127.0.0.1:0", "--data-dir", hub.data.to_str().unwrap()], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("format 7") && text.contains("up to 2"),
        "{text}"
    );
}

#[tokio::test]
async fn the_hub_listens_on_several_addresses_and_names_one_in_use() {
    let mut child = Command::new(crate::hub::program())
        .args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0", "--durability", "memory"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    for (line, host) in lines.iter().zip(["127.0.0.1:", "127.0.0.2:"]) {
        let url = line.strip_prefix("listening on ").unwrap();
        assert!(url.contains(host), "{lines:?}");
        let response = crate::hub::http().get(format!("{url}/version")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let used_address = lines[0].rsplit('/').next().unwrap();
    let second = fanfare(&["--listen", used_address, "--durability", "memory"], &[]);
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && text.contains(used_address), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A build without a feature refuses its settings, and streams that only the feature can protect.
#[cfg(not(feature = "chat"))]
#[tokio::test]
async fn a_build_without_chats_refuses_their_settings_and_streams() {
    let check = Command::new(crate::hub::program())
        .args(["config", "check", "--chat-kept", "2h", "--system", "off"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success(), "{error}");
    assert!(error.contains("--chat-kept: chat-kept needs the feature \"chat\""), "{error}");
    assert!(!error.contains("system"), "{error}");
    let hub = Hub::start(&[]).await;
    let (_, version) = hub.get("/version").await;
    assert!(!version["features"].as_array().unwrap().contains(&"chat".into()), "{version}");
    let refused = hub.subscribe("/streams/chat.x/events?refusal=status").await;
    assert_eq!(refused.status, 403);
    assert_eq!(hub.get("/chats/x").await.0, 404);
}

#[test]
fn a_check_finds_what_a_start_would() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let run = |config: &str, flags: &[&str], variable: &str| {
        std::fs::write(&file, config).unwrap();
        let output = Command::new(crate::hub::program())
            .args(["config", "check", "--config", file.to_str().unwrap()])
            .args(flags)
            .env(variable, "1s")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_valid, error) = run("", &[], "FANFARE_RETRYY");
    assert!(is_valid, "{error}");
    assert_eq!(error, "fanfare: unknown variable FANFARE_RETRYY; did you mean FANFARE_RETRY?\n");
    assert_eq!(run("", &[], "FANFARE_RETRY"), (true, String::new()));
    let tls = ["--tls-cert", "/missing", "--tls-key", "/missing"];
    for (config, flags, expected) in [
        ("", &tls[..], "cannot set up TLS: /missing: "),
        ("", &["--public-host", "a b"][..], "--public-host: \"a b\""),
        #[cfg(feature = "jobs")]
        ("[job.x]\ncommand = \"make all\"\n", &[][..], "no program \"make all\""),
    ] {
        let (is_valid, error) = run(config, flags, "FANFARE_RETRY");
        assert!(!is_valid && error.contains(expected), "{flags:?}: {error}");
    }
}

#[tokio::test]
async fn a_failed_start_reports_its_cause_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(&[]).await;
    let taken = ["--listen", &hub.address];
    let elsewhere = ["--listen", "192.0.2.7:80", "--anonymous", "subscribe"];
    let no_certificate = ["--tls-cert", "/missing", "--tls-key", "/missing"];
    for (flags, expected) in [
        (&taken[..], format!("fanfare: cannot listen on {}: ", hub.address)),
        (&elsewhere[..], "fanfare: cannot listen on 192.0.2.7:80: ".to_owned()),
        (&no_certificate[..], "fanfare: cannot set up TLS: /missing: ".to_owned()),
    ] {
        let data = folder.path().join("data");
        let output = Command::new(crate::hub::program())
            .args(["serve", "--data-dir", data.to_str().unwrap()])
            .args(flags)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with(&expected) && error.lines().count() == 1, "{flags:?}: {error}");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(!data.exists(), "the journal is not touched");
    }
}
