//! Graceful stops: they log no failure, and silent connections do not delay them.

use crate::hub::Hub;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const LOST_WORKER: &str = "worker thread is gone";

/// The hub cuts connections off only after the shutdown timeout, and logs their number: 0 means
/// that it did not wait for the timeout.
#[tokio::test]
async fn a_stop_closes_silent_connections_without_waiting() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for start in ["", "PRI * HT", preface] {
        let mut hub = Hub::start(&["--h2c=on", "--workers", "2"]).await;
        let mut silent = TcpStream::connect(&hub.address).await.unwrap();
        silent.write_all(start.as_bytes()).await.unwrap();
        // Connections are accepted in order.
        assert_eq!(hub.get("/healthz").await.0, 200);
        hub.stop().await;
        let log = hub.log();
        assert!(!log.contains(LOST_WORKER), "{start:?}\n{log}");
        assert!(log.contains("connections_cut_off=0"), "{start:?}\n{log}");
    }
}

#[tokio::test]
async fn an_endless_request_is_cut_off_and_no_worker_is_reported_lost() {
    let mut hub = Hub::start(&["--workers", "2"]).await;
    let mut slow = TcpStream::connect(&hub.address).await.unwrap();
    let head = "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(hub.get("/healthz").await.0, 200);
    hub.stop().await;
    let log = hub.log();
    assert!(!log.contains(LOST_WORKER), "{log}");
}
