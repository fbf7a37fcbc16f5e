//! Creation, lifetimes and deletion.

use super::*;
use std::time::{Duration, Instant};

#[tokio::test]
async fn r01_a_stream_is_created_once_and_by_the_same_configuration_again() {
    let hub = start().await;
    let created = create(&hub, "a/b", &[("Content-Type", "Text/Plain")], "").await;
    assert_eq!(created.header("Location"), hub.url("/v1/stream/a/b"));
    assert_eq!(created.header("Content-Type"), "Text/Plain");
    assert!(!created.next_offset().is_empty());
    let put = |headers: &'static [(&str, &str)]| send(&hub, "PUT", "a/b", headers, "");
    assert_eq!(put(&[TEXT]).await.status, 200, "types are compared without case");
    for other in [
        &[JSON][..],
        &[][..],
        &[TEXT, ("Stream-TTL", "60")],
        &[TEXT, CLOSED],
        &[TEXT, ("Stream-Forked-From", "/v1/stream/a/b")],
    ] {
        assert_eq!(put(other).await.status, 409, "{other:?}");
    }
    let bytes = create(&hub, "bytes", &[], "").await;
    assert_eq!(bytes.header("Content-Type"), "application/octet-stream");
    assert_eq!(send(&hub, "PUT", "bytes", &[BYTES], "").await.status, 200);
    let closed = create(&hub, "closed", &[TEXT, CLOSED], "all").await;
    assert!(closed.is_closed());
    assert_eq!(get(&hub, "closed").await.text(), "all");
    assert_eq!(send(&hub, "PUT", "closed", &[TEXT, CLOSED], "").await.status, 200);
    assert_eq!(send(&hub, "PUT", "closed", &[TEXT], "").await.status, 409);
    // A stream that events of the hub's own protocol created has JSON messages.
    hub.publish("native", "x").await;
    assert_eq!(send(&hub, "PUT", "native", &[JSON], "").await.status, 200);
    assert_eq!(send(&hub, "PUT", "native", &[TEXT], "").await.status, 409);
}

#[tokio::test]
async fn r02_lifetimes_are_plain_numbers_or_times_and_are_returned() {
    let hub = start().await;
    let put = async |headers: &[(&str, &str)]| send(&hub, "PUT", "bad", headers, "").await.status;
    for bad in ["", "+1", "-1", "01", "1.5", "1e3", "abc", " ", "99999999999999999999"] {
        assert_eq!(put(&[("Stream-TTL", bad)]).await, 400, "{bad:?}");
    }
    let both = [("Stream-TTL", "5"), ("Stream-Expires-At", "2099-01-01T00:00:00Z")];
    assert_eq!(put(&both).await, 400);
    assert_eq!(put(&[("Stream-Expires-At", "tomorrow")]).await, 400);
    create(&hub, "ttl", &[("Stream-TTL", "3600")], "").await;
    assert_eq!(head(&hub, "ttl").await.header("Stream-TTL"), "3600");
    create(&hub, "until", &[("Stream-Expires-At", "2099-01-01T02:00:00+02:00")], "").await;
    assert_eq!(head(&hub, "until").await.header("Stream-Expires-At"), "2099-01-01T00:00:00.000Z");
    let past = [("Stream-Expires-At", "2001-01-01T00:00:00Z")];
    create(&hub, "past", &past, "").await;
    assert_eq!(get(&hub, "past").await.status, 404);
    create(&hub, "past", &past, "").await;
}

/// Uses a stream until its time since it was created has passed twice, then waits until it is gone.
async fn outlives_its_ttl(hub: &Hub, stream: &str, used: impl AsyncFn() -> u16) {
    let (started, mut last_use) = (Instant::now(), Instant::now());
    while started.elapsed() < Duration::from_secs(4) {
        if ![200, 204].contains(&used().await) {
            // It is gone only if the machine was too slow to use it in time.
            assert!(last_use.elapsed() >= Duration::from_secs(2), "{stream} is over too early");
            break;
        }
        last_use = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Without a use, it is over no later than its lifetime; looking at it does not prolong it.
    let used_last = Instant::now();
    while head(hub, stream).await.status == 200 {
        assert!(used_last.elapsed() < crate::hub::TEST_TIMEOUT, "{stream} is never over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(hub, stream).await.status, 404);
}

#[tokio::test]
async fn r03_lifetimes_slide_on_reads_and_writes_and_not_on_head() {
    let mut hub = start().await;
    let ttl = [JSON, ("Stream-TTL", "2")];
    for stream in ["read", "now", "written", "closed", "published", "kept"] {
        create(&hub, stream, &ttl, "").await;
    }
    append(&hub, "closed", &[CLOSED], "").await;
    create(&hub, "looked-at", &ttl, "").await;
    let posts = async |headers: &[(&str, &str)], stream, body: &str| {
        send(&hub, "POST", stream, headers, body.to_owned()).await.status
    };
    tokio::join!(
        outlives_its_ttl(&hub, "read", async || get(&hub, "read").await.status),
        outlives_its_ttl(&hub, "now", async || get(&hub, "now?offset=now").await.status),
        outlives_its_ttl(&hub, "written", async || posts(&[JSON], "written", "1").await),
        outlives_its_ttl(&hub, "closed", async || posts(&[CLOSED], "closed", "").await),
        outlives_its_ttl(&hub, "published", async || {
            hub.publish("published", "x").await;
            200
        }),
        outlives_its_ttl(&hub, "looked-at", async || {
            head(&hub, "looked-at").await;
            200
        }),
    );
    assert_eq!(head(&hub, "kept").await.status, 404);
    // The name is free, and the native face forgets it as well.
    create(&hub, "kept", &[TEXT, ("Stream-TTL", "3600")], "new").await;
    hub.kill();
    hub.restart().await;
    assert_eq!(get(&hub, "kept").await.text(), "new", "a start counts as a use");
    assert_eq!(hub.get("/streams/read").await.0, 404);
}

#[tokio::test]
async fn r08_a_deleted_stream_is_gone_and_with_forks_until_they_are() {
    let hub = start().await;
    create(&hub, "a", &[TEXT], "1").await;
    assert_eq!(send(&hub, "DELETE", "a", &[], "").await.status, 204);
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        assert_eq!(send(&hub, method, "a", &[TEXT], "x").await.status, 404, "{method}");
    }
    let earlier = head(&hub, "a").await;
    assert_eq!(earlier.status, 404);
    let first = create(&hub, "a", &[TEXT], "1").await;
    let mut follower = follow(&hub, "a", first.next_offset()).await;
    assert_eq!(follower.next().await.unwrap().name, "control");
    assert_eq!(send(&hub, "DELETE", "a", &[], "").await.status, 204);
    assert!(follower.next().await.is_none(), "a reader does not go on with a later stream");
    create(&hub, "a", &[TEXT], "2").await;
    let old = get(&hub, &format!("a?offset={}", first.next_offset())).await;
    assert_eq!(old.status, 410, "an offset of an earlier stream");
    create(&hub, "b", &[("Stream-Forked-From", "/v1/stream/a")], "3").await;
    create(&hub, "c", &[("Stream-Forked-From", "/v1/stream/b")], "4").await;
    let mut reader = hub.subscribe("/streams/a/events?from=start").await;
    assert_eq!(reader.next_event().await.unwrap().data, "2");
    assert_eq!(send(&hub, "DELETE", "a", &[], "").await.status, 204);
    while reader.next().await.unwrap().name != "hub-end" {}
    assert_eq!(send(&hub, "DELETE", "b", &[], "").await.status, 204);
    for stream in ["a", "b"] {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            assert_eq!(send(&hub, method, stream, &[TEXT], "x").await.status, 410, "{method}");
        }
        assert_eq!(send(&hub, "PUT", stream, &[TEXT], "").await.status, 409);
        assert_eq!(hub.get(&format!("/streams/{stream}")).await.0, 404);
        let native = hub.try_post("/publish", format!(r#"{{"stream":"{stream}","data":1}}"#)).await;
        assert_eq!(native.0, 409);
    }
    assert_eq!(get(&hub, "c").await.text(), "234");
    assert_eq!(send(&hub, "DELETE", "c", &[], "").await.status, 204);
    for stream in ["a", "b", "c"] {
        assert_eq!(get(&hub, stream).await.status, 404, "{stream}");
        create(&hub, stream, &[TEXT], "").await;
    }
}

#[tokio::test]
async fn r12_offsets_before_the_earliest_stored_message_are_gone() {
    let hub = start_with(&["--max-events", "3"]).await;
    let created = create(&hub, "s", &[TEXT], "").await;
    let mut offsets = vec![created.next_offset().to_owned()];
    for n in 0..10 {
        let appended = append(&hub, "s", &[TEXT], &n.to_string()).await;
        offsets.push(appended.next_offset().to_owned());
    }
    let started = Instant::now();
    while get(&hub, &format!("s?offset={}", offsets[6])).await.status != 410 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "nothing is removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for mode in ["", "&live=long-poll", "&live=sse"] {
        let before = get(&hub, &format!("s?offset={}{mode}", offsets[0])).await;
        assert_eq!(before.status, 410, "{mode}");
    }
    assert_eq!(get(&hub, &format!("s?offset={}", offsets[7])).await.text(), "789");
    assert_eq!(get(&hub, "s?offset=-1").await.text(), "789", "the start is the earliest stored");
}
