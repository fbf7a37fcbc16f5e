//! Measures scrapes of the server's metrics during a bench, on a separate connection as Prometheus
//! uses.

use super::endpoint::Requests;
use anyhow::bail;
use hdrhistogram::Histogram;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Path of a hub's metrics.
const PATH: &str = "/metrics";
/// Maximum time of a scrape.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Scrapes that run until they are stopped.
pub struct Scrapes {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Histogram<u64>>>,
}

impl Scrapes {
    /// Starts scraping, with a pause of `interval` after each scrape; `None` without a URL or an
    /// interval.
    pub fn start(requests: &Requests, interval: Option<Duration>) -> std::io::Result<Option<Self>> {
        let urls = [&requests.subscribe, &requests.publish];
        let Some(url) = urls.into_iter().flatten().next() else { return Ok(None) };
        let (address, Some(interval)) = (url.address, interval) else { return Ok(None) };
        let is_over = Arc::<AtomicBool>::default();
        let over = is_over.clone();
        let thread = std::thread::Builder::new().name("bench-scrape".into());
        let thread = thread.spawn(move || {
            let mut durations = Histogram::new(3)?;
            let mut connection = connect(address)?;
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                scrape(&mut connection, address)?;
                durations.record(started.elapsed().as_nanos() as u64)?;
                std::thread::sleep(interval);
            }
            Ok(durations)
        })?;
        Ok(Some(Self { is_over, thread }))
    }

    /// Stops the scrapes. Returns their durations in nanoseconds.
    pub fn stop(self) -> anyhow::Result<Histogram<u64>> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(durations) => durations,
            Err(_) => bail!("the scraper panicked"),
        }
    }
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
