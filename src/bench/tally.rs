//! State that the threads of a bench share: the clock, and counts that grow while it runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Clock and counts of one run.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    /// Subscribers whose response has begun.
    pub connected: Count,
    /// Connections that failed, or whose response was not an event stream.
    pub refused: Count,
    /// Reason of the first refusal.
    pub first_refusal: OnceLock<String>,
    /// Connections that the server ended.
    pub dropped: Count,
    /// Received events, without duplicates.
    pub received: Count,
    /// Finished visits, in `churn`.
    pub visits: Count,
    /// Publishes that were acknowledged.
    pub published: Count,
    /// Time of the last received event, in nanoseconds of this clock.
    pub last_received_ns: Count,
}

/// Counter that bench threads update and read.
#[derive(Default, Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `amount` to the count.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Raises the count to `value` if it is lower.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Returns the current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            connected: Count::default(),
            refused: Count::default(),
            first_refusal: OnceLock::new(),
            dropped: Count::default(),
            received: Count::default(),
            visits: Count::default(),
            published: Count::default(),
            last_received_ns: Count::default(),
        }
    }

    /// Returns the nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// Range of times that a histogram records, in nanoseconds.
const TIMES_NS: std::ops::Range<u64> = 1_000..600_000_000_000;

/// Creates a histogram of times in nanoseconds, exact to three digits.
pub fn histogram() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new_with_bounds(TIMES_NS.start, TIMES_NS.end, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are valid"))
}
