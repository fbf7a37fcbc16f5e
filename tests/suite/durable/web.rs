//! Caching, pages of other origins, reserved paths, grants.

use super::*;
use crate::credentials::file_with_keys;
use crate::nginx::{Nginx, free_address};
use futures_util::StreamExt as _;
use serde_json::json;

const WRITER: (&str, &str) = ("Authorization", "Bearer writer-secret");
const ADMIN: (&str, &str) = ("Authorization", "Bearer admin-secret");

/// Starts a hub with keys of a writer and an admin.
async fn start_with_keys(flags: &[&str]) -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let writer = "publish = [\"a.*\"]\nsubscribe = [\"a.*\"]\ndelete = [\"a.gone\"]";
    let admin = "publish = [\"**\"]\nsubscribe = [\"**\"]\nadmin = true";
    let keys = [
        ("writer", "writer-secret", writer),
        ("admin", "admin-secret", admin),
        ("deleter", "deleter-secret", "delete = [\"**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    start_with(&[&["--config", &file], flags].concat()).await
}

#[tokio::test]
async fn r14_reads_are_cacheable_by_all_only_without_a_credential() {
    let hub = start_with_keys(&["--anonymous", "subscribe"]).await;
    create(&hub, "a.x", &[TEXT, WRITER], "1").await;
    let public = get(&hub, "a.x").await;
    assert_eq!(public.header("Cache-Control"), "public, max-age=60, stale-while-revalidate=300");
    let private = send(&hub, "GET", "a.x", &[WRITER], "").await;
    assert_eq!(private.header("Cache-Control"), "private, max-age=60, stale-while-revalidate=300");
    assert!(head(&hub, "a.x").await.header("Cache-Control").contains("no-store"));
    for (method, stream, status) in [
        ("GET", "a.x", 200),
        ("HEAD", "a.x", 200),
        ("GET", "unknown", 404),
        ("PUT", "a.x", 403),
        ("GET", "a.x?offset=bad", 400),
        ("DELETE", "a.x", 403),
    ] {
        let answer = send(&hub, method, stream, &[], "").await;
        assert_eq!(answer.status, status, "{method} {stream}");
        assert_eq!(answer.header("X-Content-Type-Options"), "nosniff", "{method} {stream}");
        assert_eq!(answer.header("Cross-Origin-Resource-Policy"), "cross-origin");
        let policy = answer.header("Content-Security-Policy");
        assert!(policy.contains("sandbox"), "a page in a stream acts for nobody: {policy}");
    }
}

#[tokio::test]
async fn grants_hold_for_streams_as_elsewhere() {
    let hub = start_with_keys(&[]).await;
    create(&hub, "a.x", &[TEXT, WRITER], "1").await;
    create(&hub, "b", &[TEXT, ADMIN], "2").await;
    let status = async |method, stream, headers: &[(&str, &str)]| {
        send(&hub, method, stream, headers, "x").await.status
    };
    assert_eq!(status("PUT", "b", &[TEXT, WRITER]).await, 403);
    assert_eq!(status("POST", "b", &[TEXT, WRITER]).await, 403);
    assert_eq!(status("GET", "b", &[WRITER]).await, 403);
    assert_eq!(status("HEAD", "b", &[WRITER]).await, 403);
    assert_eq!(status("GET", "a.x", &[]).await, 401);
    let foreign = [TEXT, WRITER, ("Stream-Forked-From", "/v1/stream/b")];
    assert_eq!(status("PUT", "a.fork", &foreign).await, 403, "a fork reads its source");
    assert_eq!(status("DELETE", "a.x", &[WRITER]).await, 403);
    assert_eq!(status("DELETE", "a.x", &[ADMIN]).await, 204);
    create(&hub, "a.gone", &[TEXT, WRITER], "1").await;
    let by_grant = hub.http.delete(hub.url("/streams/a.gone")).bearer_auth("writer-secret");
    assert_eq!(by_grant.send().await.unwrap().status(), 204);
    create(&hub, "a.gone", &[TEXT, WRITER], "1").await;
    assert_eq!(status("DELETE", "a.gone", &[WRITER]).await, 204);
    // Streams that only the hub writes can be read, and chats and updates not even that.
    let own = hub.http.delete(hub.url("/streams/system")).bearer_auth("deleter-secret");
    assert_eq!(own.send().await.unwrap().status(), 403, "only admins delete what the hub writes");
    assert_eq!(status("PUT", "hub.x", &[TEXT, ADMIN]).await, 403);
    assert_eq!(status("POST", "system", &[JSON, ADMIN]).await, 403);
    assert_eq!(status("GET", "chat.x", &[ADMIN]).await, 403);
    assert_eq!(status("GET", "hub.mercure", &[ADMIN]).await, 403);
    let ticket = hub
        .http
        .post(hub.url("/tickets"))
        .bearer_auth("admin-secret")
        .json(&json!({ "streams": ["b"] }))
        .send()
        .await
        .unwrap();
    let ticket: serde_json::Value = serde_json::from_str(&ticket.text().await.unwrap()).unwrap();
    let ticket = ticket["ticket"].as_str().unwrap();
    assert_eq!(get(&hub, &format!("b?ticket={ticket}")).await.text(), "2");
    let metrics =
        hub.http.get(hub.url("/metrics")).bearer_auth("admin-secret").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("fanfare_publishes_refused_total{reason=\"forbidden\"} 7\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn r22_pages_of_other_origins_may_send_and_read_all_headers() {
    let hub = start_with(&["--cors-origin", "https://app.example"]).await;
    let headers = "if-none-match, stream-seq, stream-ttl, stream-expires-at, stream-closed, \
                   stream-forked-from, stream-fork-offset, stream-fork-sub-offset, producer-id, \
                   producer-epoch, producer-seq, content-type, authorization";
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        let preflight = [
            ("Origin", "https://app.example"),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", headers),
        ];
        let answer = send(&hub, "OPTIONS", "s", &preflight, "").await;
        assert!([200, 204].contains(&answer.status), "{method} {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    }
    let created = create(&hub, "s", &[TEXT, ("Origin", "https://app.example")], "").await;
    let exposed = created.header("access-control-expose-headers").to_lowercase();
    for name in [
        "etag",
        "location",
        "stream-next-offset",
        "stream-up-to-date",
        "stream-cursor",
        "stream-closed",
        "stream-ttl",
        "stream-expires-at",
        "stream-sse-data-encoding",
        "producer-epoch",
        "producer-seq",
        "producer-expected-seq",
        "producer-received-seq",
    ] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
}

#[tokio::test]
async fn r23_reserved_paths_are_not_implemented() {
    let hub = start().await;
    for method in ["GET", "PUT", "POST", "DELETE"] {
        let answer = send(&hub, method, "__ds/subscriptions/x", &[JSON], "{}").await;
        assert_eq!(answer.status, 501, "{method}");
        assert_eq!(answer.json()["code"], "not_implemented");
    }
}

/// Returns the configuration of nginx in the documentation, for a hub and an address.
fn cache_configuration(hub: &Hub, address: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/durable-streams.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, site) = page.split_once("```nginx\n").unwrap();
    let (site, _) = site.split_once("```").unwrap();
    let site = site.replace("/var/cache/nginx", "{folder}cache");
    site.replace("listen 80;", &format!("listen {address};")).replace("fanfare:8080", &hub.address)
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn r14_a_cache_serves_a_thousand_readers_at_the_cost_of_one() {
    let hub = start_with(&["--max-event-bytes", "1MiB"]).await;
    create(&hub, "s", &[TEXT], "").await;
    for part in ["a", "b", "c"] {
        append(&hub, "s", &[TEXT], &part.repeat(1024 * 1024)).await;
    }
    append(&hub, "s", &[CLOSED], "").await;
    let address = free_address();
    let nginx = Nginx::start(address.clone(), &cache_configuration(&hub, &address));
    let (http, nginx) = (reqwest::Client::new(), &nginx);
    let read = |_| {
        let http = http.clone();
        async move {
            let (mut offset, mut bytes) = ("-1".to_owned(), 0);
            loop {
                let url = format!("http://{}{ROOT}/s?offset={offset}", nginx.address);
                // nginx may not listen yet.
                let Ok(answer) = http.get(&url).send().await else {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                };
                assert_eq!(answer.status(), 200);
                let headers = answer.headers().clone();
                let part = answer.bytes().await.unwrap();
                assert!(part.iter().all(|byte| *byte == b"abc"[bytes / (1024 * 1024)]));
                bytes += part.len();
                if headers.contains_key("stream-closed") {
                    return bytes;
                }
                offset = headers["stream-next-offset"].to_str().unwrap().to_owned();
            }
        }
    };
    let readers = futures_util::stream::iter(0..1_000).map(read).buffer_unordered(50);
    let read_bytes: Vec<usize> = readers.collect().await;
    assert!(read_bytes.iter().all(|bytes| *bytes == 3 * 1024 * 1024));
    let log = hub.log();
    let requests = log.lines().filter(|line| line.contains("method=GET path=\"/v1/stream/s\""));
    let requests = requests.count();
    assert!((3..=4).contains(&requests), "{requests} requests reached the hub\n{log}");
}
