//! Sends `tracing` events to a Fanfare hub: `cargo run --example tracing -- http://127.0.0.1:8080`.
//!
//! A layer hands each event to a thread that posts it. Events that cannot be posted, and events
//! beyond the bound of the queue, are lost.

use serde_json::{Map, Value, json};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Maximum number of lines that wait to be posted.
const MAX_WAITING: usize = 10_000;

/// Posts every event to a hub.
struct ToHub(SyncSender<Value>);

impl ToHub {
    /// Returns the layer, and the thread, which ends once the layer is dropped and all is sent.
    fn new(url: &str) -> (Self, JoinHandle<()>) {
        let (sender, lines) = sync_channel::<Value>(MAX_WAITING);
        let endpoint = format!("{url}/log-message");
        let thread = std::thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            for line in lines {
                if let Err(error) = agent.post(&endpoint).send(line.to_string()) {
                    eprintln!("a line is lost: {error}");
                }
            }
        });
        (Self(sender), thread)
    }
}

impl<S: Subscriber> Layer<S> for ToHub {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        // `try_send`, because logging must never wait for the network.
        let _ = self.0.try_send(json!({
            "level": metadata.level().as_str().to_lowercase(),
            "message": message.as_str().unwrap_or_default(),
            "module": metadata.target(),
            "line": metadata.line().unwrap_or_default(),
            "fields": fields.0,
        }));
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let (layer, thread) = ToHub::new(&url);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(order = 42, "an order came in");
        tracing::warn!(seconds = 3, "the till is slow");
    });
    // The layer was dropped with the subscriber; the thread sends the remaining lines.
    let _ = thread.join();
}
