//! Time between the hubs that deliver an event.

use super::super::exchange::exchange;
use super::super::mark::Mark;
use super::ClusterPlan;
use super::machines::{Hub, Machines};
use super::report::Figure;
use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Pause between events.
const INTERVAL: Duration = Duration::from_millis(20);
/// Maximum time without an event.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Measures the time between the first and the last hub that delivers an event to a subscriber.
pub fn measure(machines: &Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    let events = (plan.duration.as_millis() / INTERVAL.as_millis()).max(1) as usize * plan.rounds;
    let readers = machines.hubs.iter().map(subscribe).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let threads: Vec<_> = readers
        .into_iter()
        .map(|reader| std::thread::spawn(move || arrivals(reader, began, events)))
        .collect();
    for number in 0..events {
        let hub = &machines.hubs[number % machines.hubs.len()];
        let mut data = Vec::new();
        Mark { stream: 0, publisher: 0, sequence: number as u32, sent_ns: 0 }.write(200, &mut data);
        let body = format!("{{\"stream\":\"lag\",\"data\":{}}}", String::from_utf8_lossy(&data));
        let head = "POST /publish HTTP/1.1\r\nContent-Type: application/json";
        let answer = exchange(hub.address, head, &body)?;
        ensure!(answer.status == 200, "a publish failed: {}", answer.body());
        std::thread::sleep(INTERVAL);
    }
    let mut all = Vec::new();
    for thread in threads {
        all.push(thread.join().ok().context("a thread panicked")??);
    }
    let mut lags = Histogram::<u64>::new(3)?;
    for number in 0..events {
        let times = all.iter().map(|times| times[number]);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { continue };
        lags.record((last - first).as_nanos() as u64)?;
    }
    let at = |quantile| lags.value_at_quantile(quantile) as f64 / 1e6;
    Ok(vec![
        Figure::alone("first to last hub: p50, ms", at(0.5), None),
        Figure::alone("first to last hub: p99, ms", at(0.99), Some("at most 10")),
    ])
}

fn subscribe(hub: &Hub) -> Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(hub.address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("GET /events?stream=lag HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address);
    socket.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    while !line.starts_with("event: hub-open") {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "a hub has accepted no subscriber");
    }
    Ok(reader)
}

/// Returns the time at which each event arrived.
fn arrivals(
    mut reader: BufReader<TcpStream>,
    began: Instant,
    events: usize,
) -> Result<Vec<Duration>> {
    let mut times = vec![Duration::ZERO; events];
    let (mut seen, mut line) = (0, String::new());
    while seen < events {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("a hub has disconnected a subscriber");
        }
        if let Some(mark) = Mark::find(line.as_bytes()).filter(|_| line.starts_with("data: ")) {
            times[mark.sequence as usize] = began.elapsed();
            seen += 1;
        }
    }
    Ok(times)
}
