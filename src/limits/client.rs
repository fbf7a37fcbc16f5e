//! Clients, identified by their addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Length of the IPv6 prefix that identifies one host, which may use every address in it.
const IPV6_PREFIX_BITS: u32 = 64;

/// A client by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Address; IPv4-mapped addresses become IPv4.
    pub address: IpAddr,
    /// True for programs on the hub's own machine that connect without a proxy.
    pub is_local: bool,
}

/// Key by which clients are counted: an IPv4 address, or the IPv6 network of one host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientKey(IpAddr);

impl Client {
    /// Creates a client from its address.
    pub fn at(address: IpAddr, is_local: bool) -> Self {
        Self { address: address.to_canonical(), is_local }
    }

    /// Returns the key by which it is counted.
    pub fn key(&self) -> ClientKey {
        ClientKey(match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(v6) => {
                let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_host_are_one_client() {
        let key = |text: &str| Client::at(text.parse().expect("an address"), false).key();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
