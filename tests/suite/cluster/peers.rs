//! Requests that any hub answers for all of a cluster.

use super::fixture::{Cluster, NODES};
use super::{common_history, nats};
use crate::hub::{Hub, TEST_TIMEOUT, program};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// Waits until a hub knows that another one is in a state.
async fn wait_for_state(hub: &Hub, name: &str, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let (status, cluster) = hub.get("/cluster").await;
        assert_eq!(status, 200, "{cluster}");
        let hubs = cluster["hubs"].as_array().unwrap();
        if hubs.iter().any(|hub| hub["name"] == name && hub["state"] == state) {
            return cluster;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{name} is not {state}: {cluster}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until all hubs know each other.
async fn introduced(cluster: &Cluster) {
    for hub in &cluster.hubs {
        for n in 0..NODES {
            wait_for_state(hub, &format!("h{n}"), "ready").await;
        }
    }
}

/// Gets a path once all hubs have answered in time.
async fn complete(hub: &Hub, path: &str) -> Value {
    let began = Instant::now();
    loop {
        let (status, answer) = hub.get(path).await;
        if status == 200 && answer["silent_hubs"] == json!([]) {
            return answer;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{answer}");
    }
}

/// Sends a request that another hub answers, until that has answered in time, and returns the status.
async fn answered(send: impl AsyncFn() -> u16) -> u16 {
    let began = Instant::now();
    loop {
        match send().await {
            503 => assert!(began.elapsed() < TEST_TIMEOUT, "no hub answers"),
            status => return status,
        }
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn any_hub_lists_and_closes_the_sessions_of_all() {
    let cluster = Cluster::start().await;
    introduced(&cluster).await;
    let mut readers = Vec::new();
    for hub in &cluster.hubs {
        let mut reader = hub.subscribe("/streams/a/events").await;
        let session = reader.open().await["session"].as_str().unwrap().to_owned();
        readers.push((reader, session));
    }
    let listed = complete(&cluster.hubs[0], "/sessions").await;
    let sessions = listed["sessions"].as_array().unwrap();
    let mut found: Vec<_> = sessions.iter().map(|s| (s["hub"].clone(), s["id"].clone())).collect();
    found.sort_by_key(|(hub, _)| hub.to_string());
    let expected = readers.iter().enumerate();
    let expected: Vec<_> =
        expected.map(|(n, (_, id))| (json!(format!("h{n}")), json!(id))).collect();
    assert_eq!((found, &listed["silent_hubs"]), (expected, &json!([])));
    // Pages of all hubs, in the order of the ids.
    let (mut ids, mut path) = (Vec::new(), "/sessions?limit=1".to_owned());
    loop {
        let page = complete(&cluster.hubs[1], &path).await;
        ids.extend(page["sessions"].as_array().unwrap().iter().map(|s| s["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/sessions?limit=1&after={next}");
    }
    let mut all: Vec<_> = readers.iter().map(|(_, id)| json!(id)).collect();
    all.sort_by_key(ToString::to_string);
    assert_eq!(ids, all);
    let of_one = complete(&cluster.hubs[0], "/sessions?hub=h1").await;
    assert_eq!(of_one["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(of_one["sessions"][0]["hub"], "h1");
    let presence = complete(&cluster.hubs[0], "/presence/a").await;
    assert_eq!((&presence["sessions"], &presence["anonymous"]), (&json!(3), &json!(3)));
    // A hub closes the session of another one.
    let (reader, session) = &mut readers[2];
    let path = format!("/sessions/{session}");
    // A hub that answers too late has closed it nevertheless.
    let status = answered(async || delete(&cluster.hubs[0], &path).await).await;
    assert!([204, 404].contains(&status), "{status}");
    let last = reader.rest().await.pop().expect("a last event");
    assert_eq!(last.json()["code"], "closed_by_operator", "{last:?}");
    let status = answered(async || delete(&cluster.hubs[0], &path).await).await;
    assert_eq!(status, 404, "no hub has it now");
    // A hub answers for another one, if it has this name.
    let stats = async || cluster.hubs[0].get("/stats?hub=h1").await;
    answered(async || stats().await.0).await;
    let (status, limits) = stats().await;
    assert!(status == 503 || limits["totals"]["sessions"] == 1, "{status} {limits}");
    let (status, problem) = cluster.hubs[0].get("/stats?hub=other").await;
    assert_eq!((status, &problem["field"]), (404, &json!("hub")), "{problem}");
}

async fn delete(hub: &Hub, path: &str) -> u16 {
    let response = hub.http.delete(hub.url(path)).send().await.unwrap();
    response.status().as_u16()
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn hubs_that_do_not_answer_are_named() {
    let mut cluster = Cluster::start().await;
    introduced(&cluster).await;
    cluster.hubs[1].freeze();
    let began = Instant::now();
    while cluster.hubs[0].get("/sessions").await.1["silent_hubs"] != json!(["h1"]) {
        assert!(began.elapsed() < TEST_TIMEOUT, "it is not named");
    }
    // It may have what no other hub knows.
    let unknown = "/sessions/d0071534-438d-4d8c-9535-e3bc4cf60b02";
    assert_eq!(delete(&cluster.hubs[0], unknown).await, 503);
    wait_for_state(&cluster.hubs[0], "h1", "silent").await;
    let (status, problem) = cluster.hubs[0].get("/stats?hub=h1").await;
    assert_eq!((status, &problem["code"]), (503, &json!("unresponsive")), "{problem}");
    let began = Instant::now();
    while cluster.hubs[2].get("/presence/a").await.1["silent_hubs"] != json!(["h1"]) {
        assert!(began.elapsed() < TEST_TIMEOUT, "it is not named");
    }
    cluster.hubs[1].thaw();
    wait_for_state(&cluster.hubs[0], "h1", "ready").await;
    // A hub that stops is no longer one of the cluster.
    cluster.hubs[2].stop().await;
    let began = Instant::now();
    loop {
        let (_, state) = cluster.hubs[0].get("/cluster").await;
        if state["hubs"].as_array().unwrap().len() == 2 {
            break;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_command_line_shows_the_hubs_of_a_cluster() {
    let cluster = Cluster::start().await;
    introduced(&cluster).await;
    cluster.hubs[0].publish("a", "x").await;
    for hub in &cluster.hubs {
        common_history(&cluster.hubs, "a", 1).await;
        wait_for_state(hub, "h2", "ready").await;
    }
    let url = cluster.hubs[1].url("");
    let status = move |flags: &'static [&str]| {
        let mut command = Command::new(program());
        command.args(["cluster", "status", "--url", &url]).args(flags);
        async move { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() }
    };
    let result = status(&[]).await;
    let text = String::from_utf8(result.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [head, columns, hubs @ ..] = &lines[..] else { panic!("{text}") };
    assert!(head.starts_with("cluster fanfare, log ends at message "), "{text}");
    assert!(columns.starts_with("HUB "), "{text}");
    let rows = hubs.iter().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let rows: Vec<_> = rows.map(|row| (row[0], row[1], row[4])).collect();
    let expected = [("h0", "ready", "0"), ("h1", "ready", "0"), ("h2", "ready", "0")];
    assert_eq!(rows, expected, "{text}");
    let result = status(&["--json"]).await;
    let view: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!((&view["hub"], &view["name"]), (&json!("h1"), &json!("fanfare")), "{view}");
}

#[cfg(feature = "jobs")]
#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_run_is_stopped_at_any_hub() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, "[job.wait]\ncommand = [\"sleep\", \"600\"]\n").unwrap();
    let cluster = Cluster::with_flags(&["--config", config.to_str().unwrap()]).await;
    introduced(&cluster).await;
    let (status, run) = cluster.hubs[0].try_post("/jobs/wait/runs", "").await;
    assert_eq!(status, 202, "{run}");
    let stream = format!("/streams/{}/events?from=start", run["stream"].as_str().unwrap());
    let mut reader = cluster.hubs[2].subscribe(&stream).await;
    let path = format!("/jobs/wait/runs/{}", run["run"].as_str().unwrap());
    let status = answered(async || delete(&cluster.hubs[1], &path).await).await;
    assert!([202, 204].contains(&status), "{status}");
    let events = reader.rest().await;
    let exit = events.iter().find(|event| event.name == "exit").expect("an exit");
    assert_eq!(exit.json()["signal"], 15, "{exit:?}");
    let unknown = "/jobs/wait/runs/other";
    assert_eq!(answered(async || delete(&cluster.hubs[2], unknown).await).await, 404);
}

#[cfg(feature = "chat")]
#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_chat_is_read_stopped_and_deleted_at_any_hub() {
    use crate::chat::{create_chat, stepwise_answer};
    use crate::upstream::Upstream;
    let next = std::sync::Arc::default();
    let upstream = Upstream::start(vec![stepwise_answer(&["a", "b"], &next)]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = upstream.config(folder.path(), "");
    let cluster = Cluster::with_flags(&["--config", &config]).await;
    introduced(&cluster).await;
    let (status, chat) =
        create_chat(&cluster.hubs[0], json!({ "message": "hi" }), Some("one")).await;
    assert_eq!(status, 201, "{chat}");
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    assert_eq!(answered(async || cluster.hubs[1].get(&path).await.0).await, 200);
    // Once another hub has read of it, the chat is streamed there, and its key is known.
    let began = Instant::now();
    let mut reader = loop {
        let reader = cluster.hubs[1].subscribe(&format!("{path}/events")).await;
        if reader.status == 200 {
            break reader;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{}", reader.status);
    };
    let (status, again) =
        create_chat(&cluster.hubs[1], json!({ "message": "hi" }), Some("one")).await;
    assert_eq!((status, &again["id"]), (200, &chat["id"]), "{again}");
    let stop = format!("{path}/stop");
    assert_eq!(answered(async || cluster.hubs[2].try_post(&stop, "").await.0).await, 202);
    let began = Instant::now();
    loop {
        let (_, view) = cluster.hubs[1].get(&path).await;
        if view["status"] == "cancelled" {
            break;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{view}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let events = reader.rest().await;
    let types: Vec<_> = events.iter().filter(|event| !event.is_control()).collect();
    assert_eq!(types.last().unwrap().json()["type"], "cancelled", "{events:?}");
    assert_eq!(answered(async || delete(&cluster.hubs[1], &path).await).await, 204);
    let began = Instant::now();
    while cluster.hubs[0].get(&path).await.0 != 410 {
        assert!(began.elapsed() < TEST_TIMEOUT, "the hub that ran it still has it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unknown = "/chats/00000000000000000000000000000000";
    assert_eq!(answered(async || cluster.hubs[1].get(unknown).await.0).await, 404);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_that_has_applied_another_log_stops_serving() {
    let cluster = Cluster::start().await;
    introduced(&cluster).await;
    let mut reader = cluster.hubs[0].subscribe("/streams/a/events").await;
    reader.open().await;
    let id = cluster.hubs[0].publish_id("a", "x").await;
    let epoch = u32::from_str_radix(id.split('-').next().unwrap(), 16).unwrap();
    // More hubs than the cluster has report another hash of the same message.
    let began = Instant::now();
    let applied = loop {
        let (_, state) = cluster.hubs[0].get("/cluster").await;
        match state["hubs"][0]["applied"].as_u64().unwrap() {
            0 => assert!(began.elapsed() < TEST_TIMEOUT, "{state}"),
            applied => break applied,
        }
    };
    let tell = |node: &str, hash: &str| {
        let report = json!({
            "node": node, "boot": 1, "version": "0.1.0", "started_ms": 0, "epoch": epoch, "applied": applied, "sessions": 0,
            "checkpoints": [{ "sequence": applied, "hash": hash }], "problem": null,
            "has_log": true, "is_outvoted": false, "is_leaving": false,
        });
        nats::publish(&cluster.addresses[0], "fanfare.report", &report.to_string());
    };
    tell("x", "other");
    wait_for_state(&cluster.hubs[0], "x", "differs").await;
    assert_eq!(cluster.hubs[0].get("/readyz").await.0, 200, "most hubs agree with it");
    // As hubs do, they report again and again.
    let last = {
        let telling = async {
            loop {
                ["x", "y", "z"].iter().for_each(|node| tell(node, "other"));
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            rest = reader.rest() => rest,
            () = telling => unreachable!("it has no end"),
        }
    };
    let last = last.last().expect("a last event");
    assert_eq!(last.json()["code"], "isolated", "{last:?}");
    let (status, ready) = cluster.hubs[0].get("/readyz").await;
    let reason = ready["checks"]["cluster"]["reason"].as_str().unwrap_or_default();
    assert!(status == 503 && reason.contains("has applied another log up to message"), "{ready}");
    let (status, problem) = cluster.hubs[0].try_post("/streams/a/events", "x").await;
    assert_eq!((status, &problem["code"]), (503, &json!("log_unavailable")), "{problem}");
}

#[cfg(all(feature = "chat", feature = "jobs"))]
#[tokio::test]
#[ignore = "needs nats-server"]
async fn the_runs_and_chats_of_a_hub_that_is_gone_are_ended_once() {
    use crate::chat::{start_chat, stepwise_answer};
    use crate::upstream::Upstream;
    let next = std::sync::Arc::default();
    let upstream = Upstream::start(vec![stepwise_answer(&["a", "b"], &next)]).await;
    let folder = tempfile::tempdir().unwrap();
    let job = "[job.wait]\ncommand = [\"sleep\", \"600\"]\n";
    let config = upstream.config(folder.path(), job);
    let flags = ["--config", &config, "--cluster-isolation-timeout", "6s"];
    let mut cluster = Cluster::with_flags(&flags).await;
    introduced(&cluster).await;
    let (_, gone) = cluster.hubs[0].try_post("/jobs/wait/runs", "").await;
    let (_, other) = cluster.hubs[1].try_post("/jobs/wait/runs", "").await;
    let chat = start_chat(&cluster.hubs[0]).await;
    let stream = |value: &Value| value["stream"].as_str().unwrap().to_owned();
    let (run, other) = (stream(&gone), stream(&other));
    let chat_events = format!("/chats/{}/events", chat["id"].as_str().unwrap());
    let began = Instant::now();
    let mut reader = loop {
        let reader = cluster.hubs[2].subscribe(&chat_events).await;
        if reader.status == 200 {
            break reader;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{}", reader.status);
    };
    common_history(&cluster.hubs, &run, 1).await;
    cluster.hubs[0].kill();
    let read = format!("/streams/{run}/events?from=start");
    let events = cluster.hubs[1].subscribe(&read).await.rest().await;
    let exits: Vec<_> = events.iter().filter(|event| event.name == "exit").collect();
    assert_eq!(exits.len(), 1, "{events:?}");
    let events = reader.rest().await;
    let errors =
        events.iter().filter(|event| !event.is_control() && event.json()["type"] == "error");
    let codes: Vec<_> = errors.map(|event| event.json()["code"].clone()).collect();
    assert_eq!(codes, ["hub_restarted"], "{events:?}");
    // The hub is back, and finds its chat ended.
    cluster.hubs[0].restart().await;
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    let began = Instant::now();
    loop {
        let (status, view) = cluster.hubs[0].get(&path).await;
        if (status, &view["status"]) == (200, &json!("error")) {
            break;
        }
        // It may have to read the end from the log first.
        assert!(began.elapsed() < TEST_TIMEOUT, "{view}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, view) = cluster.hubs[2].get(&format!("/streams/{other}")).await;
    assert_eq!(view["state"], "open", "the run of a hub that is there goes on: {view}");
}
