//! Limits on sessions over all hubs of a cluster.

use super::fixture::Cluster;
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use std::time::{Duration, Instant};

const PATH: &str = "/streams/a/events?refusal=status";

/// Subscribes until a hub admits or refuses, as expected. Returns the session if it is admitted.
async fn wait_for(hub: &Hub, status: u16) -> Reader {
    let began = Instant::now();
    loop {
        let reader = hub.subscribe(PATH).await;
        if reader.status == status {
            return reader;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{}", reader.status);
        drop(reader);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_limit_on_the_sessions_of_a_stream_holds_over_all_hubs() {
    let mut cluster = Cluster::with_flags(&["--max-connections-per-stream", "4"]).await;
    let mut readers = Vec::new();
    for n in [0, 0, 1, 1] {
        let mut reader = cluster.hubs[n].subscribe(PATH).await;
        reader.open().await;
        readers.push(reader);
    }
    let mut refused = wait_for(&cluster.hubs[2], 503).await;
    assert_eq!(refused.body().await["limit"], "max_connections_per_stream");
    // A session ends at another hub.
    readers.remove(0);
    let admitted = wait_for(&cluster.hubs[2], 200).await;
    wait_for(&cluster.hubs[2], 503).await;
    // The sessions of a hub that is gone do not count.
    cluster.hubs[1].kill();
    let another = wait_for(&cluster.hubs[2], 200).await;
    drop((admitted, another, readers));
}
