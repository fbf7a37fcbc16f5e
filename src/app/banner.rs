//! The lines that a start prints.

use super::admin_key;
use crate::access::Access;
use crate::config::Config;
use crate::event::StreamName;
use crate::http::Server;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;

/// Stream of the examples.
const STREAM: &str = "hello";

/// Prints the addresses, and commands and links that work with this configuration. `secret` is that
/// of a new admin key. A failed write is ignored, because the parent may close the pipe after the
/// first line.
pub(super) fn print(
    server: &Server,
    admin: Option<&Server>,
    config: &Config,
    access: &Access,
    secret: Option<&str>,
) {
    let metrics = admin.map(|admin| admin.addresses.as_slice()).unwrap_or_default();
    let text = banner(&server.addresses, metrics, config, access, secret);
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn banner(
    listen: &[SocketAddr],
    metrics: &[SocketAddr],
    config: &Config,
    access: &Access,
    secret: Option<&str>,
) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut text = String::new();
    for address in listen {
        let _ = writeln!(text, "listening on {scheme}://{address}");
    }
    for address in metrics {
        let _ = writeln!(text, "metrics on http://{address}/metrics");
    }
    let Some(first) = listen.first() else { return text };
    let url = format!("{scheme}://{}", authority(*first, config.public_hosts.first()));
    if let Some(secret) = secret {
        let _ = writeln!(
            text,
            "  admin key, made because no keys are configured; shown only now: {secret}"
        );
    } else if access.has_admin_key() {
        let file = config.data_dir.join(admin_key::FILE);
        let _ = writeln!(
            text,
            "  admin key: that of an earlier start; to make another one, delete {} and restart",
            file.display()
        );
    }
    let stream = StreamName::parse(STREAM).ok();
    let anonymous = access.anonymous();
    let may = |is_granted: fn(&crate::access::Grants, &StreamName) -> bool| {
        anonymous.as_ref().zip(stream.as_ref()).is_some_and(|(a, s)| is_granted(&a.grants, s))
    };
    let header = |is_granted: bool| {
        let key = secret.unwrap_or("KEY");
        if is_granted { String::new() } else { format!("-H 'Authorization: Bearer {key}' ") }
    };
    let (watch, publish) =
        (header(may(|g, s| g.may_read(s))), header(may(|g, s| g.may_publish(s))));
    if cfg!(feature = "dashboard") {
        let login = secret.map(|secret| format!("#/login?key={secret}")).unwrap_or_default();
        let _ = writeln!(text, "  open:    {url}/{login}");
    }
    let _ = writeln!(
        text,
        "  watch:   curl -N {watch}{url}/streams/{STREAM}/events\n  \
           publish: curl {publish}-d 'hello, world' {url}/streams/{STREAM}/events"
    );
    text
}

/// Returns the host and port of a URL that leads to the hub from its own machine, or from where its
/// public host is known.
fn authority(address: SocketAddr, public_host: Option<&String>) -> String {
    match public_host {
        Some(host) => format!("{host}:{}", address.port()),
        None if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
        None => address.to_string(),
    }
}
