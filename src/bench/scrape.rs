//! Measures scrapes of the server's metrics during a bench, on a separate connection as Prometheus
//! uses.

use super::endpoint::Requests;
use super::repeated::{Repeated, server_address};
use anyhow::bail;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Path of a hub's metrics.
const PATH: &str = "/metrics";
/// Maximum time of a scrape.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts scraping, with a pause of `interval` after each scrape; `None` without a URL or an
/// interval.
pub fn start(requests: &Requests, interval: Option<Duration>) -> anyhow::Result<Option<Repeated>> {
    let (Some(address), Some(interval)) = (server_address(requests), interval) else {
        return Ok(None);
    };
    let mut connection = connect(address)?;
    let request = move || scrape(&mut connection, address);
    Ok(Some(Repeated::start("bench-scrape", interval, request)?))
}

fn connect(address: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(BufReader::new(socket))
}

/// Sends a scrape and reads the whole response.
fn scrape(connection: &mut BufReader<TcpStream>, address: SocketAddr) -> anyhow::Result<()> {
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    let mut length = 0;
    let mut is_first = true;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        if is_first && !line.contains(" 200 ") {
            bail!("{PATH} returned {line:?}");
        }
        is_first = false;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse()?;
            }
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    if body.starts_with(b"# HELP ") { Ok(()) } else { bail!("{PATH} returned no metrics") }
}
