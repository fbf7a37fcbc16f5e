//! The client of a request, even behind a trusted proxy.

use crate::http::state::AppState;
use crate::limits::{Client, ForwardedHeaders, client_of};
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use std::net::{IpAddr, Ipv4Addr};

/// Returns the client that sent a request: the peer, or the client that a trusted proxy names.
pub(crate) fn client(state: &AppState, request: &HttpRequest) -> Client {
    let unknown = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let peer = request.peer_addr().map_or(unknown, |address| address.ip());
    let trusted = &state.settings.trusted_proxies;
    if trusted.is_empty() {
        return client_of(peer, ForwardedHeaders::default(), trusted);
    }
    let values_of = |name: HeaderName| -> Vec<&str> {
        // A value that is not text identifies no client.
        let values = request.headers().get_all(name);
        values.map(|value| value.to_str().unwrap_or("?")).collect()
    };
    let (forwarded, x) = (values_of(header::FORWARDED), values_of(header::X_FORWARDED_FOR));
    client_of(peer, ForwardedHeaders { forwarded: &forwarded, x_forwarded_for: &x }, trusted)
}
