//! Retention, and the gaps that notify readers of removed events.

use crate::hub::Hub;
use serde_json::json;

#[tokio::test]
async fn a_stream_keeps_its_newest_events_and_an_older_resume_is_a_gap() {
    let mut hub = Hub::start(&["--max-events", "10"]).await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(hub.publish_id("s", &n.to_string()).await);
    }
    for _ in 0..2 {
        let stream = hub.get("/streams/s").await.1;
        assert_eq!(
            (&stream["events"], stream["first_id"].as_str()),
            (&json!(10), Some(ids[20].as_str()))
        );
        let mut reader = hub.resume("/streams/s/events", &ids[4]).await;
        let opened = reader.open().await;
        assert_eq!(opened["resume"], "gap");
        assert_eq!(
            (&opened["missed"], opened["first"].as_str()),
            (&json!(15), Some(ids[20].as_str()))
        );
        assert_eq!(opened["from"], reader.headers["last-event-id"].as_str());
        let events = reader.take(10).await;
        assert_eq!((events[0].data.as_str(), events[9].data.as_str()), ("20", "29"));
        let mut edge = hub.resume("/streams/s/events", &ids[19]).await;
        assert_eq!(edge.open().await["resume"], "resumed", "nothing after it was removed");
        assert_eq!(edge.next().await.unwrap().data, "20");
        let mut all = hub.subscribe("/events?stream=**&from=start").await;
        assert_eq!(all.next_event().await.unwrap().data, "20");
        hub.stop().await;
        hub.restart().await;
    }
}

#[tokio::test]
async fn a_batch_beyond_max_events_keeps_its_newest_events() {
    let hub = Hub::start(&["--max-events", "3"]).await;
    let batch: Vec<_> = (0..100).map(|n| json!({ "stream": "s", "data": n })).collect();
    hub.post("/publish", json!(batch)).await;
    let mut reader = hub.subscribe("/streams/s/events?from=start").await;
    let remaining: Vec<String> = reader.take(3).await.into_iter().map(|e| e.data).collect();
    assert_eq!(remaining, ["97", "98", "99"]);
}

#[tokio::test]
async fn bytes_and_age_limit_streams_and_a_rule_applies_only_to_its_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    let rules = "[[retention]]\nstreams = \"small.*\"\nmax-bytes = \"2KiB\"\n[[retention]]\nstreams = \"young\"\nmax-age = \"1s\"\n";
    std::fs::write(&file, rules).unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    for n in 0..20 {
        let data = format!("{n}/{}", "x".repeat(300));
        hub.publish("small.a", &data).await;
        hub.publish("other", &data).await;
    }
    let young = hub.publish_id("young", "old soon").await;
    let small = hub.get("/streams/small.a").await.1;
    assert!(
        small["bytes"].as_u64().unwrap() <= 2048 && small["events"].as_u64().unwrap() >= 4,
        "{small}"
    );
    assert_eq!(hub.get("/streams/other").await.1["events"], 20);
    // A stream without history and readers is gone.
    let started = std::time::Instant::now();
    while hub.get("/streams/young").await.0 != 404 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "the stream is not removed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    hub.wait_for_metric("fanfare_journal_streams", |n| n == 2.0).await;
    // The last event is removed: a reader that has it misses nothing, an earlier one gets a gap.
    let mut at_last_event = hub.resume("/streams/young/events", &young).await;
    assert_eq!(at_last_event.open().await["resume"], "resumed");
    let previous_id =
        format!("{}-{:016x}", &young[..8], u64::from_str_radix(&young[9..], 16).unwrap() - 1);
    let mut before_last_event = hub.resume("/streams/young/events", &previous_id).await;
    assert_eq!(before_last_event.open().await["resume"], "gap");
}

#[tokio::test]
async fn mass_expiry_removes_every_stream_while_publishes_are_accepted() {
    let hub = Hub::start(&["--max-age", "1s"]).await;
    let events: Vec<_> =
        (0..4000).map(|n| json!({ "stream": format!("s{n}"), "data": n })).collect();
    hub.post("/publish", json!(events)).await;
    hub.wait_for_metric("fanfare_journal_streams", |n| n > 0.0).await;
    assert_eq!(hub.publish("late", "x").await["duplicate"], false);
    hub.wait_for_metric("fanfare_journal_streams", |n| n == 0.0).await;
    hub.wait_for_metric("fanfare_journal_bytes", |n| n == 0.0).await;
}

#[tokio::test]
async fn journal_max_bytes_drops_the_oldest_events_first() {
    let hub = Hub::start(&["--journal-max-bytes", "100KiB"]).await;
    for n in 0..400 {
        hub.publish(&format!("s{}", n % 4), &format!("{n}/{}", "x".repeat(1000))).await;
    }
    hub.wait_for_metric("fanfare_journal_bytes", |n| n > 0.0 && n <= 102_400.0).await;
    let mut reader = hub.subscribe("/events?stream=**&from=start").await;
    let first: usize =
        reader.next_event().await.unwrap().data.split('/').next().unwrap().parse().unwrap();
    assert!((300..360).contains(&first), "the oldest kept is {first}");
    let total: u64 = hub.get("/streams").await.1["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["events"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 400 - first as u64);
}

#[tokio::test]
async fn a_slow_reader_overtaken_by_retention_gets_a_hub_gap() {
    let flags = ["--max-events", "50", "--recent-bytes", "64KiB", "--write-timeout", "60s"];
    let hub = Hub::start(&flags).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    reader.open().await;
    for batch in 0..200 {
        let events: Vec<_> = (0..20)
            .map(|n| json!({ "stream": "s", "data": format!("{}/{}", batch * 20 + n, "x".repeat(4000)) }))
            .collect();
        hub.post("/publish", json!(events)).await;
    }
    let (mut last, mut missed, mut gaps) = (None::<usize>, 0, 0);
    while last != Some(3999) {
        let event = reader.next().await.unwrap();
        reader.bytes.clear();
        if event.name == "hub-gap" {
            gaps += 1;
            let gap = event.json();
            missed += gap["missed"].as_u64().unwrap_or(u64::MAX / 1000);
            let next = reader.next().await.unwrap();
            assert_eq!(gap["first"], next.id.as_str(), "`first` is the event that follows");
            assert!(event.id < next.id, "the id of the gap is before it");
            let n: usize = next.data.split('/').next().unwrap().parse().unwrap();
            let skipped = n - last.map_or(0, |l| l + 1);
            if let Some(reported) = gap["missed"].as_u64() {
                assert_eq!(reported, skipped as u64, "`missed` is exact");
            }
            last = Some(n);
        } else {
            let n: usize = event.data.split('/').next().unwrap().parse().unwrap();
            assert_eq!(n, last.map_or(0, |l| l + 1), "events are missing without a gap");
            last = Some(n);
        }
    }
    assert!(gaps > 0 && missed > 0);
    assert!(hub.metric("fanfare_session_gaps_total").await >= f64::from(gaps));
}

#[tokio::test]
async fn an_event_on_two_streams_is_kept_while_either_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[[retention]]\nstreams = \"short\"\nmax-events = 2\n").unwrap();
    let hub = Hub::start(&["--config", file.to_str().unwrap()]).await;
    for n in 0..10 {
        hub.post("/publish", json!({ "stream": ["short", "long"], "data": n })).await;
    }
    let count = |name: &str| {
        let path = format!("/streams/{name}");
        let hub = &hub;
        async move { hub.get(&path).await.1["events"].as_u64().unwrap() }
    };
    assert_eq!((count("short").await, count("long").await), (2, 10));
    let mut short = hub.subscribe("/streams/short/events?from=start").await;
    assert_eq!(short.next_event().await.unwrap().data, "8");
    let mut long = hub.subscribe("/streams/long/events?from=start").await;
    assert_eq!(long.take(10).await[0].data, "0");
}

#[tokio::test]
async fn a_deleted_stream_is_no_gap_for_readers_that_did_not_select_it() {
    let hub = Hub::start(&[]).await;
    let first = hub.publish_id("builds.1", "1").await;
    hub.publish("tmp", "x").await;
    hub.publish("builds.1", "2").await;
    hub.http.delete(hub.url("/streams/tmp")).send().await.unwrap();
    for (selector, resume) in
        [("builds.*", "resumed"), ("builds.**", "resumed"), ("*", "gap"), ("**", "gap")]
    {
        let mut reader = hub.resume(&format!("/events?stream={selector}"), &first).await;
        assert_eq!(reader.open().await["resume"], resume, "{selector}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_at_the_edge_of_retention_skips_no_event_without_a_gap() {
    let hub = std::sync::Arc::new(Hub::start(&["--max-events", "1010"]).await);
    let publisher = {
        let hub = hub.clone();
        tokio::spawn(async move {
            let mut n = 0;
            for _ in 0..if crate::hub::is_full_run() { 600 } else { 120 } {
                let events: Vec<_> =
                    (n..n + 1000).map(|n| json!({ "stream": "s", "data": n })).collect();
                hub.post("/publish", json!(events)).await;
                n += 1000;
            }
        })
    };
    let (mut resumed, mut gaps) = (0, 0);
    while !publisher.is_finished() {
        // Batches of 1,000 move the floor just past the first event of the previous batch.
        let mut newest = hub.subscribe("/streams/s/events?last=1000").await;
        newest.open().await;
        let Some(position) = newest.next_event().await else { continue };
        let mut reader = hub.resume("/streams/s/events", &position.id).await;
        let opened = reader.open().await;
        let mut last: u64 = position.data.parse().unwrap();
        let mut is_gap_reported = opened["resume"] == "gap";
        for _ in 0..5 {
            let event = reader.next().await.unwrap();
            if event.name == "hub-gap" {
                is_gap_reported = true;
                continue;
            }
            let n: u64 = event.data.parse().unwrap();
            assert!(n == last + 1 || is_gap_reported, "from {last} to {n} without a gap: {opened}");
            if n != last + 1
                && opened["resume"] == "gap"
                && let Some(missed) = opened["missed"].as_u64()
            {
                assert!(
                    n - last > missed,
                    "`missed` is {missed}, which is too much between {last} and {n}"
                );
            }
            if is_gap_reported {
                gaps += 1;
            } else {
                resumed += 1;
            }
            is_gap_reported = false;
            last = n;
        }
    }
    assert!(resumed > 0, "{resumed} {gaps}");
}

#[tokio::test]
async fn byte_counts_stay_exact_across_kills() {
    let mut hub = Hub::start(&["--journal-max-bytes", "1MiB"]).await;
    let publish = |stream: &'static str, hub: &Hub| {
        let events: Vec<_> = (0..100)
            .map(|n| json!({ "stream": stream, "data": format!("{n}/{}", "x".repeat(1000)) }))
            .collect();
        let (http, url) = (hub.http.clone(), hub.url("/publish"));
        async move {
            assert_eq!(
                http.post(url).body(json!(events).to_string()).send().await.unwrap().status(),
                200
            );
        }
    };
    for _ in 0..5 {
        for _ in 0..8 {
            publish("a", &hub).await;
        }
        hub.kill();
        hub.restart().await;
    }
    for _ in 0..20 {
        publish("b", &hub).await;
    }
    let stored_bytes = async |hub: &Hub| -> u64 {
        let streams = hub.get("/streams").await.1;
        let streams = streams["streams"].as_array().unwrap();
        streams.iter().map(|stream| stream["bytes"].as_u64().unwrap()).sum()
    };
    for _ in 0..2 {
        // Retention follows the last batch, and repeats deletions that a kill has undone.
        let started = std::time::Instant::now();
        let mut bytes = stored_bytes(&hub).await;
        while bytes > 1_048_576 {
            assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "{bytes} bytes are kept");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            bytes = stored_bytes(&hub).await;
        }
        // The metric is updated once a second.
        hub.wait_for_metric("fanfare_journal_bytes", |n| n == bytes as f64).await;
        hub.kill();
        hub.restart().await;
    }
}

/// Returns the size of all files below a directory, in bytes.
fn size_of(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[tokio::test]
async fn an_idle_hub_reclaims_the_space_of_deleted_events() {
    let hub = Hub::start(&[]).await;
    for batch in 0..60 {
        let noise = || -> String {
            (0..10_000).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect()
        };
        let events: Vec<_> = (0..100)
            .map(|n| json!({ "stream": "s", "data": format!("{batch}/{n}/{}", noise()) }))
            .collect();
        hub.post("/publish", json!(events)).await;
    }
    hub.publish("kept", "kept").await;
    let tables = hub.data.join("journal").join("keyspaces");
    assert!(size_of(&tables) > 20_000_000, "the tables hold {} bytes", size_of(&tables));
    assert_eq!(hub.http.delete(hub.url("/streams/s")).send().await.unwrap().status(), 204);
    let started = std::time::Instant::now();
    while size_of(&tables) > 5_000_000 {
        assert!(
            started.elapsed() < crate::hub::TEST_TIMEOUT,
            "the tables still hold {} bytes",
            size_of(&tables)
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut reader = hub.subscribe("/streams/kept/events?from=start").await;
    assert_eq!(reader.next_event().await.unwrap().data, "kept");
}

#[tokio::test]
async fn tombstones_are_bounded_and_a_resume_from_before_them_is_a_gap() {
    // More than the bound on tombstones.
    const STREAMS: usize = 140_000;
    let hub = Hub::start(&["--max-age", "2s", "--max-streams", "200000"]).await;
    let before = hub.publish("kept", "x").await["id"].as_str().unwrap().to_owned();
    for batch in 0..STREAMS / 4_000 {
        let event = |n: usize| json!({ "stream": format!("once.{batch}.{n}"), "data": n });
        let events: Vec<_> = (0..4_000).map(event).collect();
        hub.post("/publish", json!(events)).await;
    }
    hub.wait_for_metric("fanfare_journal_streams", |streams| streams < 1_000.0).await;
    // A resume from before the tombstones gets a gap, because events may be missing.
    for path in ["/events?stream=never.**", "/streams/never/events"] {
        let mut reader = hub.resume(path, &before).await;
        assert_eq!(reader.open().await["resume"], "gap", "{path}");
    }
    let now = hub.publish("kept", "y").await["id"].as_str().unwrap().to_owned();
    let mut reader = hub.resume("/events?stream=never.**", &now).await;
    assert_eq!(reader.open().await["resume"], "resumed");
}
