//! Laws of client addresses behind proxies.

use fanfare::limits::{Client, ForwardedHeaders, client_of};
use ipnet::IpNet;
use std::net::IpAddr;

/// The proxies of these laws: the one that a client connects to, and the one next to the hub.
const PROXIES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

fn trusted() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().expect("a network")]
}

fn forwarded_headers<'a>(
    forwarded: &'a [&'a str],
    x_forwarded_for: &'a [&'a str],
) -> ForwardedHeaders<'a> {
    ForwardedHeaders { forwarded, x_forwarded_for }
}

/// Without a trusted proxy, the client is the peer, whatever the headers contain.
pub fn untrusted_headers_are_ignored(peer: IpAddr, forwarded: &[&str], x_forwarded_for: &[&str]) {
    let client = client_of(peer, forwarded_headers(forwarded, x_forwarded_for), &[]);
    assert_eq!(client, Client::at(peer, peer.to_canonical().is_loopback()));
    let untrusted_peer: IpAddr = "192.0.2.1".parse().expect("an address");
    let client =
        client_of(untrusted_peer, forwarded_headers(forwarded, x_forwarded_for), &trusted());
    assert_eq!(client, Client::at(untrusted_peer, false), "a stranger is not believed");
}

/// Behind a proxy, the client is that proxy or an address of the headers.
pub fn client_is_the_proxy_or_in_the_headers(forwarded: &[&str], x_forwarded_for: &[&str]) {
    let peer: IpAddr = PROXIES[1].parse().expect("an address");
    let client = client_of(peer, forwarded_headers(forwarded, x_forwarded_for), &trusted());
    let address = |text: &str| -> Vec<IpAddr> {
        let without_brackets = text.trim_matches(['[', ']']);
        let without_port = text.rsplit_once(':').map_or(text, |(before, _)| before);
        let candidates =
            [text, without_brackets, without_port, without_port.trim_matches(['[', ']'])];
        candidates
            .iter()
            .filter_map(|t| t.parse::<IpAddr>().ok())
            .map(|a| a.to_canonical())
            .collect()
    };
    let values = forwarded.iter().chain(x_forwarded_for);
    let words = values.flat_map(|value| value.split([',', ';', '=', '"'])).map(str::trim);
    let mut addresses = words.flat_map(address).chain([peer]);
    assert!(addresses.any(|addresses| addresses == client.address), "{client} of {forwarded:?}");
    assert!(!client.is_local || are_empty(forwarded, x_forwarded_for));
}

fn are_empty(forwarded: &[&str], x_forwarded_for: &[&str]) -> bool {
    forwarded.is_empty() && x_forwarded_for.is_empty()
}

/// Returns header lines after a proxy has added to them, on the last line or on a new one.
fn add_to_header(sent_lines: &[String], addition: &str, on_same_line: bool) -> Vec<String> {
    let mut lines = sent_lines.to_vec();
    match lines.last_mut() {
        Some(last) if on_same_line => {
            last.push_str(", ");
            last.push_str(addition);
        }
        _ => lines.push(addition.to_owned()),
    }
    lines
}

fn client_behind(forwarded: &[String], x_forwarded_for: &[String]) -> IpAddr {
    let forwarded: Vec<&str> = forwarded.iter().map(String::as_str).collect();
    let x_forwarded_for: Vec<&str> = x_forwarded_for.iter().map(String::as_str).collect();
    let peer = PROXIES[1].parse().expect("an address");
    client_of(peer, forwarded_headers(&forwarded, &x_forwarded_for), &trusted()).address
}

/// A client sends any headers, and two proxies add the truth. The hub finds the true address or, if
/// the client has made the header unreadable, that of a proxy. It never finds a forged address.
pub fn client_cannot_be_forged(
    sent_lines: &[String],
    real: IpAddr,
    on_same_line: bool,
    quoted: bool,
) {
    let real = real.to_canonical();
    if trusted().iter().any(|net| net.contains(&real)) {
        return;
    }
    let x_forwarded_for = add_to_header(sent_lines, &real.to_string(), on_same_line);
    let x_forwarded_for = add_to_header(&x_forwarded_for, PROXIES[0], on_same_line);
    assert_eq!(client_behind(&[], &x_forwarded_for), real, "{x_forwarded_for:?}");

    let addition = match real {
        IpAddr::V6(v6) => format!("for=\"[{v6}]:4711\""),
        v4 if quoted => format!("proto=https;for=\"{v4}\""),
        v4 => format!("for={v4};proto=https"),
    };
    let forwarded = add_to_header(sent_lines, &addition, on_same_line);
    let forwarded = add_to_header(&forwarded, &format!("for={}", PROXIES[0]), on_same_line);
    let client = client_behind(&forwarded, &[]);
    let is_quoted = sent_lines.iter().any(|line| line.contains('"'));
    if is_quoted && on_same_line {
        let is_proxy = PROXIES.iter().any(|proxy| client.to_string() == *proxy);
        assert!(client == real || is_proxy, "{client} of {forwarded:?}");
    } else {
        assert_eq!(client, real, "{forwarded:?}")
    }
    let client_of_both = client_behind(&forwarded, &x_forwarded_for);
    assert!(
        client_of_both == real || PROXIES.iter().any(|proxy| client_of_both.to_string() == *proxy),
        "{client_of_both}"
    );
}
