//! A request that is repeated beside a bench, and the durations of its repetitions.

use super::endpoint::Requests;
use anyhow::bail;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Repetitions that run on a thread of their own until they are stopped.
pub struct Repeated {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Histogram<u64>>>,
}

impl Repeated {
    /// Calls `request` again and again, with a pause of `interval` after each call.
    pub fn start(
        name: &str,
        interval: Duration,
        mut request: impl FnMut() -> anyhow::Result<()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let is_over = Arc::<AtomicBool>::default();
        let over = is_over.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut durations = Histogram::new(3)?;
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                request()?;
                durations.record(started.elapsed().as_nanos() as u64)?;
                std::thread::sleep(interval);
            }
            Ok(durations)
        })?;
        Ok(Self { is_over, thread })
    }

    /// Stops after the request that is running. Returns the durations in nanoseconds.
    pub fn stop(self) -> anyhow::Result<Histogram<u64>> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(durations) => durations,
            Err(_) => bail!("a thread of the bench panicked"),
        }
    }
}

/// Returns the address of the measured server, if the bench sends it any requests.
pub fn server_address(requests: &Requests) -> Option<SocketAddr> {
    let urls = [&requests.subscribe, &requests.publish];
    urls.into_iter().flatten().next().map(|url| url.address)
}
