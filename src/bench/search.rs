//! Searches of a hub's history during a bench, one after the other.

use super::endpoint::Requests;
use super::exchange::exchange;
use super::repeated::{Repeated, server_address};
use anyhow::ensure;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Stream with the searched events.
const STREAM: &str = "history";
/// Events in one publish.
const BATCH: usize = 4_000;
/// Filter of the searches, percent-encoded: `level>=warn order=777 /timed? ?out/`.
const FILTER: &str = "level%3E%3Dwarn%20order%3D777%20%2Ftimed%3F%20%3Fout%2F";

/// Publishes `history` events and starts to search them; `None` without events or a URL.
pub fn start(requests: &Requests, history: usize) -> anyhow::Result<Option<Repeated>> {
    let Some(address) = server_address(requests).filter(|_| history > 0) else { return Ok(None) };
    publish(address, history)?;
    let search = move || {
        let head = format!("GET /streams/{STREAM}/search?q={FILTER} HTTP/1.1");
        let response = successful(address, &head, "")?;
        ensure!(response.contains("\"complete\":true"), "a search was not completed");
        Ok(())
    };
    Ok(Some(Repeated::start("bench-search", Duration::ZERO, search)?))
}

/// Publishes log events, of which one in four is a warning.
fn publish(address: SocketAddr, history: usize) -> anyhow::Result<()> {
    for start in (0..history).step_by(BATCH) {
        let mut body = String::new();
        for n in start..history.min(start + BATCH) {
            let level = ["debug", "info", "info", "warn"][n % 4];
            let outcome = if n % 100 == 3 { "timed out" } else { "done" };
            // Writing to a string cannot fail.
            let _ = writeln!(
                body,
                "{{\"stream\":\"{STREAM}\",\"type\":\"log\",\"data\":{{\"level\":\"{level}\",\
                 \"message\":\"request {n} {outcome}\",\"order\":{},\"host\":\"web-{}\"}}}}",
                n % 10_000,
                n % 7
            );
        }
        let head = "POST /publish HTTP/1.1\r\nContent-Type: application/x-ndjson";
        successful(address, head, &body)?;
    }
    Ok(())
}

/// Sends a request and returns the body of the response.
fn successful(address: SocketAddr, head: &str, body: &str) -> anyhow::Result<String> {
    let response = exchange(address, head, body)?;
    ensure!(response.status == 200, "the hub answered {}", response.status);
    Ok(response.body().to_owned())
}
