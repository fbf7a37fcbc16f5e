//! Appends, producers, closing, JSON.

use super::*;

#[tokio::test]
async fn r04_an_append_has_data_of_the_type_of_its_stream() {
    let hub = start().await;
    let created = create(&hub, "s", &[TEXT], "").await;
    let appended = append(&hub, "s", &[TEXT], "one").await;
    assert_eq!(appended.status, 204);
    assert!(appended.next_offset() > created.next_offset());
    let post = async |stream, headers: &[(&str, &str)], body: &'static str| {
        send(&hub, "POST", stream, headers, body).await.status
    };
    assert_eq!(post("s", &[TEXT], "").await, 400);
    assert_eq!(post("s", &[], "x").await, 400);
    assert_eq!(post("s", &[JSON], "1").await, 409);
    assert_eq!(post("s", &[("Content-Type", "nonsense")], "x").await, 400);
    assert_eq!(post("unknown", &[TEXT], "x").await, 404);
    let chunks = futures_util::stream::iter(["t", "w", "o"].map(Ok::<_, std::io::Error>));
    let chunked = reqwest::Body::wrap_stream(chunks);
    assert_eq!(send(&hub, "POST", "s", &[TEXT], chunked).await.status, 204);
    assert_eq!(get(&hub, "s").await.text(), "onetwo");
}

#[tokio::test]
async fn r05_closed_precedes_the_type_and_the_type_the_sequence() {
    let hub = start().await;
    create(&hub, "s", &[TEXT], "").await;
    let post = async |headers: &[(&str, &str)]| send(&hub, "POST", "s", headers, "x").await;
    assert_eq!(post(&[TEXT, ("Stream-Seq", "2")]).await.status, 204);
    let late = post(&[TEXT, ("Stream-Seq", "10")]).await;
    assert_eq!(late.status, 409, "bytes are compared");
    assert!(late.text().contains("Stream-Seq"), "{}", late.text());
    assert!(post(&[JSON, ("Stream-Seq", "10")]).await.text().contains("type"));
    assert_eq!(post(&[TEXT, ("Stream-Seq", "2")]).await.status, 409);
    assert_eq!(post(&[TEXT, ("Stream-Seq", "20")]).await.status, 204);
    append(&hub, "s", &[CLOSED], "").await;
    let closed = post(&[JSON, ("Stream-Seq", "1")]).await;
    assert_eq!((closed.status, closed.is_closed()), (409, true));
}

#[tokio::test]
async fn r06_closing_is_atomic_and_idempotent() {
    let hub = start().await;
    create(&hub, "s", &[JSON], "").await;
    for not_true in ["1", "yes", "", "false"] {
        append(&hub, "s", &[JSON, ("Stream-Closed", not_true)], "1").await;
    }
    let mut reader = follow(&hub, "s", "now").await;
    assert!(reader.next().await.unwrap().data.contains("upToDate"));
    let last = append(&hub, "s", &[JSON, ("stream-closed", "TRUE")], "2").await;
    assert_eq!((last.status, last.is_closed()), (204, true));
    assert_eq!(reader.next().await.unwrap().data, "[2]");
    for again in [&[CLOSED][..], &[TEXT, CLOSED]] {
        let closed = append(&hub, "s", again, "").await;
        assert_eq!((closed.status, closed.next_offset()), (204, last.next_offset()));
    }
    let refused = send(&hub, "POST", "s", &[JSON, CLOSED], "3").await;
    assert_eq!((refused.status, refused.is_closed()), (409, true));
    assert_eq!(refused.next_offset(), last.next_offset());
    let all = get(&hub, "s").await;
    assert_eq!(all.text(), "[1,1,1,1,2]");
    assert!(all.is_closed() && all.is_up_to_date());
    assert_eq!(hub.get("/streams/s").await.1["state"], "ended");
}

#[tokio::test]
async fn r07_the_writes_of_a_producer_are_applied_once() {
    let mut hub = start().await;
    create(&hub, "s", &[TEXT], "").await;
    let write = async |hub: &Hub, epoch: &str, seq: &str, body: &str| {
        let headers = producer("p", epoch, seq);
        send(hub, "POST", "s", &headers, body.to_owned()).await
    };
    let partial = [TEXT, ("Producer-Id", "p"), ("Producer-Epoch", "0")];
    assert_eq!(send(&hub, "POST", "s", &partial, "x").await.status, 400);
    for bad in ["-1", "01", "1.0", "9007199254740992", "x"] {
        assert_eq!(write(&hub, bad, "0", "x").await.status, 400, "{bad}");
        assert_eq!(write(&hub, "0", bad, "x").await.status, 400, "{bad}");
    }
    assert_eq!(send(&hub, "POST", "s", &producer("", "0", "0"), "x").await.status, 400);
    let first = write(&hub, "5", "0", "a").await;
    assert_eq!((first.status, first.header("Producer-Seq")), (200, "0"));
    assert_eq!(write(&hub, "5", "1", "b").await.status, 200);
    let gap = write(&hub, "5", "4", "x").await;
    let expected = (gap.header("Producer-Expected-Seq"), gap.header("Producer-Received-Seq"));
    assert_eq!((gap.status, expected), (409, ("2", "4")));
    // The state survives the process as the data does.
    hub.kill();
    hub.restart().await;
    let duplicate = write(&hub, "5", "0", "a").await;
    let state = (duplicate.header("Producer-Epoch"), duplicate.header("Producer-Seq"));
    assert_eq!((duplicate.status, state), (204, ("5", "1")));
    let stale = write(&hub, "4", "9", "x").await;
    assert_eq!((stale.status, stale.header("Producer-Epoch")), (403, "5"));
    assert_eq!(write(&hub, "6", "1", "x").await.status, 400);
    assert_eq!(write(&hub, "6", "0", "c").await.status, 200);
    assert_eq!(write(&hub, "5", "2", "x").await.status, 403);
    assert_eq!(send(&hub, "POST", "s", &producer("q", "0", "3"), "x").await.status, 409);
    assert_eq!(get(&hub, "s").await.text(), "abc");
    let close = async |hub: &Hub, seq| {
        let mut headers = producer("p", "6", seq).to_vec();
        headers.push(CLOSED);
        send(hub, "POST", "s", &headers, "d").await
    };
    assert_eq!(close(&hub, "1").await.status, 200);
    hub.kill();
    hub.restart().await;
    let again = close(&hub, "1").await;
    assert_eq!((again.status, again.is_closed()), (204, true));
    let late = close(&hub, "2").await;
    assert_eq!((late.status, late.is_closed()), (409, true));
    let expected = (late.header("Producer-Expected-Seq"), late.header("Producer-Received-Seq"));
    assert_eq!(expected, ("2", "2"), "a client that takes it for a gap would repeat it for ever");
    assert_eq!(write(&hub, "6", "0", "c").await.status, 204, "a write from before the close");
    assert_eq!(get(&hub, "s").await.text(), "abcd");
}

#[tokio::test]
async fn producers_that_write_at_the_same_time_are_applied_once_in_their_order() {
    let hub = start().await;
    create(&hub, "s", &[JSON], "").await;
    let writers = (0..8).map(|n| {
        let hub = &hub;
        async move {
            let id = format!("p{n}");
            for seq in 0..25 {
                let (seq, body) = (seq.to_string(), format!("[[{n},{seq}]]"));
                let mut headers = producer(&id, "0", &seq);
                headers[0] = JSON;
                // Sent twice at once, as by a client that gave up too early.
                let twice = tokio::join!(
                    send(hub, "POST", "s", &headers, body.clone()),
                    send(hub, "POST", "s", &headers, body.clone()),
                );
                let mut statuses = [twice.0.status, twice.1.status];
                statuses.sort_unstable();
                assert_eq!(statuses, [200, 204]);
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let all: Vec<(u64, u64)> = serde_json::from_slice(&get(&hub, "s").await.body).unwrap();
    assert_eq!(all.len(), 200);
    for n in 0..8 {
        let own = all.iter().filter(|(writer, _)| *writer == n).map(|(_, seq)| *seq);
        assert!(own.eq(0..25), "{n}");
    }
}

#[tokio::test]
async fn reads_beside_writes_miss_nothing() {
    let hub = start().await;
    create(&hub, "s", &[JSON], "").await;
    let write = async {
        let writers = (0..8).map(|n| {
            let hub = &hub;
            async move {
                for seq in 0..50 {
                    append(hub, "s", &[JSON], &format!("[[{n},{seq}]]")).await;
                }
            }
        });
        futures_util::future::join_all(writers).await;
        append(&hub, "s", &[CLOSED], "").await;
    };
    let read = async |query: &'static str| {
        let (mut offset, mut all) = ("-1".to_owned(), Vec::new());
        loop {
            let part = get(&hub, &format!("s?offset={offset}{query}")).await;
            assert!([200, 204].contains(&part.status), "{} {}", part.status, part.text());
            if part.status == 200 {
                all.extend(serde_json::from_slice::<Vec<(u64, u64)>>(&part.body).unwrap());
            }
            offset = part.next_offset().to_owned();
            if part.is_closed() {
                return all;
            }
        }
    };
    let (_, once, polled) = tokio::join!(write, read(""), read("&live=long-poll"));
    assert_eq!((once.len(), polled.len()), (400, 400));
    assert_eq!(once, polled);
    assert_eq!(get(&hub, "s").await.json(), serde_json::to_value(once).unwrap());
}

#[tokio::test]
async fn r20_json_messages_are_values_and_arrays_have_several() {
    let hub = start().await;
    create(&hub, "s", &[JSON], "[]").await;
    assert_eq!(get(&hub, "s").await.text(), "[]");
    append(&hub, "s", &[JSON], r#"[1.0, {"b": 1e2, "a": "ü"}]"#).await;
    append(&hub, "s", &[JSON], "[[2, 3]]").await;
    append(&hub, "s", &[JSON], r#""text""#).await;
    append(&hub, "s", &[JSON], "null").await;
    let all = r#"[1.0,{"b":1e2,"a":"ü"},[2,3],"text",null]"#;
    assert_eq!(get(&hub, "s").await.text(), all);
    for bad in ["[]", "{", "1 2", "[1,]"] {
        assert_eq!(send(&hub, "POST", "s", &[JSON], bad).await.status, 400, "{bad}");
    }
    assert_eq!(send(&hub, "PUT", "bad", &[JSON], "{").await.status, 400);
    assert_eq!(get(&hub, "bad").await.status, 404);
    let many = serde_json::to_string(&vec![0; 5_000]).unwrap();
    assert_eq!(send(&hub, "POST", "s", &[JSON], many).await.status, 413);
    let most = serde_json::to_string(&vec![7; 4_000]).unwrap();
    append(&hub, "s", &[JSON], &most).await;
    assert_eq!(get(&hub, "s").await.json().as_array().unwrap().len(), 4_005);
}
