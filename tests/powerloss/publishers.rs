//! Clients that publish until they are done or the hub is gone.

use crate::client::{Client, Published};
use crate::hub::{Hub, TIMEOUT};
use crate::ledger::{Ledger, stream_of};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of publishers and the events of each.
#[derive(Clone, Copy)]
pub struct Load {
    pub publishers: u64,
    pub events: u64,
    /// Bytes that are added to some events.
    pub padding: usize,
    /// Every n-th event is padded.
    pub padded: u64,
}

impl Load {
    pub const SMALL: Self = Self { publishers: 3, events: 8, padding: 6000, padded: 3 };
}

/// An event that was sent, and its outcome.
struct SentEvent {
    data: String,
    key: Option<String>,
    published: Published,
}

/// Publishes until everything is answered or the hub is gone; records the outcomes in the ledger.
pub fn publish(hub: &mut Hub, load: Load, ledger: &mut Ledger) -> Result<(), String> {
    hub.watch();
    let client = hub.client();
    let threads: Vec<_> = (0..load.publishers)
        .map(|publisher| {
            let (client, events) = (client.clone(), events_of(publisher, load));
            events.iter().for_each(|(data, _)| ledger.record_sent(data));
            std::thread::spawn(move || publish_in_turn(&client, events))
        })
        .collect();
    let start = Instant::now();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        if start.elapsed() > TIMEOUT {
            return Err("publishes are not answered".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for thread in threads {
        let mut last = String::new();
        for SentEvent { data, key, published } in
            thread.join().map_err(|_| "a publisher panicked")?
        {
            match (published, key) {
                (Published::Acknowledged { id, .. }, key) => {
                    if id <= last {
                        return Err(format!("{id} was given out after {last}"));
                    }
                    ledger.acknowledge(&id, &data, key.as_deref())?;
                    last = id;
                }
                (Published::Unknown, Some(key)) => ledger.record_unanswered(&key, &data),
                (Published::Unknown | Published::Refused(..), _) => {}
            }
        }
    }
    Ok(())
}

/// Returns the events of a publisher. Payloads are unique within the run of all tests.
fn events_of(publisher: u64, load: Load) -> Vec<(String, Option<String>)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let event = |n: u64| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let padding = if n % load.padded == load.padded - 1 { load.padding } else { 0 };
        let mut random = SmallRng::seed_from_u64(number);
        // Random letters, because data that compresses well takes no space.
        let noise = (0..padding).map(|_| char::from(b'a' + random.random_range(0..26)));
        let data = format!("{publisher}/{number}/{}", noise.collect::<String>());
        (data, n.is_multiple_of(2).then(|| format!("key-{number}")))
    };
    (0..load.events).map(event).collect()
}

fn publish_in_turn(client: &Client, events: Vec<(String, Option<String>)>) -> Vec<SentEvent> {
    let mut sent = Vec::new();
    for (data, key) in events {
        let published = client.publish(&stream_of(&data), &data, key.as_deref());
        let is_last = !matches!(published, Published::Acknowledged { .. });
        sent.push(SentEvent { data, key, published });
        if is_last {
            break;
        }
    }
    sent
}
