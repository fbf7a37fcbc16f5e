//! Endpoints of a bench, and the bytes of its requests.

use super::layout::Layout;
use super::mark::Mark;
use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};

/// Returns the name of a stream.
fn stream_name(stream: usize) -> String {
    format!("bench.{stream}")
}

/// A URL whose path may contain `{stream}` or `{streams}`.
#[derive(Clone, Debug)]
pub struct Url {
    /// Address to connect to.
    pub address: SocketAddr,
    /// Protocol of the endpoint.
    pub protocol: Protocol,
    host: String,
    path: String,
}

/// Protocol of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// Redis' serialization protocol (RESP2), for XADD.
    Redis,
}

impl Url {
    /// Parses `http://HOST[:PORT]/PATH` or `redis://HOST[:PORT]/KEY`.
    pub fn parse(text: &str) -> Result<Self> {
        let schemes = [("http://", Protocol::Http, 80), ("redis://", Protocol::Redis, 6379)];
        let known =
            schemes.iter().find_map(|(s, p, port)| Some((text.strip_prefix(s)?, *p, *port)));
        let Some((rest, protocol, port)) = known else {
            bail!("{text:?} must start with http:// or redis://");
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let resolved = match host.to_socket_addrs() {
            Ok(addresses) => Ok(addresses),
            Err(_) => (host, port).to_socket_addrs(),
        };
        let mut addresses = resolved.with_context(|| format!("cannot resolve {host:?}"))?;
        let address = addresses.next().with_context(|| format!("{host:?} has no address"))?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { address, protocol, host: host.to_owned(), path })
    }

    /// Returns the path for an arbitrary stream.
    pub fn path_of_any(&self) -> String {
        self.path_of(&[stream_name(0)])
    }

    fn path_of(&self, streams: &[String]) -> String {
        let parameters: Vec<String> = streams.iter().map(|s| format!("stream={s}")).collect();
        let first = streams.first().map_or("", String::as_str);
        self.path.replace("{streams}", &parameters.join("&")).replace("{stream}", first)
    }
}

/// Parts of which requests are built.
#[derive(Clone, Debug)]
pub struct Requests {
    /// URL for subscribers.
    pub subscribe: Option<Url>,
    /// URL for publishers.
    pub publish: Option<Url>,
    /// Body of a publish, with `{data}` and `{stream}`.
    pub body: String,
    /// Headers of every request.
    pub headers: Vec<String>,
    /// Bytes of an event's data.
    pub size: usize,
    /// Streams, publishers and subscribers.
    pub layout: Layout,
}

impl Requests {
    /// Returns the request of a subscriber; `last_id` is empty unless it resumes.
    pub fn subscription(&self, url: &Url, subscriber: usize, last_id: &[u8]) -> Vec<u8> {
        let streams: Vec<String> = self.layout.streams_read(subscriber).map(stream_name).collect();
        let path = url.path_of(&streams);
        let mut out = Vec::with_capacity(256);
        let _ = write!(out, "GET {path} HTTP/1.1\r\nHost: {}\r\n", url.host);
        out.extend_from_slice(b"Accept: text/event-stream\r\n");
        if !last_id.is_empty() {
            out.extend_from_slice(b"Last-Event-ID: ");
            out.extend_from_slice(last_id);
            out.extend_from_slice(b"\r\n");
        }
        self.end_head(&mut out);
        out
    }

    /// Writes the request that publishes an event.
    pub fn publication(&self, url: &Url, mark: Mark, out: &mut Vec<u8>) {
        out.clear();
        let stream = stream_name(mark.stream as usize);
        let path = url.path_of(std::slice::from_ref(&stream));
        let mut data = Vec::with_capacity(self.size);
        mark.write(self.size, &mut data);
        if url.protocol == Protocol::Redis {
            let key = path.trim_start_matches('/');
            let _ = write!(out, "*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n", key.len());
            let _ = write!(out, "$4\r\ndata\r\n${}\r\n", data.len());
            out.extend_from_slice(&data);
            out.extend_from_slice(b"\r\n");
            return;
        }
        // The template has the data once; the rest is constant.
        let (before, after) = self.body.split_once("{data}").unwrap_or_default();
        let (before, after) =
            (before.replace("{stream}", &stream), after.replace("{stream}", &stream));
        let length = before.len() + data.len() + after.len();
        let _ = write!(out, "POST {path} HTTP/1.1\r\nHost: {}\r\n", url.host);
        let _ = write!(out, "Content-Length: {length}\r\n");
        if !self.headers.iter().any(|h| h.to_ascii_lowercase().starts_with("content-type")) {
            out.extend_from_slice(b"Content-Type: application/json\r\n");
        }
        self.end_head(out);
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(&data);
        out.extend_from_slice(after.as_bytes());
    }

    fn end_head(&self, out: &mut Vec<u8>) {
        for header in &self.headers {
            out.extend_from_slice(header.trim().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(body: &str, headers: &[&str]) -> Requests {
        let layout = Layout { streams: 10, streams_per_subscriber: 2, publishers: 1 };
        Requests {
            subscribe: None,
            publish: None,
            body: body.into(),
            headers: headers.iter().map(|h| (*h).to_owned()).collect(),
            size: 60,
            layout,
        }
    }

    #[test]
    fn requests_are_built_from_the_templates() {
        let requests = requests("{\"s\":\"{stream}\",\"d\":{data}}", &["Authorization: Bearer x"]);
        let url = Url::parse("http://127.0.0.1:81/e?{streams}").expect("a URL");
        let text = String::from_utf8(requests.subscription(&url, 1, b"id-7")).expect("UTF-8");
        assert_eq!(
            text,
            "GET /e?stream=bench.2&stream=bench.3 HTTP/1.1\r\nHost: 127.0.0.1:81\r\nAccept: \
             text/event-stream\r\nLast-Event-ID: id-7\r\nAuthorization: Bearer x\r\n\r\n"
        );
        let mark = Mark { stream: 4, publisher: 0, sequence: 1, sent_ns: 2 };
        let mut out = Vec::new();
        let url = Url::parse("http://127.0.0.1/p/{stream}").expect("a URL");
        requests.publication(&url, mark, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("POST /p/bench.4 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(body.starts_with("{\"s\":\"bench.4\",\"d\":\"~"), "{body}");
        let mut out = Vec::new();
        let url = Url::parse("redis://127.0.0.1/{stream}").expect("a URL");
        requests.publication(&url, mark, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.starts_with(
            "*5\r\n$4\r\nXADD\r\n$7\r\nbench.4\r\n$1\r\n*\r\n$4\r\ndata\r\n$60\r\n\"~"
        ));
    }

    #[test]
    fn unusable_urls_are_errors() {
        for url in ["https://127.0.0.1/", "127.0.0.1", "http://", "http://no such host/"] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
    }
}
