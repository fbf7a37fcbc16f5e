//! HTTP/2 with and without TLS: the same events, and flow control for each stream.

use crate::certificate::Certificate;
use crate::credentials::{SECRET, claims, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::{Event, Parser};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Initial flow-control window of a stream, in bytes.
const WINDOW: u32 = 64 * 1024;

async fn handshake(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(16 << 20);
    let (send, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

async fn connect(hub: &Hub, certificate: Option<&Certificate>) -> SendRequest<Bytes> {
    match certificate {
        Some(certificate) => handshake(certificate.connect(&hub.address).await).await,
        None => handshake(TcpStream::connect(&hub.address).await.unwrap()).await,
    }
}

/// Sends a request and waits for the head of its answer.
async fn send_request(
    connection: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Response<RecvStream> {
    let (response, mut send_stream) = connection.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        send_stream.send_data(body, true).unwrap();
    }
    timeout(TEST_TIMEOUT, response).await.expect("no answer").unwrap()
}

fn get(hub: &Hub, path: &str) -> Request<()> {
    let request = Request::get(format!("https://{}{path}", hub.address));
    request.header("accept", "text/event-stream").body(()).unwrap()
}

fn post(hub: &Hub, path: &str) -> Request<()> {
    Request::post(format!("https://{}{path}", hub.address)).body(()).unwrap()
}

async fn read_json(response: Response<RecvStream>) -> Value {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk.unwrap());
        body.flow_control().release_capacity(bytes.len().min(1)).unwrap();
    }
    serde_json::from_slice(&bytes).unwrap()
}

/// An event stream of a connection.
struct Stream {
    body: RecvStream,
    parser: Parser,
    pending: VecDeque<Event>,
}

impl Stream {
    async fn open(connection: &mut SendRequest<Bytes>, hub: &Hub, path: &str) -> Self {
        let response = send_request(connection, get(hub, path), None).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(!response.headers().contains_key("connection"));
        let body = response.into_body();
        let mut stream = Self { body, parser: Parser::default(), pending: VecDeque::new() };
        assert_eq!(stream.next().await.unwrap().name, "hub-open");
        stream
    }

    /// The next event; `None` at an orderly end.
    async fn next(&mut self) -> Option<Event> {
        self.try_next().await.expect("the stream fails")
    }

    async fn try_next(&mut self) -> Result<Option<Event>, h2::Error> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let chunk = timeout(TEST_TIMEOUT, self.body.data()).await.expect("no data comes");
            let Some(chunk) = chunk.transpose()? else { return Ok(None) };
            self.body.flow_control().release_capacity(chunk.len()).unwrap();
            self.parser.feed(&chunk, &mut self.pending);
        }
    }
}

/// A hub with TLS and one without.
async fn hubs_with_and_without_tls(flags: &[&str]) -> Vec<(Hub, Option<Certificate>)> {
    let certificate = Certificate::make("localhost");
    let flags = [flags, &["--metrics-listen", "127.0.0.1:0"]].concat();
    let by_tls = [&flags[..], &certificate.flags()].concat();
    let plain = [&flags[..], &["--h2c"]].concat();
    vec![(Hub::start(&by_tls).await, Some(certificate)), (Hub::start(&plain).await, None)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs openssl"]
async fn a_stuck_stream_does_not_delay_the_others_of_its_connection() {
    const EVENTS: usize = 40;
    for (hub, certificate) in hubs_with_and_without_tls(&[]).await {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        let mut stuck = Stream::open(&mut connection, &hub, "/streams/a/events").await;
        let mut others = Vec::new();
        for _ in 1..100 {
            others.push(Stream::open(&mut connection, &hub, "/streams/a/events").await);
        }
        // Ten times the window of the stuck stream.
        let data = "x".repeat(16 * 1024);
        for n in 0..EVENTS {
            let body = json!({ "stream": "a", "data": format!("{n} {data}") }).to_string();
            let response =
                send_request(&mut connection, post(&hub, "/publish"), Some(body.into())).await;
            assert_eq!(response.status(), 200);
            let receipt = read_json(response).await;
            assert_eq!(receipt["subscribers"], 100);
            for other in &mut others {
                let event = other.next().await.unwrap();
                assert_eq!(event.data, format!("{n} {data}"));
            }
        }
        for n in 0..EVENTS {
            let event = stuck.next().await.unwrap();
            assert_eq!(event.data, format!("{n} {data}"), "it misses nothing once it reads");
        }
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn reset_streams_end_at_once_and_stuck_streams_time_out() {
    for (hub, certificate) in
        hubs_with_and_without_tls(&["--heartbeat", "1h", "--write-timeout", "2s"]).await
    {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        let dropped = Stream::open(&mut connection, &hub, "/streams/a/events").await;
        let stuck = Stream::open(&mut connection, &hub, "/streams/a/events").await;
        let mut other = Stream::open(&mut connection, &hub, "/streams/b/events").await;
        hub.wait_for_metric("fanfare_sessions", |n| n == 3.0).await;
        drop(dropped);
        hub.wait_for_metric("fanfare_sessions", |n| n == 2.0).await;
        for _ in 0..20 {
            let body = json!({ "stream": "a", "data": "x".repeat(16 * 1024) }).to_string();
            send_request(&mut connection, post(&hub, "/publish"), Some(body.into())).await;
        }
        hub.wait_for_metric("fanfare_sessions", |n| n == 1.0).await;
        let timed_out = "fanfare_sessions_closed_total{reason=\"connection_timeout\"}";
        assert_eq!(hub.metric(timed_out).await, 1.0);
        drop(stuck);
        send_request(&mut connection, post(&hub, "/streams/b/events"), Some("on".into())).await;
        assert_eq!(other.next().await.unwrap().data, "on", "its connection stays open");
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_drain_notifies_the_streams_of_a_connection_and_closes_it() {
    for (mut hub, certificate) in hubs_with_and_without_tls(&["--drain", "1s"]).await {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(Stream::open(&mut connection, &hub, "/streams/a/events").await);
        }
        hub.terminate();
        for stream in &mut streams {
            let event = stream.next().await.unwrap();
            assert_eq!(
                (event.name.as_str(), &event.json()["code"]),
                ("hub-error", &json!("draining"))
            );
            assert_eq!(stream.next().await, None);
        }
        // The client gets a GOAWAY before the connection is closed (RFC 9113 §6.8).
        let error = async {
            loop {
                match connection.clone().ready().await {
                    Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                    Err(error) => break error,
                }
            }
        };
        let error = timeout(TEST_TIMEOUT, error).await.expect("the connection stays open");
        assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR), "{error}");
        assert!(hub.wait_for_exit().await.success());
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn requests_follow_the_same_rules_as_in_http1() {
    for (hub, certificate) in hubs_with_and_without_tls(&["--max-body-bytes", "1MiB"]).await {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        let large = Bytes::from(vec![b'x'; 200 * 1024]);
        let response =
            send_request(&mut connection, post(&hub, "/streams/a/events"), Some(large)).await;
        assert_eq!(response.status(), 200);
        let request = post(&hub, "/streams/a/events");
        let too_large = Bytes::from(vec![b'x'; (1 << 20) + 1]);
        let response = send_request(&mut connection, request, Some(too_large)).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let foreign_host = Request::get("https://evil.example/events?stream=a").body(()).unwrap();
        assert_eq!(send_request(&mut connection, foreign_host, None).await.status(), 421);
        let mut two_hosts = get(&hub, "/events?stream=a");
        two_hosts.headers_mut().insert("host", "other.example".parse().unwrap());
        assert_eq!(send_request(&mut connection, two_hosts, None).await.status(), 400);
        let mut cross_site = post(&hub, "/publish");
        cross_site.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
        let response = send_request(&mut connection, cross_site, Some("{}".into())).await;
        assert_eq!(response.status(), 403);
        for (path, status) in [("/healthz", 200), ("/version", 405)] {
            let head = Request::head(format!("https://{}{path}", hub.address)).body(()).unwrap();
            assert_eq!(send_request(&mut connection, head, None).await.status(), status, "{path}");
        }
        let end =
            send_request(&mut connection, post(&hub, "/streams/a/end"), Some(Bytes::new())).await;
        assert_eq!(end.status(), 200);
        let ended = send_request(&mut connection, get(&hub, "/streams/a/events"), None).await;
        assert_eq!(ended.status(), 204);
        let replay =
            send_request(&mut connection, get(&hub, "/events?stream=a&from=start"), None).await;
        assert_eq!(replay.status(), 200);
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_session_cookie_is_secure_if_set_over_tls() {
    for (hub, certificate) in hubs_with_and_without_tls(&["--jwt-secret", SECRET]).await {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        let mut login = post(&hub, "/session");
        let bearer = format!("Bearer {}", signed_token(&claims()));
        login.headers_mut().insert("authorization", bearer.parse().unwrap());
        let response = send_request(&mut connection, login, None).await;
        assert_eq!(response.status(), 204);
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), certificate.is_some(), "{cookie}");
        let mut read = get(&hub, "/streams/a.x/events");
        let cookie_pair = cookie.split(';').next().unwrap().parse().unwrap();
        read.headers_mut().insert("cookie", cookie_pair);
        assert_eq!(send_request(&mut connection, read, None).await.status(), 200);
        assert_eq!(
            send_request(&mut connection, get(&hub, "/streams/a.x/events"), None).await.status(),
            401
        );
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn a_connection_without_requests_is_closed_and_counted() {
    for (hub, certificate) in hubs_with_and_without_tls(&[]).await {
        // The driver answers every frame, but no request is sent.
        let silent = connect(&hub, certificate.as_ref()).await;
        hub.wait_for_metric("fanfare_connections_refused_total{reason=\"http2\"}", |n| n == 1.0)
            .await;
        let until_closed = async {
            let mut silent = silent;
            while let Ok(ready) = silent.clone().ready().await {
                silent = ready;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(TEST_TIMEOUT, until_closed).await.expect("the connection stays open");
    }
}

#[tokio::test]
async fn a_stream_without_window_is_closed_with_a_timeout() {
    let flags = ["--h2c", "--write-timeout", "3s", "--metrics-listen", "127.0.0.1:0"];
    let hub = Hub::start(&flags).await;
    let io = TcpStream::connect(&hub.address).await.unwrap();
    let builder = h2::client::Builder::new().initial_window_size(0).handshake(io).await;
    let (send, driver) = builder.unwrap();
    tokio::spawn(async move { drop(driver.await) });
    let mut connection = send.ready().await.unwrap();
    let response = send_request(&mut connection, get(&hub, "/streams/a/events"), None).await;
    assert_eq!(response.status(), 200);
    let reason = "fanfare_sessions_closed_total{reason=\"connection_timeout\"}";
    hub.wait_for_metric(reason, |n| n == 1.0).await;
    let chunk = response.into_body().data().await.unwrap();
    assert_eq!(chunk.unwrap_err().reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn an_interrupted_export_is_reset() {
    for (hub, certificate) in hubs_with_and_without_tls(&["--drain", "2s"]).await {
        let mut connection = connect(&hub, certificate.as_ref()).await;
        for _ in 0..20 {
            let body = json!({ "stream": "s", "data": "x".repeat(200_000) }).to_string();
            let request = post(&hub, "/publish");
            assert_eq!(
                send_request(&mut connection, request, Some(body.into())).await.status(),
                200
            );
        }
        let path = "/streams/s/events?follow=false&from=start&format=text";
        let mut body = send_request(&mut connection, get(&hub, path), None).await.into_body();
        hub.terminate();
        let error = loop {
            let Some(chunk) = timeout(TEST_TIMEOUT, body.data()).await.unwrap() else { break None };
            match chunk {
                Ok(bytes) => body.flow_control().release_capacity(bytes.len()).unwrap(),
                Err(error) => break Some(error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        assert!(error.is_some_and(|error| error.is_reset()), "it ended as complete");
    }
}
