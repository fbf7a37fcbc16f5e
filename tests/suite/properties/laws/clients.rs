//! Laws of client addresses behind proxies.

use fanfare::limits::{Client, ForwardedHeaders, client_of};
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxies of these laws: the one that a client connects to, and the one next to the hub.
const PROXIES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

fn trusted() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().expect("a network")]
}

fn hops<'a>(forwarded: &'a [&'a str], x_forwarded_for: &'a [&'a str]) -> ForwardedHeaders<'a> {
    ForwardedHeaders { forwarded, x_forwarded_for }
}

/// Without a trusted proxy, the client is the peer, whatever the headers contain.
pub fn nobody_is_believed(peer: IpAddr, forwarded: &[&str], x_forwarded_for: &[&str]) {
    let client = client_of(peer, hops(forwarded, x_forwarded_for), &[]);
    assert_eq!(client, Client::at(peer, peer.to_canonical().is_loopback()));
    let stranger: IpAddr = "192.0.2.1".parse().expect("an address");
    let client = client_of(stranger, hops(forwarded, x_forwarded_for), &trusted());
    assert_eq!(client, Client::at(stranger, false), "a stranger is not believed");
}

/// Behind a proxy, the client is that proxy or an address of the headers.
pub fn nobody_is_invented(forwarded: &[&str], x_forwarded_for: &[&str]) {
    let peer: IpAddr = PROXIES[1].parse().expect("an address");
    let client = client_of(peer, hops(forwarded, x_forwarded_for), &trusted());
    let address = |text: &str| -> Vec<IpAddr> {
        let bare = text.trim_matches(['[', ']']);
        let port = text.rsplit_once(':').map_or(text, |(before, _)| before);
        let all = [text, bare, port, port.trim_matches(['[', ']'])];
        all.iter().filter_map(|t| t.parse::<IpAddr>().ok()).map(|a| a.to_canonical()).collect()
    };
    let values = forwarded.iter().chain(x_forwarded_for);
    let words = values.flat_map(|value| value.split([',', ';', '=', '"'])).map(str::trim);
    let mut named = words.flat_map(address).chain([peer]);
    assert!(named.any(|named| named == client.address), "{client} of {forwarded:?}");
    assert!(!client.is_local || says_nothing(forwarded, x_forwarded_for));
}

fn says_nothing(forwarded: &[&str], x_forwarded_for: &[&str]) -> bool {
    forwarded.is_empty() && x_forwarded_for.is_empty()
}

/// Returns header lines after a proxy has added to them, on the last line or on a new one.
fn added(said: &[String], adds: &str, on_same_line: bool) -> Vec<String> {
    let mut lines = said.to_vec();
    match lines.last_mut() {
        Some(last) if on_same_line => {
            last.push_str(", ");
            last.push_str(adds);
        }
        _ => lines.push(adds.to_owned()),
    }
    lines
}

fn client_behind(forwarded: &[String], x_forwarded_for: &[String]) -> IpAddr {
    let forwarded: Vec<&str> = forwarded.iter().map(String::as_str).collect();
    let x: Vec<&str> = x_forwarded_for.iter().map(String::as_str).collect();
    let peer = PROXIES[1].parse().expect("an address");
    client_of(peer, hops(&forwarded, &x), &trusted()).address
}

/// A client sends any headers, and two proxies add the truth. The hub finds the true address or, if
/// the client has made the header unreadable, that of a proxy. It never finds a forged address.
pub fn nobody_is_somebody_else(said: &[String], real: IpAddr, on_same_line: bool, quoted: bool) {
    let real = real.to_canonical();
    if trusted().iter().any(|net| net.contains(&real)) {
        return;
    }
    let x = added(said, &real.to_string(), on_same_line);
    let x = added(&x, PROXIES[0], on_same_line);
    assert_eq!(client_behind(&[], &x), real, "{x:?}");

    let named = match real {
        IpAddr::V6(v6) => format!("for=\"[{v6}]:4711\""),
        v4 if quoted => format!("proto=https;for=\"{v4}\""),
        v4 => format!("for={v4};proto=https"),
    };
    let forwarded = added(said, &named, on_same_line);
    let forwarded = added(&forwarded, &format!("for={}", PROXIES[0]), on_same_line);
    let client = client_behind(&forwarded, &[]);
    let is_quoted = said.iter().any(|line| line.contains('"'));
    if is_quoted && on_same_line {
        let is_proxy = PROXIES.iter().any(|proxy| client.to_string() == *proxy);
        assert!(client == real || is_proxy, "{client} of {forwarded:?}");
    } else {
        assert_eq!(client, real, "{forwarded:?}")
    }
    let both = client_behind(&forwarded, &x);
    assert!(both == real || PROXIES.iter().any(|proxy| both.to_string() == *proxy), "{both}");
}
