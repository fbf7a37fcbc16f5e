//! A client that drops its connections and reconnects with its last id, as EventSource does, and
//! records every event.

use crate::hub::TEST_TIMEOUT;
use crate::reader::{Event, Reader};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Address of the hub, which may change when it restarts.
pub type Address = Arc<Mutex<String>>;

/// Settings of a follower.
pub struct Follower {
    pub address: Address,
    pub path: String,
    /// Drops after at most this many events; 0 never drops.
    pub drops_within: usize,
    pub seed: u64,
}

impl Follower {
    /// Follows until an event's data is `last`; returns every event seen, in order, and the number
    /// of connections.
    pub async fn until(self, last: &str) -> (Vec<Event>, usize) {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut events: Vec<Event> = Vec::new();
        let mut last_id = String::new();
        let mut connections = 0;
        let started = Instant::now();
        loop {
            assert!(
                started.elapsed() < TEST_TIMEOUT * 3,
                "after {} events: {:?}",
                events.len(),
                events.last()
            );
            let headers = [("Last-Event-ID", last_id.as_str())];
            let headers = if last_id.is_empty() { &[][..] } else { &headers[..] };
            let address = self.address.lock().unwrap().clone();
            let Ok(mut reader) = Reader::connect(&address, &self.path, headers).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            connections += 1;
            let mut events_until_drop = match self.drops_within {
                0 => usize::MAX,
                max_events => rng.random_range(0..=max_events),
            };
            // A follower that drops before its first event must read the first block: without an id
            // it would start at "now" again.
            loop {
                let event = match reader.next_or_error().await {
                    Ok(Some(event)) => event,
                    Ok(None) | Err(_) => break,
                };
                if event.is_control() {
                    if event.name == "hub-open" && !last_id.is_empty() {
                        assert_eq!(event.json()["resume"], "resumed", "{event:?}");
                    }
                    assert_ne!(event.name, "hub-gap", "{event:?}");
                    last_id = event.id;
                } else {
                    last_id = event.id.clone();
                    let done = event.data == last;
                    events.push(event);
                    if done {
                        return (events, connections);
                    }
                }
                if events_until_drop == 0 {
                    break;
                }
                events_until_drop -= 1;
            }
        }
    }
}
