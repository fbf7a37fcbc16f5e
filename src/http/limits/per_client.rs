//! Amounts held by clients, each until its guard is dropped.

use crate::limits::ClientKey;
use dashmap::DashMap;
use std::sync::Arc;

/// Amounts by client, such as connections or bytes. A client is removed with its last hold.
#[derive(Clone, Default, Debug)]
pub(super) struct PerClient(Arc<DashMap<ClientKey, u64>>);

/// An amount that a client holds until this is dropped.
#[derive(Debug)]
pub(super) struct ClientHold {
    amounts: PerClient,
    client: ClientKey,
    amount: u64,
}

impl PerClient {
    /// Holds `amount` for a client, unless the client would hold more than `max`.
    pub(super) fn hold(&self, client: ClientKey, amount: u64, max: u64) -> Option<ClientHold> {
        let mut hold = self.empty_hold(client);
        hold.grow(amount, max).then_some(hold)
    }

    /// Starts a hold that grows later.
    pub(super) fn empty_hold(&self, client: ClientKey) -> ClientHold {
        ClientHold { amounts: self.clone(), client, amount: 0 }
    }
}

impl ClientHold {
    /// Adds to the held amount, unless the client would hold more than `max`; returns true if it did.
    pub(super) fn grow(&mut self, additional: u64, max: u64) -> bool {
        let mut held = self.amounts.0.entry(self.client).or_insert(0);
        let has_room = *held + additional <= max;
        if has_room {
            *held += additional;
            self.amount += additional;
        }
        has_room
    }
}

impl Drop for ClientHold {
    fn drop(&mut self) {
        if let Some(mut held) = self.amounts.0.get_mut(&self.client) {
            *held -= self.amount;
        }
        self.amounts.0.remove_if(&self.client, |_, held| *held == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Client;

    #[test]
    fn hold_is_bounded_by_max_and_released_on_drop() {
        let key = |ip: &str| Client::at(ip.parse().unwrap(), false).key();
        let amounts = PerClient::default();
        let first = amounts.hold(key("192.0.2.1"), 1, 2).unwrap();
        let mut second = amounts.hold(key("192.0.2.1"), 1, 2).unwrap();
        assert!(amounts.hold(key("192.0.2.1"), 1, 2).is_none());
        assert!(!second.grow(1, 2), "a hold does not grow beyond the maximum");
        assert!(amounts.hold(key("192.0.2.2"), 2, 2).is_some(), "another client is not affected");
        drop(first);
        assert!(second.grow(1, 2));
        drop(second);
        assert!(amounts.0.is_empty(), "clients without holds are removed");
    }
}
