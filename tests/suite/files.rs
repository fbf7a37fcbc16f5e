//! Downloads: whole and in parts, in constant memory, with their progress on a stream.

use crate::credentials::file_with;
use crate::hub::{Hub, is_full_run};
use crate::reader::Reader;
use futures_util::StreamExt;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BLOCK: u64 = 1 << 20;

/// Starts a hub with a folder `d` that has the file `small.txt`.
async fn hub() -> (Hub, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("small.txt"), "0123456789").unwrap();
    let config = folder.path().join("fanfare.toml");
    std::fs::write(&config, format!("[files.d]\npath = {files:?}\n")).unwrap();
    (Hub::start(&["--config", config.to_str().unwrap()]).await, folder)
}

/// Writes a large sparse file, each block of which begins with its number.
fn write_large_file(path: &Path, blocks: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    for n in 0..blocks {
        file.seek(SeekFrom::Start(n * BLOCK)).unwrap();
        file.write_all(&n.to_le_bytes()).unwrap();
    }
    file.set_len(blocks * BLOCK).unwrap();
}

/// Reads a body from `offset` up to `end` and checks every byte; returns where it stopped.
async fn read_and_check(response: Response, mut offset: u64, end: u64) -> u64 {
    let mut body = response.bytes_stream();
    while offset < end {
        let Some(bytes) = body.next().await else { break };
        for (n, byte) in (offset..).zip(bytes.unwrap()) {
            let (block, offset_in_block) = (n / BLOCK, (n % BLOCK) as usize);
            let expected = block.to_le_bytes().get(offset_in_block).copied().unwrap_or(0);
            assert_eq!(byte, expected, "byte {n}");
            offset = n + 1;
        }
    }
    offset
}

#[tokio::test]
async fn files_are_sent_whole_in_ranges_or_as_not_modified() {
    let (hub, _folder) = hub().await;
    let get = || hub.http.get(hub.url("/files/d/small.txt"));
    let full_response = get().send().await.unwrap();
    assert_eq!(full_response.status(), 200);
    let headers = full_response.headers().clone();
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["content-length"], "10");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
    assert_eq!(full_response.text().await.unwrap(), "0123456789");
    let part = get().header("Range", "bytes=3-5").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 3-5/10");
    assert_eq!(part.text().await.unwrap(), "345");
    let unsatisfiable = get().header("Range", "bytes=10-").send().await.unwrap();
    assert_eq!(unsatisfiable.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let etag = headers["etag"].clone();
    let not_modified = get().header("If-None-Match", &etag).send().await.unwrap();
    assert_eq!(not_modified.status(), StatusCode::NOT_MODIFIED);
    let resumed = get().header("Range", "bytes=8-").header("If-Range", &etag).send().await.unwrap();
    assert_eq!((resumed.status().as_u16(), resumed.text().await.unwrap().as_str()), (206, "89"));
    let head = hub.http.head(hub.url("/files/d/small.txt")).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"10".parse().unwrap())
    );
    for (outcome, count) in
        [("whole", 2.0), ("part", 2.0), ("not_modified", 1.0), ("validation_error", 1.0)]
    {
        let name = format!("fanfare_file_requests_total{{outcome=\"{outcome}\"}}");
        assert_eq!(hub.metric(&name).await, count, "{outcome}");
    }
    assert_eq!(hub.metric("fanfare_file_bytes_total").await, 15.0);
}

/// Requests a path that is not normalized; returns the status.
async fn raw_status(hub: &Hub, path: &str) -> u16 {
    let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.address);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response[9..12]).parse().unwrap()
}

#[tokio::test]
async fn paths_cannot_leave_the_folder() {
    let (hub, folder) = hub().await;
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    std::fs::write(folder.path().join("files/.hidden"), "x").unwrap();
    std::fs::write(folder.path().join("files/a b\u{e9}.txt"), "x").unwrap();
    symlink("../secret", folder.path().join("files/link")).unwrap();
    assert_eq!(raw_status(&hub, "/files/d/a%20b%C3%A9.txt").await, 200);
    for path in [
        "/files/d/../secret",
        "/files/d/%2e%2e/secret",
        "/files/d/..%2fsecret",
        "/files/d/%2e%2e%2fsecret",
        "/files/d//etc/passwd",
        "/files/d/%2fetc%2fpasswd",
        "/files/d/link",
        "/files/d/.hidden",
        "/files/d/small.txt%00",
        "/files/d/small.txt/",
        "/files/d/",
        "/files/d",
        "/files/e/small.txt",
        "/files/../fanfare.toml",
    ] {
        assert_eq!(raw_status(&hub, path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn a_large_file_is_sent_and_resumed_in_constant_memory() {
    let blocks = if is_full_run() { 2048 } else { 256 };
    let (hub, folder) = hub().await;
    write_large_file(&folder.path().join("files/large"), blocks);
    let mut reader = hub.subscribe("/streams/p/events").await;
    reader.open().await;
    let get = || hub.http.get(hub.url("/files/d/large?progress=p"));
    let before = hub.resident_bytes();
    let first = get().send().await.unwrap();
    assert_eq!(first.content_length(), Some(blocks * BLOCK));
    let etag = first.headers()["etag"].clone();
    let offset = read_and_check(first, 0, blocks * BLOCK / 2).await;
    let resumed = get().header("Range", format!("bytes={offset}-")).header("If-Range", etag);
    let resumed = resumed.send().await.unwrap();
    assert_eq!(resumed.status(), 206);
    assert_eq!(read_and_check(resumed, offset, u64::MAX).await, blocks * BLOCK);
    let after = hub.resident_bytes();
    assert!(after < before + (24 << 20), "{before} bytes before, {after} after");
    let events = progress(&mut reader, 2).await;
    let ends: Vec<&Value> = events.iter().filter(|event| event["state"] != "sending").collect();
    assert_eq!((&ends[0]["state"], &ends[1]["state"]), (&"aborted".into(), &"done".into()));
    assert!(ends[0]["bytes_sent"].as_u64().unwrap() >= offset, "{}", ends[0]);
    assert_eq!(ends[1]["percentage"], 100.0);
    for event in &events {
        assert_eq!(event["total_size"], blocks * BLOCK);
        assert_eq!(event["file"], "d/large");
    }
    let second = &events[events.iter().position(|e| e == ends[0]).unwrap() + 1];
    assert!(second["percentage"].as_f64() >= Some(49.0), "it continues where it was: {second}");
}

/// Returns progress events until `downloads` downloads have ended.
async fn progress(reader: &mut Reader, downloads: usize) -> Vec<Value> {
    let (mut events, mut ended) = (Vec::new(), 0);
    while ended < downloads {
        let event = reader.next_event().await.unwrap();
        assert_eq!(event.name, "progress");
        let event = event.json();
        ended += usize::from(event["state"] != "sending");
        events.push(event);
    }
    events
}

#[tokio::test]
async fn progress_is_published_at_most_ten_times_a_second() {
    let (hub, folder) = hub().await;
    write_large_file(&folder.path().join("files/large"), 64);
    let mut reader = hub.subscribe("/streams/p/events?envelope=true").await;
    reader.open().await;
    let response = hub.http.get(hub.url("/files/d/large?progress=p")).send().await.unwrap();
    let mut body = response.bytes_stream();
    let mut read_bytes = 0;
    while let Some(bytes) = body.next().await {
        read_bytes += bytes.unwrap().len();
        if read_bytes > 2 << 20 {
            read_bytes = 0;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }
    let mut times = Vec::new();
    loop {
        let event = reader.next_event().await.unwrap().json();
        times.push(event["time"].as_str().unwrap().to_owned());
        if event["data"]["state"] == "done" {
            break;
        }
    }
    let ms = |time: &str| -> f64 {
        let (clock, _) = time.split_once('T').unwrap().1.split_once('Z').unwrap();
        clock.split(':').fold(0.0, |all, part| all * 60.0 + part.parse::<f64>().unwrap()) * 1000.0
    };
    let elapsed_ms = ms(times.last().unwrap()) - ms(&times[0]);
    assert!(times.len() >= 3, "{times:?}");
    assert!((times.len() - 2) as f64 * 100.0 <= elapsed_ms + 100.0, "{times:?}");
}

#[tokio::test]
async fn downloads_and_their_progress_require_grants() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("reader", "s1", "files = [\"d\"]"),
        ("teller", "s2", "files = [\"*\"]\npublish = [\"p\"]"),
        ("other", "s3", "files = [\"e\"]\npublish = [\"p\"]"),
    ];
    let extra = format!("[files.d]\npath = {:?}\n", folder.path());
    let config = file_with(folder.path(), &keys, &extra);
    std::fs::write(folder.path().join("f"), "x").unwrap();
    let hub = Hub::start(&["--config", &config]).await;
    let get = async |secret: Option<&str>, query: &str, site: Option<&str>| {
        let mut request = hub.http.get(hub.url(&format!("/files/d/f{query}")));
        if let Some(secret) = secret {
            request = request.bearer_auth(secret);
        }
        if let Some(site) = site {
            request = request.header("Sec-Fetch-Site", site);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(get(None, "", None).await, 401);
    assert_eq!(get(Some("s1"), "", None).await, 200);
    assert_eq!(get(Some("s3"), "", None).await, 403);
    assert_eq!(get(Some("s1"), "?progress=p", None).await, 403);
    assert_eq!(get(Some("s2"), "?progress=p", None).await, 200);
    assert_eq!(get(Some("s2"), "?progress=q", None).await, 403);
    assert_eq!(get(Some("s2"), "?progress=jobs.x.y", None).await, 403);
    assert_eq!(get(Some("s2"), "?progress=a%20b", None).await, 400);
    for (site, status) in
        [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
    {
        assert_eq!(get(Some("s2"), "?progress=p", Some(site)).await, status, "{site}");
    }
}
