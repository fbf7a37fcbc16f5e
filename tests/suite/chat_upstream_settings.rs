//! Timeouts and headers of a single chat upstream.
//!
//! `[chat.upstream.NAME]` has `connect-timeout`, `first-token-timeout`, `idle-timeout` and the
//! table `headers`; the timeouts of the hub are the defaults.

use crate::chat::{begin, begun, end, text, whole};
use crate::hub::Hub;
use crate::upstream::{FullBacklog, Step, Upstream, answer, done, head, part, say};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A timeout longer than a test waits.
const LONG: &str = "10m";

/// Starts a hub with two upstreams, for the models `m` and `n`, and with the settings of each.
async fn hub_of(
    [first, second]: [&Upstream; 2],
    [of_first, of_second]: [&str; 2],
    flags: &[&str],
) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = first.config(folder.path(), of_first);
    let more = format!(
        "[chat.upstream.second]\nurl = \"http://{}/v1\"\nmodels = [\"n\"]\n{of_second}",
        second.address
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &more).unwrap();
    let flags = [&["--config", &file], flags].concat();
    (Hub::start_in(&folder.path().join("data"), &flags).await, folder)
}

async fn begun_of(hub: &Hub, model: &str) -> Value {
    let (status, chat) = begin(hub, json!({ "message": "hi", "model": model }), None).await;
    assert_eq!(status, 201, "{chat}");
    chat
}

#[tokio::test]
async fn the_first_token_timeout_is_set_per_upstream() {
    let next = Arc::new(Notify::new());
    let slow = [vec![head(), Step::Until(next.clone()), part("a")], done()].concat();
    let patient = Upstream::start(vec![slow]).await;
    let silent = Upstream::start(vec![vec![head(), Step::Hang]]).await;
    for (settings, of_hub) in [
        (["first-token-timeout = \"10m\"\n", ""], "300ms"),
        (["", "first-token-timeout = \"300ms\"\n"], LONG),
    ] {
        let flags = ["--chat-first-token-timeout", of_hub];
        let (hub, _folder) = hub_of([&patient, &silent], settings, &flags).await;
        // The hub waits for it at least as long as for the other one, which began later.
        let waits = begun_of(&hub, "m").await;
        let gives_up = begun_of(&hub, "n").await;
        assert_eq!(end(&whole(&hub, &gives_up).await)["code"], "upstream_stalled");
        next.notify_one();
        assert_eq!(text(&whole(&hub, &waits).await), "a");
    }
}

#[tokio::test]
async fn the_idle_timeout_is_set_per_upstream() {
    let next = Arc::new(Notify::new());
    let slow = [vec![head(), part("a"), Step::Until(next.clone()), part("b")], done()].concat();
    let patient = Upstream::start(vec![slow]).await;
    let silent = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    for (settings, of_hub) in
        [(["idle-timeout = \"10m\"\n", ""], "300ms"), (["", "idle-timeout = \"300ms\"\n"], LONG)]
    {
        let (hub, _folder) =
            hub_of([&patient, &silent], settings, &["--chat-idle-timeout", of_hub]).await;
        let waits = begun_of(&hub, "m").await;
        let gives_up = begun_of(&hub, "n").await;
        assert_eq!(end(&whole(&hub, &gives_up).await)["code"], "upstream_stalled");
        next.notify_one();
        assert_eq!(text(&whole(&hub, &waits).await), "ab");
    }
}

#[tokio::test]
async fn the_connect_timeout_is_set_per_upstream() {
    let full = FullBacklog::new().await;
    let address = full.address;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let text = format!(
        "[chat.upstream.full]\nurl = \"http://{address}\"\nmodels = [\"m\"]\n\
         connect-timeout = \"300ms\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let waits = ["--chat-connect-timeout", LONG, "--chat-first-token-timeout", LONG];
    let flags = [&["--config", config.to_str().unwrap()], &waits[..]].concat();
    let hub = Hub::start_in(&folder.path().join("data"), &flags).await;
    let events = whole(&hub, &begun(&hub).await).await;
    assert_eq!(end(&events)["code"], "upstream_error", "{events:?}");
}

#[tokio::test]
async fn configured_headers_are_sent_to_their_upstream_only() {
    let [first, second] =
        [Upstream::start(vec![answer(&["a"])]).await, Upstream::start(vec![answer(&["b"])]).await];
    let headers =
        "headers = { \"HTTP-Referer\" = \"https://app.example\", X-Title = \"a title\" }\n";
    let (hub, _folder) = hub_of([&first, &second], [headers, ""], &[]).await;
    whole(&hub, &begun_of(&hub, "m").await).await;
    whole(&hub, &begun_of(&hub, "n").await).await;
    let head = &first.asked()[0].head;
    for line in ["http-referer: https://app.example", "x-title: a title"] {
        assert!(head.lines().any(|one| one == line), "{head}");
    }
    assert!(!second.asked()[0].head.contains("x-title"), "only for the first");
}

/// Returns a minute of comments, because a script is finite, and then a wait for `next`.
fn beats(next: &Arc<Notify>) -> Vec<Step> {
    let beats = (0..2_000).flat_map(|_| [say(": x\n\n"), Step::Pause(Duration::from_millis(30))]);
    beats.chain([Step::Until(next.clone())]).collect()
}

/// Asserts that a chat whose upstream sends comments outlives later ones with a silent upstream.
async fn comments_keep_alive(said: &str, flags: &[&str]) {
    let next = Arc::new(Notify::new());
    let before = || [vec![head()], said.chars().map(|_| part(said)).collect()].concat();
    let alive = Upstream::start(vec![[before(), beats(&next)].concat()]).await;
    let silent = Upstream::start(vec![[before(), vec![Step::Hang]].concat()]).await;
    let (hub, _folder) = hub_of([&alive, &silent], ["", ""], flags).await;
    let lives = begun_of(&hub, "m").await;
    alive.wait_for_requests(1).await;
    for _ in 0..2 {
        let ends = begun_of(&hub, "n").await;
        assert_eq!(end(&whole(&hub, &ends).await)["code"], "upstream_stalled");
    }
    let (_, view) = hub.get(&format!("/chats/{}", lives["id"].as_str().unwrap())).await;
    assert_eq!(view["status"], "running", "{view}");
}

#[tokio::test]
async fn upstream_comments_reset_the_idle_timeout() {
    comments_keep_alive("a", &["--chat-idle-timeout", "2s"]).await;
}

#[tokio::test]
async fn upstream_comments_reset_the_first_token_timeout() {
    comments_keep_alive("", &["--chat-first-token-timeout", "2s"]).await;
}

#[tokio::test]
async fn upstream_comments_do_not_extend_the_total_timeout() {
    let upstream = Upstream::start(vec![[vec![head()], beats(&Arc::default())].concat()]).await;
    let flags = ["--chat-first-token-timeout", "1s", "--chat-total-timeout", "3s"];
    let (hub, _folder) = upstream.hub(&flags).await;
    assert_eq!(end(&whole(&hub, &begun(&hub).await).await)["code"], "timeout");
}
