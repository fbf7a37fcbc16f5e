//! A new hub, which gets the events of the others: in a snapshot, if the log has deleted some.

use super::super::exchange::exchange;
use super::ClusterPlan;
use super::machines::{Hub, Machines};
use super::report::Figure;
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events of a publish.
const BATCH: u64 = 1_000;
/// Number of streams.
const STREAMS: u64 = 50;
/// Pause of the publisher whose answers are measured.
const PAUSE: Duration = Duration::from_millis(20);

/// Measures a new hub, and the answers of another one meanwhile.
pub fn measure(machines: &mut Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    fill(&machines.hubs, plan.events)?;
    let address = machines.hubs[0].address;
    let before = answers(address, || {
        std::thread::sleep(plan.duration * 2);
        Ok(())
    })?;
    let began = Instant::now();
    let meanwhile = answers(address, || machines.add_hub())?;
    let seconds = began.elapsed().as_secs_f64();
    let joined = machines.hubs.last().context("the new hub")?;
    let stored = exchange(joined.address, "GET /streams/j0 HTTP/1.1", "")?;
    ensure!(stored.status == 200, "the new hub has no events: {}", stored.body());
    let p99 = |answers: &Histogram<u64>| answers.value_at_quantile(0.99) as f64 / 1e6;
    Ok(vec![
        Figure::alone("new hub: events/s", plan.events as f64 / seconds, Some("at least 100,000")),
        Figure::beside(
            "beside a new hub: p99 of the answer, ms",
            p99(&before),
            p99(&meanwhile),
            Some("ratio at most 1.5"),
        ),
    ])
}

/// Publishes events at all hubs.
fn fill(hubs: &[Hub], events: u64) -> Result<()> {
    let text = "x".repeat(200);
    for batch in 0..events.div_ceil(BATCH) {
        let mut body = String::new();
        for event in 0..BATCH {
            // Writing to a string cannot fail.
            let _ = writeln!(body, "{{\"stream\":\"j{}\",\"data\":\"{text}\"}}", event % STREAMS);
        }
        let head = "POST /publish HTTP/1.1\r\nContent-Type: application/x-ndjson";
        let answer = exchange(hubs[batch as usize % hubs.len()].address, head, &body)?;
        ensure!(answer.status == 200, "a publish failed: {}", answer.body());
    }
    Ok(())
}

/// Publishes at a hub while `work` is done, and returns the times of the answers in nanoseconds.
fn answers(address: SocketAddr, work: impl FnOnce() -> Result<()>) -> Result<Histogram<u64>> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(address, &is_over));
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        let times = publisher.join().ok().context("a thread panicked")?;
        done.and(times)
    })
}

fn publish(address: SocketAddr, is_over: &AtomicBool) -> Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let head = "POST /publish HTTP/1.1\r\nContent-Type: application/json";
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = exchange(address, head, "{\"stream\":\"a\",\"data\":1}")?;
        ensure!(answer.status == 200, "a publish failed: {}", answer.body());
        times.record(began.elapsed().as_nanos() as u64)?;
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}
