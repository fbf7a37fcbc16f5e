//! Flags, environment and file, as the binary takes them.

use crate::hub::Hub;
use std::process::{Command, Output};

fn fanfare(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn every_wrong_setting_is_reported_at_once_and_the_hub_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fanfare.toml");
    std::fs::write(&file, "retry = \"soon\"\n").unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--durability", "perhaps"];
    let out = fanfare(&flags, &[("FANFARE_MAX_EVENTS", "none")]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success());
    for place in ["--durability", "FANFARE_MAX_EVENTS", "fanfare.toml:1"] {
        assert!(text.contains(place), "{place} in {text}");
    }
    assert!(out.stdout.is_empty());
}

#[test]
fn help_tells_of_every_setting() {
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
    let out = fanfare(&["--listen", "127.0.0.1:0", "--data-dir", data], &[]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success());
    assert!(text.contains(&format!("process {}", hub.pid())), "{text}");
    hub.publish("s", "unharmed").await;
}

#[tokio::test]
async fn a_newer_format_is_refused_naming_both() {
    let mut hub = Hub::start(&[]).await;
    hub.stop().await;
    std::fs::write(hub.data.join("FORMAT"), "7\n").unwrap();
    let out = fanfare(&["--listen", "127.0.0.1:0", "--data-dir", hub.data.to_str().unwrap()], &[]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success() && text.contains("format 7") && text.contains("up to 1"),
        "{text}"
    );
}

#[tokio::test]
async fn it_listens_on_several_addresses() {
    let hub = Hub::start(&["--listen", "127.0.0.1:0"]).await;
    // The first line is the first address; the log of the second is the same process.
    assert_eq!(hub.get("/version").await.1["name"], "fanfare");
    let port_taken = fanfare(&["--listen", &hub.address, "--durability", "memory"], &[]);
    let text = String::from_utf8(port_taken.stderr).unwrap();
    assert!(!port_taken.status.success() && text.contains(&hub.address), "{text}");
}
