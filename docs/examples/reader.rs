//! A reader in Rust: `reqwest` with `eventsource-stream`, which reads one response. The reader
//! itself reconnects with the last id and stops at a 204.
//!
//! To print one event per line, run
//! `cargo run --example reader -- 'http://127.0.0.1:8080/streams/hello/events'`

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use reqwest::StatusCode;
use std::io::Write as _;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: reader URL")?;
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().read_timeout(Duration::from_secs(60)).build()?;
    let (mut last, mut retry) = (String::new(), Duration::from_secs(1));
    loop {
        let mut request = client.get(&url).header("Accept", "text/event-stream");
        if !last.is_empty() {
            request = request.header("Last-Event-ID", &last);
        }
        match request.send().await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => break,
            Ok(response) if response.status() == StatusCode::OK => {
                let mut events = response.bytes_stream().eventsource();
                // An error means that the connection broke.
                while let Some(Ok(event)) = events.next().await {
                    retry = event.retry.unwrap_or(retry);
                    let line = serde_json::json!({ "type": event.event, "data": event.data, "id": event.id });
                    writeln!(std::io::stdout(), "{line}")?;
                    last = event.id;
                }
            }
            Ok(response) => eprintln!("the hub answered {}", response.status()),
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(retry).await;
    }
    writeln!(std::io::stdout(), "{}", serde_json::json!({ "over": 204 }))?;
    Ok(())
}
