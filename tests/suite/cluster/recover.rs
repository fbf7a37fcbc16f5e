//! Logs that have lost messages, and their recovery from the copy of a hub.

use super::fixture::{Cluster, NODES};
use super::log_faults::publish_others;
use super::{common_history, history, nats, publish_until_acknowledged};
use crate::hub::{Hub, program};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};

pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Returns a cluster whose log has lost its last 5 messages, which all hubs have applied, and the history of
/// stream `a`. Its hubs know of it.
pub async fn with_lost_messages() -> (Cluster, Vec<(String, String)>) {
    let mut cluster = Cluster::start().await;
    for event in 0..10 {
        cluster.hubs[event % NODES].publish("a", &format!("kept {event}")).await;
    }
    common_history(&cluster.hubs, "a", 10).await;
    // The disks of all servers lose the last messages.
    cluster.servers.iter_mut().for_each(nats::Server::kill);
    for n in 0..NODES {
        copy(&cluster.store(n), &cluster.folder.path().join(format!("copy{n}")));
    }
    cluster.servers.iter_mut().for_each(nats::Server::start);
    for event in 0..5 {
        publish_until_acknowledged(&cluster.hubs[event % 2], "a", &format!("lost {event}")).await;
    }
    let before = common_history(&cluster.hubs, "a", 15).await;
    cluster.servers.iter_mut().for_each(nats::Server::kill);
    for n in 0..NODES {
        std::fs::remove_dir_all(cluster.store(n)).unwrap();
        copy(&cluster.folder.path().join(format!("copy{n}")), &cluster.store(n));
    }
    cluster.servers.iter_mut().for_each(nats::Server::start);
    for hub in &cluster.hubs {
        hub.wait_for_log("the log ends at message 10, but this hub has applied", 1).await;
    }
    (cluster, before)
}

/// Runs `fanfare cluster recover` with the settings of a hub.
async fn recover(hub: &Hub, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.args(["cluster", "recover", "--data-dir"]).arg(&hub.data).args(&hub.flags).args(flags);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_log_that_has_lost_messages_is_replaced_by_the_copy_of_a_hub() {
    let (mut cluster, before) = with_lost_messages().await;
    // A hub that knows no better publishes other events under the same numbers.
    cluster.add_hub(&[]).await;
    publish_others(&cluster.hubs[3], 20).await;
    let other = history(&cluster.hubs[3], "a").await.pop().unwrap();
    let (status, text) = recover(&cluster.hubs[0], &["--dry-run"]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("process") && text.contains("listening on"), "{text}");
    cluster.hubs[0].stop().await;
    let (status, text) = recover(&cluster.hubs[0], &["--dry-run"]).await;
    assert_eq!(status, Some(0), "{text}");
    let expected = [
        "ends with message 15",
        "its message 15 is not that of the copy",
        "from message 16 on",
        "dry run",
    ];
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    let (status, text) = recover(&cluster.hubs[0], &[]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("hubs of the cluster are running (h1, h2, h3)"), "{text}");
    for hub in &mut cluster.hubs[1..] {
        hub.stop().await;
    }
    let (status, text) = recover(&cluster.hubs[0], &[]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("has messages that this copy may lack"), "{text}");
    let (status, text) = recover(&cluster.hubs[0], &["--force"]).await;
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("new   fanfare begins with message 16"), "{text}");
    cluster.hubs[0].restart().await;
    let hub = &cluster.hubs[0];
    assert_eq!(
        history(hub, "a").await,
        before,
        "everything that was acknowledged there, with its ids"
    );
    publish_until_acknowledged(hub, "a", "after").await;
    // The others get their events from it.
    for n in 1..=NODES {
        let hub = &mut cluster.hubs[n];
        std::fs::rename(&hub.data, cluster.folder.path().join(format!("before{n}"))).unwrap();
        hub.restart().await;
        hub.wait_for_log("got a snapshot", 1).await;
        publish_until_acknowledged(hub, "a", &format!("by {n}")).await;
    }
    let events = common_history(&cluster.hubs, "a", 19).await;
    assert_eq!((&events[..15], events.len()), (&before[..], 19));
    // A client continues, unless it has seen an event that is gone.
    let mut reader = cluster.hubs[2].resume("/streams/a/events", &before[12].0).await;
    assert_eq!(reader.open().await["resume"], "resumed");
    let rest = reader.take(6).await.into_iter().map(|event| (event.id, event.data));
    assert_eq!(rest.collect::<Vec<_>>(), events[13..]);
    let mut reader = cluster.hubs[2].resume("/streams/a/events", &other.0).await;
    assert_eq!(reader.open().await["resume"], "reset");
    // A key that was used before the recovery is still known.
    let again = publish_until_acknowledged(&cluster.hubs[3], "a", "lost 4").await;
    assert_eq!(
        (&again["duplicate"], &again["id"]),
        (&json!(true), &json!(before[14].0)),
        "{again}"
    );
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_sound_log_is_replaced_only_by_force() {
    let mut cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "first").await;
    common_history(&cluster.hubs, "a", 1).await;
    cluster.hubs[2].stop().await;
    cluster.hubs[0].publish("a", "second").await;
    for hub in &mut cluster.hubs[..2] {
        hub.stop().await;
    }
    let (status, text) = recover(&cluster.hubs[2], &[]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("has all of the copy, and") && text.contains("--force"), "{text}");
    // Nothing has changed.
    cluster.hubs[2].restart().await;
    let events = history(&cluster.hubs[2], "a").await;
    assert_eq!(common_history(&cluster.hubs[2..], "a", 2).await[..1], events[..1]);
    cluster.hubs[2].stop().await;
    let (status, text) = recover(&cluster.hubs[2], &["--force"]).await;
    assert_eq!(status, Some(0), "{text}");
    cluster.hubs[2].restart().await;
    publish_until_acknowledged(&cluster.hubs[2], "a", "third").await;
    assert_eq!(history(&cluster.hubs[2], "a").await.len(), 3);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_single_hub_becomes_the_first_of_a_cluster() {
    let mut cluster = Cluster::start().await;
    for hub in &mut cluster.hubs {
        hub.stop().await;
        std::fs::remove_dir_all(&hub.data).unwrap();
    }
    nats::request(&cluster.addresses[0], "$JS.API.STREAM.DELETE.fanfare", "");
    let flags = std::mem::take(&mut cluster.hubs[0].flags);
    cluster.hubs[0].restart().await;
    for event in 0..10 {
        cluster.hubs[0].publish("a", &format!("alone {event}")).await;
    }
    let before = history(&cluster.hubs[0], "a").await;
    cluster.hubs[0].stop().await;
    cluster.hubs[0].flags = flags;
    let (status, text) = recover(&cluster.hubs[0], &[]).await;
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("fanfare does not exist"), "{text}");
    for hub in &mut cluster.hubs {
        hub.restart().await;
    }
    publish_until_acknowledged(&cluster.hubs[1], "a", "together").await;
    let events = common_history(&cluster.hubs, "a", 11).await;
    assert_eq!(events[..10], before);
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_cluster_is_restored_from_the_backup_of_a_hub() {
    let mut cluster = Cluster::start().await;
    for event in 0..10 {
        cluster.hubs[event % NODES].publish("a", &format!("stored {event}")).await;
    }
    let before = common_history(&cluster.hubs, "a", 10).await;
    let file = cluster.folder.path().join("backup");
    let fanfare = async |arguments: Vec<std::ffi::OsString>| {
        let mut command = Command::new(program());
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let url = cluster.hubs[1].url("");
    fanfare(vec![
        "journal".into(),
        "backup".into(),
        file.clone().into(),
        "--url".into(),
        url.into(),
    ])
    .await;
    cluster.hubs[0].publish("a", "after the backup").await;
    for hub in &mut cluster.hubs {
        hub.stop().await;
        std::fs::remove_dir_all(&hub.data).unwrap();
    }
    let data = cluster.hubs[0].data.clone();
    fanfare(vec![
        "journal".into(),
        "restore".into(),
        file.into(),
        "--data-dir".into(),
        data.into(),
    ])
    .await;
    let (status, text) = recover(&cluster.hubs[0], &["--force"]).await;
    assert_eq!(status, Some(0), "{text}");
    for hub in &mut cluster.hubs {
        hub.restart().await;
    }
    publish_until_acknowledged(&cluster.hubs[2], "a", "restored").await;
    let events = common_history(&cluster.hubs, "a", 11).await;
    assert_eq!((&events[..10], events[10].1.as_str()), (&before[..], "restored"));
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn only_a_log_is_replaced_and_one_with_other_ids_only_by_force() {
    let mut cluster = Cluster::start().await;
    cluster.hubs[0].publish("a", "x").await;
    common_history(&cluster.hubs, "a", 1).await;
    cluster.stop_hubs().await;
    // A stream of another service.
    let orders = json!({ "name": "orders", "subjects": ["orders.new"], "storage": "file" });
    let address = &cluster.addresses[0];
    nats::request(address, "$JS.API.STREAM.CREATE.orders", &orders.to_string());
    nats::append(address, "orders.new", "1", b"an order");
    let (status, text) = recover(&cluster.hubs[0], &["--cluster-name", "orders", "--force"]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("it is not the log of a cluster of hubs"), "{text}");
    let info = nats::request(address, "$JS.API.STREAM.INFO.orders", "");
    assert_eq!(info["state"]["messages"], 1, "{info}");
    // The server that creates and deletes streams is away, so that requests get lost.
    let server = cluster.metadata_leader();
    cluster.servers[server].kill();
    let hub = (0..NODES).find(|n| *n != server).unwrap();
    let (status, text) = recover(&cluster.hubs[hub], &["--force"]).await;
    assert_eq!(status, Some(0), "{text}");
    cluster.hubs[hub].restart().await;
    publish_until_acknowledged(&cluster.hubs[hub], "a", "y").await;
    cluster.hubs[hub].stop().await;
    // Another hub has a copy of the old log.
    let other = (0..NODES).find(|n| ![server, hub].contains(n)).unwrap();
    let (status, text) = recover(&cluster.hubs[other], &[]).await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("another one, with messages of its own"), "{text}");
    cluster.hubs[hub].restart().await;
    assert_eq!(history(&cluster.hubs[hub], "a").await.len(), 2);
}
