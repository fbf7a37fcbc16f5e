//! First start of a hub that other machines reach and that has no keys.

use crate::credentials::{file_with_keys, send_with_bearer};
use crate::hub::Hub;
use reqwest::Method;
use std::os::unix::fs::PermissionsExt as _;

const STATS: (Method, &str) = (Method::GET, "/stats");

/// Returns the secret that a start has printed.
fn printed_secret(hub: &Hub) -> Option<String> {
    let (_, rest) = hub.banner.split_once("shown only now: ")?;
    Some(rest.lines().next().unwrap().to_owned())
}

async fn status(hub: &Hub, secret: &str) -> u16 {
    send_with_bearer(hub, STATS, secret).await.0
}

#[tokio::test]
async fn a_public_hub_without_keys_makes_an_admin_key_and_shows_it_once() {
    let mut hub = Hub::start(&["--listen", "0.0.0.0:0"]).await;
    let secret = printed_secret(&hub).expect("a key");
    assert_eq!(hub.get("/stats").await.0, 401);
    assert_eq!(hub.try_post("/streams/hello/events", "x").await.0, 401);
    assert_eq!(status(&hub, &secret).await, 200);
    // What the start suggests works with the key.
    let lines = ["watch: ", "publish: ", "open: "];
    for line in &lines[..if cfg!(feature = "dashboard") { 3 } else { 2 }] {
        let (_, rest) = hub.banner.split_once(line).unwrap();
        let command = rest.lines().next().unwrap();
        assert!(command.contains(&secret) || cfg!(not(feature = "dashboard")), "{command}");
        assert!(!command.contains("0.0.0.0"), "{command}");
    }
    let file = hub.data.join("admin-key.sha256");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret));
    assert!(!hub.log().contains(&secret));

    hub.reload();
    hub.wait_for_log("reloaded keys", 1).await;
    assert_eq!(status(&hub, &secret).await, 200, "a reload keeps the key");
    hub.stop().await;
    hub.restart().await;
    assert_eq!(printed_secret(&hub), None, "{}", hub.banner);
    assert!(hub.banner.contains("-H 'Authorization: Bearer KEY'"), "{}", hub.banner);
    let file_name = file.to_str().unwrap();
    assert!(hub.banner.contains(&format!("delete {file_name} and restart")), "{}", hub.banner);
    assert_eq!(status(&hub, &secret).await, 200, "a restart keeps the key");
    // Without the file there is a new key, and the first one is invalid.
    hub.stop().await;
    std::fs::remove_file(&file).unwrap();
    hub.restart().await;
    let second = printed_secret(&hub).expect("a new key");
    assert_eq!((status(&hub, &secret).await, status(&hub, &second).await), (401, 200));
}

#[tokio::test]
async fn a_configured_key_ends_the_key_that_the_hub_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, "").unwrap();
    let mut hub = Hub::start(&["--listen", "0.0.0.0:0", "--config", file.to_str().unwrap()]).await;
    let secret = printed_secret(&hub).unwrap();
    file_with_keys(folder.path(), &[("ops", "o", "admin = true")]);
    hub.reload();
    hub.wait_for_log("reloaded keys", 1).await;
    assert_eq!((status(&hub, &secret).await, status(&hub, "o").await), (401, 200));
    // A file that is empty for a moment does not bring it back.
    std::fs::write(&file, "").unwrap();
    hub.reload();
    hub.wait_for_log("refused to reload", 1).await;
    assert_eq!((status(&hub, &secret).await, status(&hub, "o").await), (401, 200));
    hub.stop().await;
}

#[tokio::test]
async fn a_damaged_admin_key_stops_the_start_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin-key.sha256"), "not a hash").unwrap();
    let output = std::process::Command::new(crate::hub::program())
        .args(["--listen", "0.0.0.0:0", "--system", "off", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line = stderr.lines().last().unwrap();
    assert!(line.contains("admin-key.sha256 is damaged; delete it"), "{stderr}");
}

#[tokio::test]
async fn a_local_hub_without_keys_makes_none_and_an_anonymous_hub_suggests_what_is_granted() {
    let local = Hub::start(&[]).await;
    assert_eq!((printed_secret(&local), local.banner.contains("Bearer")), (None, false));
    assert!(!local.data.join("admin-key.sha256").exists());
    let flags = ["--listen", "0.0.0.0:0", "--public-host", "hub.example", "--durability", "memory"];
    let hub = Hub::start(&[&flags[..], &["--anonymous", "subscribe"]].concat()).await;
    let secret = printed_secret(&hub).unwrap();
    assert!(hub.banner.contains("watch:   curl -N http://hub.example:"), "{}", hub.banner);
    assert!(hub.banner.contains(&format!("publish: curl -H 'Authorization: Bearer {secret}' ")));
    assert_eq!(status(&hub, &secret).await, 200);
}
