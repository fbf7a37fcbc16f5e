//! Retry times for refused and closed clients, so that they do not all reconnect at once.

use crate::limits::{Client, ClientKey};
use dashmap::DashMap;
use rand::Rng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Jitter of a `retry` in both directions, in percent, so that clients that were disconnected
/// together do not reconnect together.
const JITTER_PERCENT: u64 = 20;
/// Factor of the usual `retry` for clients that have reached a per-client limit: they must close a
/// tab first, and must not delay other clients until then.
const OWN_LIMIT_FACTOR: u32 = 5;
/// Maximum retry time.
const MAX_RETRY: Duration = Duration::from_secs(3600);

/// Maximum number of clients with remembered retries; once it is reached, clients without pending
/// retries are removed.
const MAX_REMEMBERED: usize = 100_000;

/// Assigns retry times: jittered, and for refused clients at most `rate_per_second` per second.
pub struct RetryPacer {
    base: Duration,
    rate_per_second: u64,
    started_at: Instant,
    /// Next free slot for a refused client, in microseconds after `started_at`.
    next_slot_us: AtomicU64,
    clients: DashMap<ClientKey, ClientRetries>,
    /// Last removal of clients without pending retries, in microseconds after `started_at`.
    last_cleanup_us: AtomicU64,
}

/// Pending retries of one client.
#[derive(Clone, Copy, Default)]
struct ClientRetries {
    count: u64,
    last_us: u64,
}

impl RetryPacer {
    /// Creates a pacer with the usual `retry` and the number of refused clients that may reconnect
    /// per second.
    pub fn new(base: Duration, rate_per_second: u64) -> Self {
        let next_slot_us = AtomicU64::new(0);
        let (rate_per_second, started_at) = (rate_per_second.max(1), Instant::now());
        Self {
            base,
            rate_per_second,
            started_at,
            next_slot_us,
            clients: DashMap::new(),
            last_cleanup_us: AtomicU64::new(0),
        }
    }

    /// Returns the `retry` of a session, in milliseconds.
    pub fn retry_ms(&self) -> u64 {
        jittered(self.base.as_millis() as u64)
    }

    /// Returns the retry time for a client that has reached a per-client limit, in milliseconds.
    pub fn client_limit_ms(&self) -> u64 {
        jittered((self.base * OWN_LIMIT_FACTOR).min(MAX_RETRY).as_millis() as u64)
    }

    /// Returns the retry time for a client that is refused now, in milliseconds. The client takes a
    /// slot only if it holds fewer than `max_slots`, so that a client that reconnects too early
    /// does not use up the slots of others.
    pub fn rejected_client_ms(&self, client: &Client, max_slots: Option<u64>) -> u64 {
        let Some(max_slots) = max_slots else { return self.rejected_ms() };
        let now_us = self.started_at.elapsed().as_micros() as u64;
        if self.clients.len() >= MAX_REMEMBERED && !self.remove_expired(now_us) {
            return self.client_limit_ms();
        }
        let mut retries = self.clients.entry(client.key()).or_default();
        if retries.last_us <= now_us {
            *retries = ClientRetries::default();
        }
        if retries.count >= max_slots {
            return self.client_limit_ms();
        }
        let wait_ms = self.rejected_ms();
        retries.count += 1;
        retries.last_us = retries.last_us.max(now_us + wait_ms * 1000);
        wait_ms
    }

    /// Removes clients without pending retries, at most once a second; returns true if there is
    /// room.
    fn remove_expired(&self, now_us: u64) -> bool {
        let last = self.last_cleanup_us.load(Ordering::Relaxed);
        let is_due = now_us >= last + 1_000_000;
        if is_due && self.last_cleanup_us.swap(now_us, Ordering::Relaxed) == last {
            self.clients.retain(|_, retries| retries.last_us > now_us);
        }
        self.clients.len() < MAX_REMEMBERED
    }

    /// Returns the retry time for a client that is refused now, in milliseconds; it grows with the
    /// number of refused clients.
    pub fn rejected_ms(&self) -> u64 {
        let now_us = self.started_at.elapsed().as_micros() as u64;
        let step_us = 1_000_000 / self.rate_per_second;
        let claimed =
            self.next_slot_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                Some(next.max(now_us) + step_us)
            });
        let slot_us = claimed.unwrap_or(now_us).max(now_us);
        let wait_ms = (slot_us - now_us) / 1000;
        (self.retry_ms() + wait_ms).min(MAX_RETRY.as_millis() as u64)
    }
}

fn jittered(ms: u64) -> u64 {
    let spread = ms * JITTER_PERCENT / 100;
    rand::rng().random_range(ms - spread..=ms + spread).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_jittered_and_refused_clients_are_paced() {
        let pacer = RetryPacer::new(Duration::from_secs(3), 500);
        let retries: Vec<u64> = (0..200).map(|_| pacer.retry_ms()).collect();
        assert!(retries.iter().all(|ms| (2400..=3600).contains(ms)));
        assert!(retries.iter().any(|ms| *ms < 2900) && retries.iter().any(|ms| *ms > 3100));
        let retries_ms: Vec<u64> = (0..5_000).map(|_| pacer.rejected_ms()).collect();
        // 5,000 at 500 a second take ten seconds; the test itself takes far less.
        assert!(retries_ms[4_999] > 9_000, "{}", retries_ms[4_999]);
        assert!(retries_ms[0] <= 3_700);
    }

    #[test]
    fn impatient_client_does_not_use_up_slots_of_others() {
        let pacer = RetryPacer::new(Duration::from_secs(3), 10);
        let client = |last| Client::at([192, 0, 2, last].into(), false);
        for _ in 0..10_000 {
            let wait_ms = pacer.rejected_client_ms(&client(1), Some(20));
            assert!(wait_ms <= 18_000, "{wait_ms}");
        }
        let other = pacer.rejected_client_ms(&client(2), Some(20));
        assert!(other < 6_000, "20 slots at 10 per second precede it: {other}");
        let unlimited = (0..100).map(|_| pacer.rejected_client_ms(&client(3), None));
        assert!(unlimited.last() > Some(10_000), "without a maximum every retry gets a slot");
    }
}
