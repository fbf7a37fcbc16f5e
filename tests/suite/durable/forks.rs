//! Forks.

use super::*;

const FROM: &str = "Stream-Forked-From";

async fn fork(hub: &Hub, stream: &str, source: &str, more: &[(&str, &str)]) -> Answer {
    let source = format!("/v1/stream/{source}");
    send(hub, "PUT", stream, &[&[(FROM, source.as_str())], more].concat(), "").await
}

#[tokio::test]
async fn r21_a_fork_begins_with_the_data_of_its_source() {
    let mut hub = start().await;
    create(&hub, "s", &[TEXT, ("Stream-TTL", "3600")], "one").await;
    let middle = append(&hub, "s", &producer("p", "0", "0"), "two").await;
    append(&hub, "s", &[TEXT, ("Stream-Seq", "5")], "three").await;
    append(&hub, "s", &[CLOSED], "").await;
    let at = [("Stream-Fork-Offset", middle.next_offset())];
    let forked = fork(&hub, "f", "s", &at).await;
    assert_eq!((forked.status, forked.is_closed()), (201, false), "a fork is open");
    assert_eq!(forked.header("Content-Type"), "text/plain");
    assert_eq!(head(&hub, "f").await.header("Stream-TTL"), "3600");
    assert_eq!(fork(&hub, "f", "s", &at).await.status, 200);
    assert_eq!(fork(&hub, "f", "s", &[("Stream-Fork-Offset", "-1")]).await.status, 409);
    // It has neither the producers nor the sequence of its source.
    append(&hub, "f", &[TEXT, ("Stream-Seq", "1")], "+").await;
    let own = send(&hub, "POST", "f", &producer("p", "0", "0"), "!").await;
    assert_eq!(own.status, 200);
    for _ in 0..2 {
        assert_eq!(get(&hub, "f").await.text(), "onetwo+!");
        assert_eq!(get(&hub, &format!("f?offset={}", middle.next_offset())).await.text(), "+!");
        assert_eq!(get(&hub, "s").await.text(), "onetwothree");
        hub.kill();
        hub.restart().await;
    }
    let mut reader = follow(&hub, "f", "-1").await;
    for part in ["one", "two", "+", "!"] {
        assert_eq!(reader.next().await.unwrap().data, part);
        assert_eq!(reader.next().await.unwrap().name, "control");
    }
    append(&hub, "f", &[TEXT], "live").await;
    assert_eq!(reader.next().await.unwrap().data, "live");
    // The hub's own protocol has the fork as a whole as well.
    let mut native = hub.subscribe("/streams/f/events?from=start").await;
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(native.next_event().await.unwrap().data);
    }
    assert_eq!(names, ["one", "two", "+", "!", "live"]);
}

#[tokio::test]
async fn r21_a_fork_is_cut_between_messages_or_bytes() {
    let hub = start().await;
    create(&hub, "t", &[TEXT], "hello").await;
    let after = append(&hub, "t", &[TEXT], "world").await;
    let sub = |offset: &str, sub: &str| {
        [("Stream-Fork-Offset", offset.to_owned()), ("Stream-Fork-Sub-Offset", sub.to_owned())]
    };
    for (name, offset, bytes, text) in [
        ("a", "-1", "0", ""),
        ("b", "-1", "3", "hel"),
        ("c", "-1", "5", "hello"),
        ("d", "-1", "7", "hellowo"),
        ("e", after.next_offset(), "0", "helloworld"),
    ] {
        let headers = sub(offset, bytes);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(fork(&hub, name, "t", &headers).await.status, 201, "{name}");
        assert_eq!(fork(&hub, name, "t", &headers).await.status, 200, "{name}");
        append(&hub, name, &[TEXT], "|").await;
        assert_eq!(get(&hub, name).await.text(), format!("{text}|"));
    }
    create(&hub, "j", &[JSON], "[1,2,3]").await;
    let two = [("Stream-Fork-Offset", "-1"), ("Stream-Fork-Sub-Offset", "2")];
    assert_eq!(fork(&hub, "k", "j", &two).await.status, 201);
    assert_eq!(get(&hub, "k").await.text(), "[1,2]");
    for beyond in ["4", "01", "-1", "x"] {
        let headers = [("Stream-Fork-Offset", "-1"), ("Stream-Fork-Sub-Offset", beyond)];
        assert_eq!(fork(&hub, "bad", "j", &headers).await.status, 400, "{beyond}");
    }
    assert_eq!(fork(&hub, "bad", "j", &[("Stream-Fork-Sub-Offset", "1")]).await.status, 400);
    assert_eq!(
        fork(&hub, "bad", "j", &[("Stream-Fork-Offset", "9999999999999999_9999999999999999")])
            .await
            .status,
        400
    );
    assert_eq!(fork(&hub, "bad", "unknown", &[]).await.status, 404);
    assert_eq!(fork(&hub, "bad", "j", &[TEXT]).await.status, 409);
    let alone = send(&hub, "PUT", "bad", &[("Stream-Fork-Sub-Offset", "0")], "").await;
    assert_eq!(alone.status, 400);
    let elsewhere = send(&hub, "PUT", "bad", &[(FROM, "/streams/j")], "").await;
    assert_eq!(elsewhere.status, 400);
    assert_eq!(get(&hub, "bad").await.status, 404);
}

#[tokio::test]
async fn forks_of_forks_have_a_bound_and_lose_what_retention_removed() {
    let hub = start_with(&["--max-events", "4"]).await;
    create(&hub, "f0", &[TEXT], "x").await;
    let mut depth = 0;
    loop {
        let made = fork(&hub, &format!("f{}", depth + 1), &format!("f{depth}"), &[]).await;
        if made.status == 400 {
            break;
        }
        assert_eq!(made.status, 201);
        depth += 1;
    }
    assert_eq!(depth, 31);
    assert_eq!(get(&hub, "f31").await.text(), "x");
    // A stream of the hub's own protocol is as before once its forks are gone.
    hub.publish("native", "1").await;
    assert_eq!(fork(&hub, "nf", "native", &[]).await.status, 201);
    hub.publish("native", "2").await;
    assert_eq!(get(&hub, "nf").await.text(), r#"["1"]"#);
    assert_eq!(send(&hub, "DELETE", "nf", &[], "").await.status, 204);
    assert_eq!(send(&hub, "DELETE", "native", &[], "").await.status, 204);
    assert_eq!(head(&hub, "native").await.status, 404);
    let start = create(&hub, "r", &[TEXT], "0").await;
    assert_eq!(fork(&hub, "rf", "r", &[]).await.status, 201);
    append(&hub, "rf", &[TEXT], "own").await;
    for n in 1..9 {
        append(&hub, "r", &[TEXT], &n.to_string()).await;
    }
    let started = std::time::Instant::now();
    while get(&hub, "rf").await.text() != "own" {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "nothing is removed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let created = head(&hub, "r").await;
    assert_ne!(created.next_offset(), start.next_offset());
    let lost = get(&hub, "rf?offset=-1").await;
    assert_eq!((lost.status, lost.text().as_str()), (200, "own"));
}
