//! Searches of a hub's history during a bench, one after the other.

use super::endpoint::Requests;
use super::repeated::{Repeated, server_address};
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Stream with the searched events.
const STREAM: &str = "history";
/// Events in one publish.
const BATCH: usize = 4_000;
/// Filter of the searches, percent-encoded: `level>=warn order=777 /timed? ?out/`.
const FILTER: &str = "level%3E%3Dwarn%20order%3D777%20%2Ftimed%3F%20%3Fout%2F";
/// Maximum time without a byte of a response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Publishes `history` events and starts to search them; `None` without events or a URL.
pub fn start(requests: &Requests, history: usize) -> anyhow::Result<Option<Repeated>> {
    let Some(address) = server_address(requests).filter(|_| history > 0) else { return Ok(None) };
    publish(address, history)?;
    let search = move || {
        let head = format!("GET /streams/{STREAM}/search?q={FILTER} HTTP/1.1");
        let response = exchange(address, &head, "")?;
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
        exchange(address, head, &body)?;
    }
    Ok(())
}

/// Sends a request on a connection of its own and returns the whole response.
fn exchange(address: SocketAddr, head: &str, body: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let head = format!(
        "{head}\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(body.as_bytes())?;
    let mut response = String::new();
    socket.read_to_string(&mut response)?;
    let status = response.lines().next().context("the hub sent no response")?;
    ensure!(status.contains(" 200 "), "the hub answered {status:?}");
    Ok(response)
}
