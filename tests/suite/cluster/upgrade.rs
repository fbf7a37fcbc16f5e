//! Hubs that are replaced by those of another version, one after the other.

use super::faults::{Clients, wait_for_progress};
use super::fixture::{Cluster, NODES};
use crate::hub::program;

/// Stops a hub under load, and starts another program in its place.
async fn replace(cluster: &mut Cluster, clients: &Clients, hub: usize, program: &str) {
    cluster.hubs[hub].stop().await;
    wait_for_progress(&clients.load, cluster, "a hub has stopped").await;
    program.clone_into(&mut cluster.hubs[hub].program);
    cluster.hubs[hub].restart().await;
    cluster.hubs[hub].wait_until_ready().await;
    wait_for_progress(&clients.load, cluster, "a hub has been replaced").await;
}

/// `PREVIOUS_HUB` is a program of an earlier version, which `tests/run full` builds. Without it, hubs of one
/// version replace each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn hubs_of_two_versions_run_together() {
    let previous = std::env::var("PREVIOUS_HUB").unwrap_or_else(|_| program());
    let mut cluster = Cluster::start().await;
    for hub in &mut cluster.hubs {
        hub.keep_address();
        hub.stop().await;
        hub.program.clone_from(&previous);
        hub.restart().await;
    }
    let addresses = cluster.hubs.iter().map(|hub| hub.address.clone()).collect();
    let clients = Clients::start(addresses, &mut rand::rng());
    wait_for_progress(&clients.load, &cluster, "the start").await;
    for hub in 0..NODES {
        replace(&mut cluster, &clients, hub, &program()).await;
    }
    // Back, as after a version that disappoints.
    replace(&mut cluster, &clients, 0, &previous).await;
    clients.finish(&cluster).await;
}
