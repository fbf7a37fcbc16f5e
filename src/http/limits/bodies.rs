//! Limit of the bytes that request bodies hold while they are received.

use super::per_client::{ClientHold, PerClient};
use crate::limits::Client;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of bytes of all bodies, so that many large ones cannot use all memory.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// Maximum number of these bytes for one client, unless a single body may be larger.
const MAX_BYTES_PER_CLIENT: usize = MAX_BYTES / 8;

/// Bytes of the bodies that are being received.
#[derive(Default, Debug)]
pub struct BodyBudget {
    bytes: AtomicUsize,
    by_client: PerClient,
}

/// Bytes that one body holds, returned when dropped.
pub(crate) struct BodyReservation<'a> {
    bytes: usize,
    budget: &'a BodyBudget,
    of_client: Option<ClientHold>,
    max_of_client: usize,
}

impl BodyBudget {
    /// Starts a reservation for a body of at most `max_body_bytes`. Clients on this machine have no
    /// limit per client.
    pub(crate) fn reserve(&self, client: &Client, max_body_bytes: usize) -> BodyReservation<'_> {
        let max_of_client = MAX_BYTES_PER_CLIENT.max(max_body_bytes);
        let of_client = (!client.is_local).then(|| self.by_client.empty_hold(client.key()));
        BodyReservation { bytes: 0, budget: self, of_client, max_of_client }
    }

    /// Returns the bytes of all bodies that are being received.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl BodyReservation<'_> {
    /// Adds bytes; returns false if a limit is reached and the body must be refused.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let total = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let max = self.max_of_client as u64;
        let has_room = self.of_client.as_mut().is_none_or(|hold| hold.grow(bytes as u64, max));
        total <= MAX_BYTES && has_room
    }
}

impl Drop for BodyReservation<'_> {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
