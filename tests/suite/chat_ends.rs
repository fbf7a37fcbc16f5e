//! Chats that do not end by their model: stopped, deleted, or interrupted by the hub.

use crate::chat::{all_events, create_chat, end, events_url, start_chat, stepwise_answer, text};
use crate::disk::SmallDisk;
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Event;
use crate::upstream::{Step, Upstream, answer, done, head, part};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test]
async fn a_chat_can_be_stopped_at_any_time() {
    let next = Arc::new(Notify::new());
    let silent = vec![Step::Hang];
    let head_only = vec![head(), Step::Hang];
    let scripts = vec![silent, head_only, stepwise_answer(&["a"], &next), answer(&["a"])];
    let upstream = Upstream::start(scripts).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for (index, (partial, expected)) in
        [("", "cancelled"), ("", "cancelled"), ("a", "cancelled"), ("a", "done")]
            .into_iter()
            .enumerate()
    {
        let chat = start_chat(&hub).await;
        let id = chat["id"].as_str().unwrap();
        upstream.wait_for_requests(index + 1).await;
        let mut reader = hub.subscribe(events_url(&chat)).await;
        if partial == "a" {
            while reader.next_event().await.unwrap().json()["type"] != "token" {}
        }
        if expected == "done" {
            reader.rest().await;
        }
        for _ in 0..2 {
            let url = hub.url(chat["stop_url"].as_str().unwrap());
            assert_eq!(hub.http.post(url).send().await.unwrap().status(), 202, "{id}");
        }
        if expected == "cancelled" {
            upstream.wait_for_disconnects(index + 1).await;
        }
        let events = all_events(&hub, &chat).await;
        assert_eq!(
            (end(&events)["type"].as_str().unwrap(), text(&events).as_str()),
            (expected, partial)
        );
    }
    assert_eq!(hub.metric("fanfare_chats_running").await, 0.0);
}

#[tokio::test]
async fn a_restart_after_a_kill_ends_running_chats_and_starts_none_again() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), part("b"), Step::Hang]]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = create_chat(&hub, json!({ "message": "hi" }), Some("k")).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    let mut seen = String::new();
    while seen != "ab" {
        let event = reader.next_event().await.unwrap();
        seen.push_str(event.json()["content"].as_str().unwrap_or_default());
    }
    let last = reader.last_id().to_owned();
    hub.kill();
    hub.restart().await;
    let events = all_events(&hub, &chat).await;
    assert_eq!(text(&events), "ab", "the durable part");
    let end = end(&events);
    assert_eq!(
        (&end["code"], &end["partial"], &end["retryable"]),
        (&json!("hub_restarted"), &json!(true), &json!(true))
    );
    let mut resumed = hub.resume(events_url(&chat), &last).await;
    assert_eq!(resumed.next_event().await.unwrap().json()["code"], "hub_restarted");
    let (status, repeated) = create_chat(&hub, json!({ "message": "hi" }), Some("k")).await;
    assert_eq!((status, &repeated), (200, &chat), "same chat, same ticket");
    assert_eq!(upstream.requests().len(), 1, "no second run");
    hub.stop().await;
}

#[tokio::test]
async fn a_deleted_chat_is_stopped_and_gone() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = create_chat(&hub, json!({ "message": "hi" }), Some("k")).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    while reader.next_event().await.unwrap().json()["type"] != "token" {}
    let url = hub.url(&format!("/chats/{}", chat["id"].as_str().unwrap()));
    assert_eq!(hub.http.delete(&url).send().await.unwrap().status(), 204);
    upstream.wait_for_disconnects(1).await;
    let rest: Vec<Event> = reader.rest().await;
    let cancelled =
        rest.iter().find(|event| !event.is_control() && event.json()["type"] == "cancelled");
    assert_eq!(cancelled.unwrap().json()["by"], "deleted");
    assert_eq!(hub.get(&format!("/chats/{}", chat["id"].as_str().unwrap())).await.0, 410);
    let stream = chat["stream"].as_str().unwrap();
    assert_eq!(hub.get(&format!("/streams/{stream}")).await.0, 404);
    let (status, _) = create_chat(&hub, json!({ "message": "hi" }), Some("k")).await;
    assert_eq!(status, 410, "its key starts no chat");
}

#[tokio::test]
async fn deletions_finish_without_their_client_and_repeats_have_no_effect() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for disconnects in [true, false] {
        let chat = start_chat(&hub).await;
        let path = format!("/chats/{}", chat["id"].as_str().unwrap());
        if disconnects {
            let request = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address);
            let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
            drop(socket);
        } else {
            let delete = || hub.http.delete(hub.url(&path)).send();
            let statuses = futures_util::future::join_all((0..5).map(|_| delete())).await;
            let statuses: Vec<u16> =
                statuses.into_iter().map(|response| response.unwrap().status().as_u16()).collect();
            assert!(statuses.iter().all(|status| [204, 410].contains(status)), "{statuses:?}");
        }
        let until_gone = async {
            while hub.get(&path).await.0 != 410 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, until_gone).await.expect("the chat is not deleted");
    }
    let mut records = hub.subscribe("/streams/hub.chats/events?from=start&follow=false").await;
    let deleted = records.rest().await;
    let deleted = deleted.iter().filter(|e| !e.is_control() && e.json()["type"] == "deleted");
    assert_eq!(deleted.count(), 2);
}

#[tokio::test]
async fn chats_are_deleted_some_time_after_their_end() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (mut hub, _folder) = upstream.hub(&["--chat-kept", "1s"]).await;
    for restarts in [false, true] {
        let chat = start_chat(&hub).await;
        all_events(&hub, &chat).await;
        if restarts {
            hub.kill();
            hub.restart().await;
        }
        let until_gone = async {
            while hub.get(&format!("/streams/{}", chat["stream"].as_str().unwrap())).await.0 != 404
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, until_gone).await.expect("the chat is not deleted");
    }
}

#[tokio::test]
async fn a_drain_waits_for_chats_and_ends_those_that_do_not_finish() {
    let next = Arc::new(Notify::new());
    let scripts = vec![stepwise_answer(&["a"], &next), vec![head(), part("b"), Step::Hang]];
    let upstream = Upstream::start(scripts).await;
    let (mut hub, _folder) = upstream.hub(&["--drain", "2s"]).await;
    let (first, second) = (start_chat(&hub).await, start_chat(&hub).await);
    upstream.wait_for_requests(2).await;
    hub.terminate();
    next.notify_one();
    assert!(hub.wait_for_exit().await.success());
    hub.restart().await;
    let mut ends = Vec::new();
    for chat in [&first, &second] {
        let events = all_events(&hub, chat).await;
        ends.push((text(&events), end(&events)["type"].clone(), end(&events)["code"].clone()));
    }
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ends[0], ("a".into(), json!("done"), Value::Null));
    assert_eq!(ends[1], ("b".into(), json!("error"), json!("hub_restarted")));
}

/// Starts a hub with a chat whose first events the journal size limit has just removed.
async fn hub_with_truncated_chat(upstream: &Upstream) -> (Hub, tempfile::TempDir, Value) {
    let (hub, folder) = upstream.hub(&["--journal-max-bytes", "200KiB"]).await;
    let chat = start_chat(&hub).await;
    all_events(&hub, &chat).await;
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    let mut statuses = Vec::new();
    while statuses.last() != Some(&410) {
        statuses.push(hub.get(&path).await.0);
        hub.publish("filler", &"y".repeat(4_000)).await;
        assert!(statuses.len() < 400, "the chat is never gone");
    }
    assert!(statuses.iter().all(|status| [200, 410].contains(status)), "{statuses:?}");
    (hub, folder, chat)
}

#[tokio::test]
async fn a_chat_cut_by_the_journal_size_limit_is_gone_as_a_whole() {
    let words: Vec<String> = (0..200).map(|n| format!("{n} {} ", "x".repeat(400))).collect();
    let mut script = vec![head()];
    script
        .extend(words.iter().flat_map(|word| [part(word), Step::Pause(Duration::from_millis(30))]));
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    // The hub restarts while part of the chat is stored, and when nothing of it is.
    for extra_events in [0, 100] {
        let (mut hub, _folder, chat) = hub_with_truncated_chat(&upstream).await;
        for _ in 0..extra_events {
            hub.publish("filler", &"y".repeat(4_000)).await;
        }
        assert_eq!(hub.subscribe(events_url(&chat)).await.status, 410, "readers do not wait");
        hub.kill();
        hub.restart().await;
        let path = format!("/streams/{}", chat["stream"].as_str().unwrap());
        let until_gone = async {
            while hub.get(&path).await.0 != 404 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, until_gone).await.expect("the stream is not deleted");
    }
}

#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn a_chat_that_cannot_be_stored_fails_and_releases_its_upstream() {
    let next = Arc::new(Notify::new());
    let script = vec![head(), part("a"), Step::Until(next.clone()), part("b"), Step::Hang];
    let upstream = Upstream::start(vec![script]).await;
    let disk = SmallDisk::new(256);
    let folder = tempfile::tempdir().unwrap();
    let file = upstream.config(folder.path(), "");
    let flags = ["--config", &file, "--min-free-bytes", "96MiB"];
    let hub = Hub::start_in(&disk.path().join("data"), &flags).await;
    let chat = start_chat(&hub).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    while reader.next_event().await.unwrap().json()["type"] != "token" {}
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 180 << 20]).unwrap();
    next.notify_one();
    upstream.wait_for_disconnects(1).await;
    // The end and the events before it are readable while the disk is still full.
    let events = all_events(&hub, &chat).await;
    assert_eq!(create_chat(&hub, json!({ "message": "hi" }), None).await.0, 503, "none is started");
    let end = end(&events);
    assert_eq!((&end["code"], &end["partial"]), (&json!("journal_unavailable"), &json!(true)));
    assert_eq!(text(&events), "a", "the part in the journal");
    let url = hub.url(&format!("/chats/{}", chat["id"].as_str().unwrap()));
    assert_eq!(hub.http.delete(&url).send().await.unwrap().status(), 204, "it can be deleted");
}
