//! Heads sent byte by byte: every request of a connection has the same timeout for its head.

use crate::hub::{Hub, TEST_TIMEOUT};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Pause between two bytes of the attacker, short enough that no idle timer fires.
const BYTE_INTERVAL: Duration = Duration::from_millis(200);
const COMPLETE_REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PARTIAL_HEAD: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// A client whose last head never ends.
struct Attack {
    name: &'static str,
    /// Complete requests, each sent after the response to the previous one.
    requests: Vec<String>,
    /// The beginning of the last head.
    partial_head: &'static str,
    /// True if bytes of the head keep coming, and false if the client then stays silent.
    sends_bytes: bool,
}

/// Returns once the hub has closed the connection.
async fn run_attack(hub: &Hub, attack: &Attack) {
    let socket = TcpStream::connect(&hub.address).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    for request in &attack.requests {
        write.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"ok\n") && !response.ends_with(b"}") {
            let count =
                timeout(TEST_TIMEOUT, read.read_buf(&mut response)).await.expect("no answer");
            assert!(count.unwrap() > 0, "closed before the attack");
        }
    }
    let send_slowly = async {
        let mut bytes = attack.partial_head.as_bytes();
        // A reset also ends the connection.
        while write.write_all(bytes).await.is_ok() {
            bytes = if attack.sends_bytes { b"a" } else { b"" };
            tokio::time::sleep(BYTE_INTERVAL).await;
        }
    };
    let until_closed =
        async { while matches!(read.read(&mut [0; 1024]).await, Ok(count) if count > 0) {} };
    tokio::select! {
        () = send_slowly => {}
        () = until_closed => {}
    }
}

#[tokio::test]
async fn the_head_timeout_applies_to_every_request_of_a_connection() {
    let hub = Hub::start(&[]).await;
    let publish =
        "POST /streams/a/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    let pipelined = format!("{COMPLETE_REQUEST}{PARTIAL_HEAD}");
    let case = |name, requests: &[&str], partial_head, sends_bytes| {
        let requests = requests.iter().map(|request| (*request).to_owned()).collect();
        Attack { name, requests, partial_head, sends_bytes }
    };
    let cases = [
        case("the first request", &[], PARTIAL_HEAD, true),
        case("behind an answer", &[COMPLETE_REQUEST], PARTIAL_HEAD, true),
        case("behind an answer, and then silence", &[COMPLETE_REQUEST], "G", false),
        case("behind a body", &[publish], PARTIAL_HEAD, true),
        case("pipelined behind a whole request", &[&pipelined], "a", true),
    ];
    let attacks = cases.iter().map(|case| async {
        timeout(TEST_TIMEOUT, run_attack(&hub, case)).await.map_err(|_| case.name).err()
    });
    let open_connections: Vec<_> = join_all(attacks).await.into_iter().flatten().collect();
    assert!(open_connections.is_empty(), "these stay open: {open_connections:?}");
}
