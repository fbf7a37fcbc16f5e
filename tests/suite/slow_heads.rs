//! Heads sent byte by byte: every request of a connection has the same timeout for its head.

use crate::hub::{Hub, TEST_TIMEOUT};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Pause between two bytes of the attacker, short enough that no idle timer fires.
const DRIP_EVERY: Duration = Duration::from_millis(200);
const WHOLE: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BEGUN: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// A client whose last head never ends.
struct Attack {
    name: &'static str,
    /// Whole requests, each sent after the answer to the one before.
    pieces: Vec<String>,
    /// The beginning of the head.
    begun: &'static str,
    /// True if bytes of the head keep coming, and false if the client then stays silent.
    drips: bool,
}

/// Returns once the hub has closed the connection.
async fn attack(hub: &Hub, attack: &Attack) {
    let socket = TcpStream::connect(&hub.address).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    for piece in &attack.pieces {
        write.write_all(piece.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") && !answer.ends_with(b"}") {
            let count = timeout(TEST_TIMEOUT, read.read_buf(&mut answer)).await.expect("no answer");
            assert!(count.unwrap() > 0, "closed before the attack");
        }
    }
    let drips = async {
        let mut bytes = attack.begun.as_bytes();
        // A reset is an end, too.
        while write.write_all(bytes).await.is_ok() {
            bytes = if attack.drips { b"a" } else { b"" };
            tokio::time::sleep(DRIP_EVERY).await;
        }
    };
    let ends = async { while matches!(read.read(&mut [0; 1024]).await, Ok(count) if count > 0) {} };
    tokio::select! {
        () = drips => {}
        () = ends => {}
    }
}

#[tokio::test]
async fn the_head_timeout_applies_to_every_request_of_a_connection() {
    let hub = Hub::start(&[]).await;
    let publish =
        "POST /streams/a/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    let pipelined = format!("{WHOLE}{BEGUN}");
    let case = |name, pieces: &[&str], begun, drips| {
        let pieces = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        Attack { name, pieces, begun, drips }
    };
    let cases = [
        case("the first request", &[], BEGUN, true),
        case("behind an answer", &[WHOLE], BEGUN, true),
        case("behind an answer, and then silence", &[WHOLE], "G", false),
        case("behind a body", &[publish], BEGUN, true),
        case("pipelined behind a whole request", &[&pipelined], "a", true),
    ];
    let attacks = cases.iter().map(|case| async {
        timeout(TEST_TIMEOUT, attack(&hub, case)).await.map_err(|_| case.name).err()
    });
    let stays: Vec<_> = join_all(attacks).await.into_iter().flatten().collect();
    assert!(stays.is_empty(), "these stay open: {stays:?}");
}
