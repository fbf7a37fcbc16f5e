//! Invalid input is refused with a 4xx or closed, without effect on other clients.

use crate::credentials::{SECRET, claims_with, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends bytes and reads the answer: until the hub closes its side if ours is closed, or else until
/// it has answered.
async fn send_bytes(hub: &Hub, bytes: &[u8], closes: bool) -> Vec<u8> {
    let mut socket = TcpStream::connect(&hub.address).await.unwrap();
    // The hub may have closed before everything was written.
    let _ = socket.write_all(bytes).await;
    if closes {
        let _ = socket.shutdown().await;
    }
    let mut response = Vec::new();
    let read_response = async {
        while closes || statuses(&response).is_empty() {
            match socket.read_buf(&mut response).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    let result = timeout(TEST_TIMEOUT, read_response).await;
    result.unwrap_or_else(|_| panic!("the connection stays open: {:?}", text(bytes)));
    response
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
}

/// Returns the statuses of the responses in `response`.
fn statuses(response: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(response);
    let heads = text.split("HTTP/1.1 ").skip(1);
    heads.filter_map(|head| head.get(..3)?.parse().ok()).collect()
}

/// Returns malformed requests: name and bytes.
fn malformed_requests() -> Vec<(&'static str, Vec<u8>)> {
    let post = |headers: &str, body: &str| {
        format!("POST /streams/smuggled/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
            .into_bytes()
    };
    let get = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes();
    let header = |line: &[u8]| {
        let mut bytes = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_vec();
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes
    };
    let smuggled = "0\r\n\r\nPOST /streams/smuggled/events HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Length: 1\r\n\r\nx";
    vec![
        ("no request line", b"\r\n\r\n\r\n\r\n".to_vec()),
        ("binary", (0..=255).collect()),
        ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("no version", get("GET /healthz")),
        ("a version that is none", get("GET /healthz HTTP/9.9")),
        ("no target", get("GET  HTTP/1.1")),
        ("spaces in the target", get("GET /a b c HTTP/1.1")),
        ("a method of nonsense", get("G\x01T /healthz HTTP/1.1")),
        ("a target that is no UTF-8", b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a long target", get(&format!("GET /{} HTTP/1.1", "a".repeat(300_000)))),
        ("one huge header", header(format!("X: {}", "a".repeat(1 << 20)).as_bytes())),
        ("a thousand headers", header("X: a\r\n".repeat(1_000).trim_end().as_bytes())),
        ("no colon", header(b"Header without one")),
        ("a header with a null", header(b"X: a\0b")),
        ("a folded header", header(b"X: a\r\n b")),
        ("a space before the colon", header(b"Content-Length : 5")),
        ("a bare CR", header(b"X: a\rY: b")),
        ("both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", smuggled)),
        ("both, the other way", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", smuggled)),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 60\r\n", smuggled)),
        ("a length with a sign", post("Content-Length: +1\r\n", smuggled)),
        ("a negative length", post("Content-Length: -1\r\n", "x")),
        ("a length in hex", post("Content-Length: 0x1\r\n", "x")),
        ("a length beyond all", post("Content-Length: 99999999999999999999999\r\n", "x")),
        ("two codings", post("Transfer-Encoding: chunked, identity\r\n", smuggled)),
        ("a coding that is none", post("Transfer-Encoding: xchunked\r\n", smuggled)),
        ("a coding behind a tab", post("Transfer-Encoding:\x0bchunked\r\n", smuggled)),
        ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", smuggled)),
        ("a chunk of no size", post("Transfer-Encoding: chunked\r\n", "\r\nx\r\n0\r\n\r\n")),
        ("a chunk of nonsense", post("Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n0\r\n\r\n")),
        ("a chunk beyond all", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nx")),
        ("a chunk with a sign", post("Transfer-Encoding: chunked\r\n", "+1\r\nx\r\n0\r\n\r\n")),
        ("a chunk that is longer", post("Transfer-Encoding: chunked\r\n", "1\r\nxx\r\n0\r\n\r\n")),
        ("HTTP/1.0 in chunks", b"POST /streams/smuggled/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n".to_vec()),
        ("HTTP/2 unasked for", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("an early end of the head", b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Le".to_vec()),
        ("an early end of the body", post("Content-Length: 100\r\n", "half")),
        ("an early end of a chunk", post("Transfer-Encoding: chunked\r\n", "10\r\nhalf")),
        ("no host", b"GET /streams HTTP/1.1\r\n\r\n".to_vec()),
        ("two hosts", b"GET /streams HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a host of nonsense", b"GET /streams HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec()),
        ("a method in small letters", get("get /healthz HTTP/1.1")),
        ("CONNECT", get("CONNECT localhost:80 HTTP/1.1")),
        ("an asterisk", get("OPTIONS * HTTP/1.1")),
        ("dots in the path", get("GET /../../etc/passwd HTTP/1.1")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_or_closed_without_effect_on_readers() {
    let hub = Hub::start(&["--heartbeat", "1s"]).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = hub.subscribe("/streams/calm/events").await;
        reader.open().await;
        readers.push(reader);
    }
    let mut count = 0;
    for (name, bytes) in malformed_requests() {
        // With our side closed after the request, and left open.
        for closes in [true, false] {
            if !closes && name.contains("early end") {
                continue;
            }
            let response = send_bytes(&hub, &bytes, closes).await;
            for status in statuses(&response) {
                assert!((400..500).contains(&status), "{name}: {status} {:?}", text(&response));
            }
        }
        hub.publish("calm", name).await;
        for reader in &mut readers {
            assert_eq!(reader.next_event().await.unwrap().data, name);
        }
        count += 1;
    }
    assert!(count >= 45, "{count}");
    let (_, smuggled) = hub.get("/streams/smuggled").await;
    assert_eq!(smuggled["code"], "not_found", "nothing of it was published: {smuggled}");
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
    // Only requests that could be parsed have a line each.
    let other_lines = hub.log().lines().filter(|line| !line.contains("INFO request ")).count();
    assert!(other_lines < 20, "the log is flooded\n{}", hub.log());
}

#[tokio::test]
async fn invalid_utf8_and_json_get_a_problem_with_a_detail() {
    let hub = Hub::start(&[]).await;
    let requests: &[(&str, &[u8], &[u8])] = &[
        ("POST", b"/publish", b"{\"stream\":\"\xff\",\"data\":1}"),
        ("POST", b"/publish", b"{\"stream\":\"a\",\"data\":\"\xff\"}"),
        ("POST", b"/publish", b"{\"stream\":\"a\",\"type\":\"\\ud800\",\"data\":1}"),
        ("POST", b"/publish", b"{\"stream\":\"a\",\"data\":\"\\ud800\"}"),
        ("POST", b"/publish", b"\xef\xbb\xbf{\"stream\":\"a\",\"data\":1}"),
        ("POST", b"/publish", b"{\"stream\":\"a\",\"data\":1}{}"),
        ("POST", b"/publish", b"nonsense"),
        ("POST", b"/publish", b""),
        ("POST", b"/streams/a/events", b"\xc3\x28"),
        ("POST", b"/streams/%ff/events", b"x"),
        ("POST", b"/streams/a/events?type=%ff", b"x"),
        ("POST", b"/streams/a/events?%ff=1", b"x"),
        ("GET", b"/events?stream=%ff", b""),
        ("GET", b"/streams?prefix=%ff", b""),
        ("GET", b"/streams/%c3%28", b""),
        ("POST", b"/tickets", b"{\"streams\":[\"\xff\"]}"),
        ("POST", b"/revocations", b"{\"sub\":\"\xff\"}"),
    ];
    for (method, path, body) in requests {
        let mut bytes = format!("{method} ").into_bytes();
        bytes.extend_from_slice(path);
        let head =
            format!(" HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        let bytes_received = send_bytes(&hub, &bytes, true).await;
        let response = String::from_utf8(bytes_received).expect("the answer is UTF-8");
        let status = statuses(response.as_bytes());
        assert!(matches!(status[..], [400 | 422]), "{:?}: {response}", text(&bytes));
        assert!(
            response.contains("application/problem+json") && response.contains("\"detail\""),
            "{response}"
        );
    }
    let (_, listed) = hub.get("/streams").await;
    assert_eq!(listed["streams"], json!([]), "nothing of it was published");
}

#[tokio::test]
async fn bodies_of_one_client_have_a_bound_while_they_are_received() {
    const MIB: usize = 1 << 20;
    let args = ["--max-body-bytes", "32MiB", "--trusted-proxy", "127.0.0.1"];
    let hub = Hub::start(&args).await;
    let head = |address: &str| {
        format!(
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\
             Content-Length: {}\r\n\r\n",
            31 * MIB
        )
    };
    // Less than is announced, so that the hub waits for the rest.
    let mut first = TcpStream::connect(&hub.address).await.unwrap();
    first.write_all(head("192.0.2.1").as_bytes()).await.unwrap();
    first.write_all(&vec![b' '; 20 * MIB]).await.unwrap();
    hub.wait_for_metric("fanfare_request_body_bytes", |bytes| bytes >= (20 * MIB) as f64).await;
    let mut second = head("192.0.2.1").into_bytes();
    second.resize(second.len() + 20 * MIB, b' ');
    // The system may discard an answer that precedes the end of the body.
    let mut response = Vec::new();
    while response.is_empty() {
        response = send_bytes(&hub, &second, false).await;
    }
    assert_eq!(statuses(&response), [503], "{}", text(&response));
    assert!(text(&response).contains("503"), "{}", text(&response));
    let refused = "fanfare_publishes_refused_total{reason=\"request_bodies\"}";
    assert!(hub.metric(refused).await >= 1.0);
    assert!(hub.metric("fanfare_bound_hits_total{bound=\"request_bodies\"}").await >= 1.0);
    assert!(hub.log().contains("reason=\"request_bodies\""), "{}", hub.log());
    // Another client is not affected.
    let body = "{\"stream\":\"s\",\"data\":1}";
    let other = head("192.0.2.2").replace(&(31 * MIB).to_string(), &body.len().to_string()) + body;
    assert_eq!(statuses(&send_bytes(&hub, other.as_bytes(), false).await), [200]);
    drop(first);
    hub.wait_for_metric("fanfare_request_body_bytes", |bytes| bytes == 0.0).await;
}

#[tokio::test]
async fn deep_json_and_unfinished_requests_do_not_affect_others() {
    let hub = Hub::start(&[]).await;
    let before = hub.resident_bytes();
    let deep =
        format!("{{\"stream\":\"a\",\"data\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let (status, _) = hub.try_post("/publish", deep).await;
    assert!(matches!(status, 400 | 413 | 422), "{status}");
    // Unfinished heads and bodies, and connections that send nothing.
    let mut sockets = Vec::new();
    for n in 0..300 {
        let mut socket = TcpStream::connect(&hub.address).await.unwrap();
        let start: &[u8] = match n % 3 {
            0 => b"GET /events?stream=a HTTP/1.1\r\nHost: localhost\r\nX-",
            1 => b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{",
            _ => b"",
        };
        socket.write_all(start).await.unwrap();
        sockets.push(socket);
    }
    hub.publish("a", "beside them").await;
    assert!(hub.resident_bytes() < before + (64 << 20));
    for (n, mut socket) in sockets.into_iter().enumerate() {
        let mut response = Vec::new();
        let closed = timeout(TEST_TIMEOUT, socket.read_to_end(&mut response)).await;
        let _ = closed.unwrap_or_else(|_| panic!("{n} stays open"));
        let received = statuses(&response);
        assert!(received.iter().all(|status| (400..500).contains(status)), "{received:?}");
    }
}

#[tokio::test]
async fn connections_are_limited_per_client() {
    let hub = Hub::start(&[
        "--max-connections-per-client",
        "2",
        "--metrics-listen",
        "127.0.0.1:0",
        "--jwt-secret",
        SECRET,
    ])
    .await;
    let token = signed_token(&claims_with("fanfare", json!({ "admin": true })));
    let mut sockets = Vec::new();
    for _ in 0..200 {
        sockets.push(TcpStream::connect(&hub.address).await.unwrap());
    }
    let refused = "fanfare_connections_refused_total{reason=\"max_connections_per_client\"}";
    hub.wait_for_metric(refused, |n| n == 200.0 - 66.0).await;
    // Another address of this machine is counted separately.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(hub.address.parse().unwrap()).await.unwrap();
    let request =
        format!("GET /stats HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n");
    other.write_all(request.as_bytes()).await.unwrap();
    let mut response = [0; 15];
    timeout(TEST_TIMEOUT, other.read_exact(&mut response)).await.expect("an answer").unwrap();
    assert_eq!(&response, b"HTTP/1.1 200 OK");
    drop(sockets);
    let until_accepted = async {
        loop {
            let result = hub.http.get(hub.url("/healthz")).send().await;
            if result.is_ok_and(|response| response.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, until_accepted).await.expect("a connection is accepted again");
}

#[tokio::test]
async fn unauthorized_publishes_are_refused_before_their_body_is_read() {
    let hub = Hub::start(&["--jwt-secret", SECRET, "--anonymous", "subscribe"]).await;
    let token = signed_token(&claims_with("fanfare", json!({ "publish": ["a"] })));
    let mut sockets = Vec::new();
    for path in ["/publish", "/streams/a/events", "/revocations"].repeat(15) {
        let mut socket = TcpStream::connect(&hub.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let _ = socket.write_all(&[b' '; 10_000]).await;
        let mut response = Vec::new();
        while statuses(&response).is_empty() {
            let read = timeout(TEST_TIMEOUT, socket.read_buf(&mut response)).await;
            assert!(read.expect("an answer").unwrap() > 0, "{path}");
        }
        assert_eq!(statuses(&response), [403], "{path}");
        sockets.push(socket);
    }
    let post = hub.http.post(hub.url("/streams/a/events")).bearer_auth(token);
    assert_eq!(post.body("beside them").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_metrics_listener_checks_the_host_and_is_not_crowded_out() {
    let hub = Hub::with_max_open_files(600, &["--metrics-listen", "127.0.0.1:0"]).await;
    let address = hub.metrics.clone().unwrap();
    let status_for_host = |host: &'static str| {
        let request = hub.http.get(format!("http://{address}/metrics")).header("Host", host);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(
        (status_for_host("localhost").await, status_for_host("evil.example").await),
        (200, 421)
    );
    let mut sockets = Vec::new();
    for _ in 0..150 {
        sockets.push(TcpStream::connect(&hub.address).await.unwrap());
    }
    assert_eq!(timeout(TEST_TIMEOUT, status_for_host("127.0.0.1")).await.expect("an answer"), 200);
}
