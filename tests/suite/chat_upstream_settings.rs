//! Timeouts and headers of a single chat upstream.
//!
//! `[chat.upstream.NAME]` has `connect-timeout`, `first-token-timeout`, `idle-timeout` and the
//! table `headers`; the timeouts of the hub are the defaults.

use crate::chat::{all_events, create_chat, end, start_chat, text};
use crate::hub::Hub;
use crate::upstream::{FullBacklog, Step, Upstream, answer, done, head, part, send_text};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A timeout longer than a test waits.
const LONG: &str = "10m";

/// Starts a hub with two upstreams, for the models `m` and `n`, and with the settings of each.
async fn hub_with_upstreams(
    [first, second]: [&Upstream; 2],
    [first_settings, second_settings]: [&str; 2],
    flags: &[&str],
) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = first.config(folder.path(), first_settings);
    let extra = format!(
        "[chat.upstream.second]\nurl = \"http://{}/v1\"\nmodels = [\"n\"]\n{second_settings}",
        second.address
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &extra).unwrap();
    let flags = [&["--config", &file], flags].concat();
    (Hub::start_in(&folder.path().join("data"), &flags).await, folder)
}

async fn start_chat_with_model(hub: &Hub, model: &str) -> Value {
    let (status, chat) = create_chat(hub, json!({ "message": "hi", "model": model }), None).await;
    assert_eq!(status, 201, "{chat}");
    chat
}

#[tokio::test]
async fn the_first_token_timeout_is_set_per_upstream() {
    let next = Arc::new(Notify::new());
    let slow = [vec![head(), Step::Until(next.clone()), part("a")], done()].concat();
    let patient = Upstream::start(vec![slow]).await;
    let silent = Upstream::start(vec![vec![head(), Step::Hang]]).await;
    for (settings, hub_timeout) in [
        (["first-token-timeout = \"10m\"\n", ""], "300ms"),
        (["", "first-token-timeout = \"300ms\"\n"], LONG),
    ] {
        let flags = ["--chat-first-token-timeout", hub_timeout];
        let (hub, _folder) = hub_with_upstreams([&patient, &silent], settings, &flags).await;
        // The hub waits for it at least as long as for the other one, which began later.
        let waiting = start_chat_with_model(&hub, "m").await;
        let stalled = start_chat_with_model(&hub, "n").await;
        assert_eq!(end(&all_events(&hub, &stalled).await)["code"], "upstream_stalled");
        next.notify_one();
        assert_eq!(text(&all_events(&hub, &waiting).await), "a");
    }
}

#[tokio::test]
async fn the_idle_timeout_is_set_per_upstream() {
    let next = Arc::new(Notify::new());
    let slow = [vec![head(), part("a"), Step::Until(next.clone()), part("b")], done()].concat();
    let patient = Upstream::start(vec![slow]).await;
    let silent = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    for (settings, hub_timeout) in
        [(["idle-timeout = \"10m\"\n", ""], "300ms"), (["", "idle-timeout = \"300ms\"\n"], LONG)]
    {
        let (hub, _folder) = hub_with_upstreams(
            [&patient, &silent],
            settings,
            &["--chat-idle-timeout", hub_timeout],
        )
        .await;
        let waiting = start_chat_with_model(&hub, "m").await;
        let stalled = start_chat_with_model(&hub, "n").await;
        assert_eq!(end(&all_events(&hub, &stalled).await)["code"], "upstream_stalled");
        next.notify_one();
        assert_eq!(text(&all_events(&hub, &waiting).await), "ab");
    }
}

#[tokio::test]
async fn the_connect_timeout_is_set_per_upstream() {
    let backlog = FullBacklog::new().await;
    let address = backlog.address;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let text = format!(
        "[chat.upstream.full]\nurl = \"http://{address}\"\nmodels = [\"m\"]\n\
         connect-timeout = \"300ms\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let timeouts = ["--chat-connect-timeout", LONG, "--chat-first-token-timeout", LONG];
    let flags = [&["--config", config.to_str().unwrap()], &timeouts[..]].concat();
    let hub = Hub::start_in(&folder.path().join("data"), &flags).await;
    let events = all_events(&hub, &start_chat(&hub).await).await;
    assert_eq!(end(&events)["code"], "upstream_error", "{events:?}");
}

#[tokio::test]
async fn configured_headers_are_sent_to_their_upstream_only() {
    let [first, second] =
        [Upstream::start(vec![answer(&["a"])]).await, Upstream::start(vec![answer(&["b"])]).await];
    let headers =
        "headers = { \"HTTP-Referer\" = \"https://app.example\", X-Title = \"a title\" }\n";
    let (hub, _folder) = hub_with_upstreams([&first, &second], [headers, ""], &[]).await;
    all_events(&hub, &start_chat_with_model(&hub, "m").await).await;
    all_events(&hub, &start_chat_with_model(&hub, "n").await).await;
    let head = &first.requests()[0].head;
    for line in ["http-referer: https://app.example", "x-title: a title"] {
        assert!(head.lines().any(|header| header == line), "{head}");
    }
    assert!(!second.requests()[0].head.contains("x-title"), "only for the first");
}

/// Returns a minute of comments, because a script is finite, and then a wait for `next`.
fn comments_then_wait(next: &Arc<Notify>) -> Vec<Step> {
    let comments =
        (0..2_000).flat_map(|_| [send_text(": x\n\n"), Step::Pause(Duration::from_millis(30))]);
    comments.chain([Step::Until(next.clone())]).collect()
}

/// Asserts that a chat whose upstream sends comments outlives later ones with a silent upstream.
async fn assert_comments_keep_alive(text: &str, flags: &[&str]) {
    let next = Arc::new(Notify::new());
    let first_steps = || [vec![head()], text.chars().map(|_| part(text)).collect()].concat();
    let commenting =
        Upstream::start(vec![[first_steps(), comments_then_wait(&next)].concat()]).await;
    let silent = Upstream::start(vec![[first_steps(), vec![Step::Hang]].concat()]).await;
    let (hub, _folder) = hub_with_upstreams([&commenting, &silent], ["", ""], flags).await;
    let running = start_chat_with_model(&hub, "m").await;
    commenting.wait_for_requests(1).await;
    for _ in 0..2 {
        let stalled = start_chat_with_model(&hub, "n").await;
        assert_eq!(end(&all_events(&hub, &stalled).await)["code"], "upstream_stalled");
    }
    let (_, view) = hub.get(&format!("/chats/{}", running["id"].as_str().unwrap())).await;
    assert_eq!(view["status"], "running", "{view}");
}

#[tokio::test]
async fn upstream_comments_reset_the_idle_timeout() {
    assert_comments_keep_alive("a", &["--chat-idle-timeout", "2s"]).await;
}

#[tokio::test]
async fn upstream_comments_reset_the_first_token_timeout() {
    assert_comments_keep_alive("", &["--chat-first-token-timeout", "2s"]).await;
}

#[tokio::test]
async fn upstream_comments_do_not_extend_the_total_timeout() {
    let upstream =
        Upstream::start(vec![[vec![head()], comments_then_wait(&Arc::default())].concat()]).await;
    let flags = ["--chat-first-token-timeout", "1s", "--chat-total-timeout", "3s"];
    let (hub, _folder) = upstream.hub(&flags).await;
    assert_eq!(end(&all_events(&hub, &start_chat(&hub).await).await)["code"], "timeout");
}
