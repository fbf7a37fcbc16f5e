//! A request of the bench, on a connection of its own.

use anyhow::Context as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Maximum time without a byte of a response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Response to a request.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Head and body.
    text: String,
}

impl Response {
    /// Returns the body.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Sends a request, of which `head` is the first line and perhaps headers, and returns the response.
pub fn exchange(address: SocketAddr, head: &str, body: &str) -> anyhow::Result<Response> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let head = format!(
        "{head}\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(body.as_bytes())?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Response { status: status.context("the hub sent no response")?, text })
}
