//! Limit of the connections of one client.

use super::per_client::{ClientHold, PerClient};
use crate::limits::{Client, Limit, Limits};
use ipnet::IpNet;
use std::net::IpAddr;

/// Connections that one client may have in addition to those of its sessions, to publish and query.
const CONNECTIONS_BESIDE_SESSIONS: u64 = 64;

/// Open connections by client.
#[derive(Default, Debug)]
pub struct ConnectionLimiter(PerClient);

/// Permit for one connection, returned when dropped; empty if the peer has no limit.
pub(crate) struct ConnectionPermit {
    _hold: Option<ClientHold>,
}

impl ConnectionLimiter {
    /// Returns a permit for a connection of `peer`, or `None` if it has too many. Trusted proxies have
    /// no limit, and neither have clients on this machine unless the limit is configured.
    pub(crate) fn acquire(
        &self,
        peer: IpAddr,
        limits: &Limits,
        trusted_proxies: &[IpNet],
    ) -> Option<ConnectionPermit> {
        let client = Client::at(peer, peer.to_canonical().is_loopback());
        let bound = limits.hub.get(Limit::ConnectionsPerClient);
        let is_proxy = trusted_proxies.iter().any(|net| net.contains(&client.address));
        match bound.filter(|bound| !is_proxy && (bound.is_explicit || !client.is_local)) {
            None => Some(ConnectionPermit { _hold: None }),
            Some(bound) => {
                let hold = self.0.hold(client.key(), 1, bound.max + CONNECTIONS_BESIDE_SESSIONS);
                hold.map(|hold| ConnectionPermit { _hold: Some(hold) })
            }
        }
    }
}
