//! Reads of stored data: offsets, caching.

use super::*;

#[tokio::test]
async fn r09_offsets_are_opaque_ascending_and_checked() {
    let hub = start().await;
    let mut offsets = vec![create(&hub, "s", &[TEXT], "").await.next_offset().to_owned()];
    for _ in 0..300 {
        offsets.push(append(&hub, "s", &[TEXT], "x").await.next_offset().to_owned());
    }
    assert!(offsets.is_sorted() && offsets.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(
        offsets.iter().all(|offset| offset.len() < 256 && !offset.contains(['&', '=', '?', ',']))
    );
    for bad in ["", "0,1", "-2", "1", "../x", "%FF", "Now"] {
        assert_eq!(get(&hub, &format!("s?offset={bad}")).await.status, 400, "{bad:?}");
    }
    let twice = format!("s?offset={}&offset={}", offsets[0], offsets[1]);
    assert_eq!(get(&hub, &twice).await.status, 400);
    let unknown = get(&hub, "s?offset=0000000000000001_0000000000000001").await;
    assert_eq!(unknown.status, 410, "an offset of another hub");
    for (n, offset) in offsets.iter().enumerate().step_by(50) {
        assert_eq!(get(&hub, &format!("s?offset={offset}")).await.body.len(), 300 - n);
    }
}

#[tokio::test]
async fn r10_the_start_and_the_end_have_names() {
    let hub = start().await;
    create(&hub, "s", &[TEXT], "old").await;
    create(&hub, "json", &[JSON], "1").await;
    assert_eq!(get(&hub, "s?offset=-1").await.text(), "old");
    let now = get(&hub, "s?offset=now").await;
    assert_eq!((now.status, now.text().as_str()), (200, ""));
    assert!(now.is_up_to_date() && now.header("ETag").is_empty());
    assert!(now.header("Cache-Control").contains("no-store"));
    assert_eq!(get(&hub, "json?offset=now").await.text(), "[]");
    append(&hub, "s", &[TEXT], "new").await;
    assert_eq!(get(&hub, &format!("s?offset={}", now.next_offset())).await.text(), "new");
    let waiting = tokio::spawn({
        let request = hub.http.get(hub.url("/v1/stream/s?offset=now&live=long-poll"));
        async move { request.send().await.unwrap().text().await.unwrap() }
    });
    hub.wait_for_metric(
        "fanfare_sessions_opened_by_protocol_total{protocol=\"durable-streams\"}",
        |n| n >= 1.0,
    )
    .await;
    append(&hub, "s", &[TEXT], "newest").await;
    assert_eq!(waiting.await.unwrap(), "newest");
}

#[tokio::test]
async fn r11_a_read_is_up_to_date_and_closed_exactly_at_the_end() {
    let hub = start_with(&["--max-event-bytes", "400KB"]).await;
    create(&hub, "s", &[BYTES], "").await;
    let block = "x".repeat(400_000);
    for _ in 0..8 {
        append(&hub, "s", &[BYTES], &block).await;
    }
    append(&hub, "s", &[CLOSED], "").await;
    let (mut offset, mut bytes, mut reads) = ("-1".to_owned(), 0, 0);
    loop {
        let part = get(&hub, &format!("s?offset={offset}")).await;
        (bytes, reads) = (bytes + part.body.len(), reads + 1);
        offset = part.next_offset().to_owned();
        assert_eq!(part.is_up_to_date(), bytes == 3_200_000);
        assert_eq!(part.is_closed(), part.is_up_to_date());
        if part.is_up_to_date() {
            break;
        }
    }
    assert!(reads >= 2, "one response has not everything");
    assert_eq!(head(&hub, "s").await.next_offset(), offset);
}

#[tokio::test]
async fn r13_every_read_has_a_tag_that_changes_with_data_and_with_the_end() {
    let hub = start().await;
    create(&hub, "s", &[TEXT], "1").await;
    let mut tags = Vec::new();
    for change in [&[][..], &[TEXT][..], &[CLOSED][..]] {
        if !change.is_empty() {
            append(&hub, "s", change, if change == [TEXT] { "2" } else { "" }).await;
        }
        let read = get(&hub, "s").await;
        let tag = read.header("ETag").to_owned();
        for known in [tag.clone(), format!("W/{tag}, \"x\""), "*".to_owned()] {
            let same = send(&hub, "GET", "s", &[("If-None-Match", &known)], "").await;
            assert_eq!((same.status, same.body.len()), (304, 0), "{known}");
            assert_eq!(same.header("ETag"), tag);
        }
        assert!(!tags.contains(&tag), "{tag}");
        for old in &tags {
            assert_eq!(send(&hub, "GET", "s", &[("If-None-Match", old)], "").await.status, 200);
        }
        tags.push(tag);
    }
}
