//! Clients behind proxies: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Any client can send these headers, so only what a trusted proxy added counts: the list is read
//! from its end, as long as the hops are trusted.

use super::Client;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Hops of a request: the values of each header, in order.
#[derive(Clone, Copy, Default, Debug)]
pub struct ForwardedHeaders<'a> {
    /// `Forwarded`.
    pub forwarded: &'a [&'a str],
    /// `X-Forwarded-For`.
    pub x_forwarded_for: &'a [&'a str],
}

/// Returns the client of a request that came from `peer`. If the headers of a proxy disagree or
/// name no address, the proxy counts as the client, because the client may have sent one of them.
pub fn client_of(peer: IpAddr, hops: ForwardedHeaders<'_>, trusted: &[IpNet]) -> Client {
    let peer = peer.to_canonical();
    let direct = Client::at(peer, peer.is_loopback());
    let has_no_headers = hops.forwarded.is_empty() && hops.x_forwarded_for.is_empty();
    if has_no_headers || !is_trusted(peer, trusted) {
        return direct;
    }
    let first_untrusted_of = |list: Vec<Option<IpAddr>>| first_untrusted(peer, &list, trusted);
    let by_forwarded =
        (!hops.forwarded.is_empty()).then(|| first_untrusted_of(forwarded_list(hops.forwarded)));
    let by_x = (!hops.x_forwarded_for.is_empty())
        .then(|| first_untrusted_of(x_list(hops.x_forwarded_for)));
    let address = match (by_forwarded, by_x) {
        (Some(address), Some(other)) if address != other => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    };
    Client::at(address, false)
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Returns the last hop that is not a trusted proxy. If a hop is not an address, returns the
/// trusted hop that follows it.
fn first_untrusted(peer: IpAddr, list: &[Option<IpAddr>], trusted: &[IpNet]) -> IpAddr {
    let mut last = peer;
    for hop in list.iter().rev() {
        match hop {
            Some(address) if is_trusted(*address, trusted) => last = *address,
            Some(address) => return *address,
            None => return last,
        }
    }
    last
}

fn x_list(values: &[&str]) -> Vec<Option<IpAddr>> {
    values.iter().flat_map(|value| value.split(',')).map(|hop| address(hop.trim())).collect()
}

/// Returns the `for` of each element (RFC 7239 §4 and §6).
fn forwarded_list(values: &[&str]) -> Vec<Option<IpAddr>> {
    let elements = values.iter().flat_map(|value| split_outside_quotes(value, ','));
    elements.map(named_by).collect()
}

/// Returns the `for` of an element; `None` if it has none or it is not an address. A malformed
/// element has none, because a quote that a client left open swallows what a proxy adds.
fn named_by(element: &str) -> Option<IpAddr> {
    let mut named = None;
    for pair in split_outside_quotes(element, ';') {
        if pair.trim().is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value.trim()).filter(|_| !name.contains('"'))?;
        if name.trim().eq_ignore_ascii_case("for") && named.is_none() {
            named = Some(address(value));
        }
    }
    named.flatten()
}

/// Returns the text in quotes or without any; `None` if a quote is elsewhere.
fn unquoted(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let text = inner.unwrap_or(value);
    let mut escaped = false;
    let is_bare = text.chars().all(|c| {
        let was_escaped = escaped;
        escaped = inner.is_some() && !was_escaped && c == '\\';
        c != '"' || was_escaped
    });
    (is_bare && !escaped).then_some(text)
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c| {
        let was_escaped = escaped;
        escaped = quoted && !was_escaped && c == '\\';
        if c == '"' && !was_escaped {
            quoted = !quoted;
        }
        c == separator && !quoted
    })
    .collect()
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bare: Option<IpAddr> = bare.parse().ok();
    let address = bare.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], x_forwarded_for: &[&str]) -> (String, bool) {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("ok"));
        let hops = ForwardedHeaders { forwarded, x_forwarded_for };
        let client = client_of(peer.parse().expect("an address"), hops, &trusted);
        (client.to_string(), client.is_local)
    }

    #[test]
    fn only_hops_that_trusted_proxies_added_count() {
        for (peer, forwarded, x, expected) in [
            ("127.0.0.1", &[][..], &[][..], ("127.0.0.1", true)),
            ("192.0.2.9", &[], &["198.51.100.1"], ("192.0.2.9", false)),
            ("127.0.0.1", &[], &["198.51.100.1"], ("198.51.100.1", false)),
            ("127.0.0.1", &[], &["127.0.0.1, 198.51.100.1"], ("198.51.100.1", false)),
            ("127.0.0.1", &[], &["6.6.6.6, 198.51.100.1, 10.0.0.2"], ("198.51.100.1", false)),
            ("127.0.0.1", &[], &["6.6.6.6", "198.51.100.1:123"], ("198.51.100.1", false)),
            ("127.0.0.1", &[], &["127.0.0.1"], ("127.0.0.1", false)),
            ("127.0.0.1", &[], &["nonsense"], ("127.0.0.1", false)),
            ("127.0.0.1", &[], &["198.51.100.1, nonsense, 10.0.0.2"], ("10.0.0.2", false)),
            ("10.0.0.1", &["for=198.51.100.1;proto=https"], &[], ("198.51.100.1", false)),
            ("10.0.0.1", &["For=\"[2001:db8::17]:4711\";by=x"], &[], ("2001:db8::17", false)),
            ("10.0.0.1", &["for=6.6.6.6", "for=198.51.100.1"], &[], ("198.51.100.1", false)),
            ("10.0.0.1", &["for=\"a,for=6.6.6.6\", for=1.1.1.1"], &[], ("1.1.1.1", false)),
            ("10.0.0.1", &["for=_hidden"], &[], ("10.0.0.1", false)),
            ("10.0.0.1", &["for=_hidden;for=6.6.6.6"], &[], ("10.0.0.1", false)),
            ("10.0.0.1", &["by=\"\\\"\";;for=1.1.1.1"], &[], ("1.1.1.1", false)),
            ("10.0.0.1", &["for=6.6.6.6;by=\", for=1.1.1.1"], &[], ("10.0.0.1", false)),
            ("10.0.0.1", &["for=6.6.6.6;by=\", for=\"1.1.1.1\""], &[], ("10.0.0.1", false)),
            ("10.0.0.1", &["for=6.6.6.6;\", for=1.1.1.1"], &[], ("10.0.0.1", false)),
            ("10.0.0.1", &["for=6.6.6.6;by=\"", "for=1.1.1.1"], &[], ("1.1.1.1", false)),
            ("10.0.0.1", &["for=6.6.6.6"], &["198.51.100.1"], ("10.0.0.1", false)),
            ("10.0.0.1", &["for=198.51.100.1"], &["198.51.100.1"], ("198.51.100.1", false)),
            ("::ffff:10.0.0.1", &[], &["[2001:db8::1]"], ("2001:db8::1", false)),
        ] {
            let expected = (expected.0.to_owned(), expected.1);
            assert_eq!(client(peer, forwarded, x), expected, "{peer} {forwarded:?} {x:?}");
        }
    }
}
