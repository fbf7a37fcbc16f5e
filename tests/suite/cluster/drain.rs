//! Subscribers of a hub that stops continue at the others.

use super::fixture::Cluster;
use crate::hub::TEST_TIMEOUT;
use crate::reader::Reader;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const READERS: usize = 1_000;
const EVENTS: usize = 100;

/// Reads until it has the last event; continues at another hub with the id of the last event that it has.
/// Returns the data of all events and the number of connections.
async fn read(
    addresses: Arc<Vec<String>>,
    open: Arc<AtomicUsize>,
    n: usize,
) -> (Vec<String>, usize) {
    let (mut seen, mut last, mut connections) = (Vec::new(), None::<String>, 0);
    while seen.len() < EVENTS {
        // The first connection is to the hub that stops.
        let address =
            if connections == 0 { &addresses[0] } else { &addresses[1 + (n + connections) % 2] };
        connections += 1;
        let headers: Vec<_> = last.iter().map(|id| ("Last-Event-ID", id.as_str())).collect();
        let mut reader = Reader::connect(address, "/streams/a/events", &headers).await.unwrap();
        let resume = reader.open().await["resume"].clone();
        assert_eq!(resume, if last.is_some() { "resumed" } else { "live" });
        open.fetch_add(usize::from(connections == 1), Ordering::Relaxed);
        while let Ok(Some(event)) = reader.next_or_error().await {
            match event.name.as_str() {
                "hub-error" => {
                    assert_eq!(event.json()["code"], "draining", "{event:?}");
                    break;
                }
                name if name.starts_with("hub-") => panic!("{event:?}"),
                _ => {
                    last = Some(event.id);
                    seen.push(event.data);
                }
            }
            if seen.len() == EVENTS {
                break;
            }
        }
    }
    (seen, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn the_subscribers_of_a_hub_that_stops_continue_at_the_others() {
    let mut cluster =
        Cluster::with_flags(&["--drain", "3s", "--max-connections-per-client", "5000"]).await;
    let addresses: Vec<_> = cluster.hubs.iter().map(|hub| hub.address.clone()).collect();
    let (addresses, open) = (Arc::new(addresses), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> =
        (0..READERS).map(|n| tokio::spawn(read(addresses.clone(), open.clone(), n))).collect();
    let began = Instant::now();
    while open.load(Ordering::Relaxed) < READERS {
        assert!(began.elapsed() < TEST_TIMEOUT, "{open:?} readers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.hubs[1].publish("a", "0").await;
    let (first, others) = cluster.hubs.split_first_mut().unwrap();
    let publish = async {
        for event in 1..EVENTS {
            others[event % 2].publish("a", &event.to_string()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        first.stop().await;
    };
    tokio::join!(publish, stop);
    let expected: Vec<_> = (0..EVENTS).map(|event| event.to_string()).collect();
    for reader in readers {
        let (seen, connections) =
            tokio::time::timeout(TEST_TIMEOUT, reader).await.unwrap().unwrap();
        assert_eq!(seen, expected);
        assert!(connections > 1, "it was connected to the hub that stopped");
    }
}
