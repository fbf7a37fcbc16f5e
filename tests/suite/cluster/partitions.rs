//! Networks that lose packets between the machines of a cluster.

use super::faults::{Clients, wait_for_progress};
use super::fixture::{Cluster, NODES};
use super::network::with_network;
use crate::hub::{Hub, TEST_TIMEOUT, is_full_run};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::{Duration, Instant};

/// Waits until a hub refuses publishes because it cannot reach the log.
async fn wait_for_refusal(hub: &Hub) {
    let began = Instant::now();
    loop {
        let (status, answer) = hub.try_post("/streams/probe/events", "x").await;
        if status == 503 && answer["code"] == "log_unavailable" {
            return;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{status} {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Starts clients at all hubs.
async fn start_clients(cluster: &Cluster) -> Clients {
    let addresses = cluster.hubs.iter().map(|hub| hub.address.clone()).collect();
    let clients = Clients::start(addresses, &mut rand::rng());
    wait_for_progress(&clients.load, cluster, "the start").await;
    clients
}

#[test]
#[ignore = "needs root for network namespaces, and nats-server"]
fn a_machine_that_is_cut_off_refuses_and_the_others_go_on() {
    let flags = ["--cluster-isolation-timeout", "12s"];
    with_network(&flags, async |cluster: Cluster| {
        let clients = start_clients(&cluster).await;
        let leader = cluster.leader();
        for machine in [leader, (cluster.leader() + 1) % NODES] {
            let hub = &cluster.hubs[machine];
            let mut reader = hub.subscribe("/streams/quiet/events").await;
            reader.open().await;
            cluster.network().cut_off(machine);
            wait_for_refusal(hub).await;
            assert_eq!(hub.get("/readyz").await.0, 503);
            wait_for_progress(&clients.load, &cluster, "a machine was cut off").await;
            let last = reader.rest().await.pop().expect("a last event");
            assert_eq!(last.json()["code"], "isolated", "{last:?}");
            cluster.network().heal();
            hub.wait_until_ready().await;
            wait_for_progress(&clients.load, &cluster, "it was connected again").await;
        }
        clients.finish(&cluster).await;
    });
}

#[test]
#[ignore = "needs root for network namespaces, and nats-server"]
fn packets_that_are_lost_in_one_direction_cost_no_event() {
    with_network(&[], async |cluster: Cluster| {
        let clients = start_clients(&cluster).await;
        for is_outgoing in [true, false] {
            let leader = cluster.leader();
            for other in (0..NODES).filter(|other| *other != leader) {
                let (from, to) = if is_outgoing { (leader, other) } else { (other, leader) };
                cluster.network().drop_packets(from, to);
            }
            let began = Instant::now();
            while cluster.leader() == leader {
                assert!(began.elapsed() < TEST_TIMEOUT, "no other server leads the log");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            wait_for_progress(&clients.load, &cluster, "packets are lost").await;
            cluster.network().heal();
            wait_for_progress(&clients.load, &cluster, "no packet is lost").await;
        }
        clients.finish(&cluster).await;
    });
}

#[test]
#[ignore = "needs root for network namespaces, and nats-server"]
fn a_flapping_network_costs_no_event() {
    let seed = rand::random();
    println!("seed {seed}");
    with_network(&[], async move |cluster: Cluster| {
        let mut rng = StdRng::seed_from_u64(seed);
        let clients = start_clients(&cluster).await;
        let began = Instant::now();
        let rounds = if is_full_run() { 60 } else { 3 };
        for round in 0..rounds {
            for _ in 0..10 {
                cluster.network().cut_off(rng.random_range(0..NODES));
                tokio::time::sleep(Duration::from_millis(rng.random_range(50..1_000))).await;
                cluster.network().heal();
                tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
            }
            wait_for_progress(&clients.load, &cluster, &format!("round {round}")).await;
        }
        println!("{} rounds in {:?}", rounds, began.elapsed());
        clients.finish(&cluster).await;
    });
}
