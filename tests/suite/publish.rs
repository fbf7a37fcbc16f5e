//! Publishing: bodies, receipts, idempotency, refusals.

use crate::hub::Hub;
use serde_json::{Value, json};

#[tokio::test]
async fn a_receipt_counts_the_subscribers_of_an_event() {
    let hub = Hub::start(&[]).await;
    let mut on_a = hub.subscribe("/streams/a/events").await;
    let mut on_both = hub.subscribe("/events?stream=a&stream=b").await;
    let mut other_type = hub.subscribe("/events?stream=**&types=log").await;
    on_a.open().await;
    on_both.open().await;
    other_type.open().await;
    let receipt = hub.post("/publish", json!({ "stream": ["a", "b"], "data": 1 })).await;
    assert_eq!(receipt["stream"], json!(["a", "b"]));
    assert_eq!(
        receipt["subscribers"], 2,
        "a subscriber of both streams counts once, a filtered one does not"
    );
    assert_eq!(receipt["duplicate"], false);
    let receipt_of_a = hub.publish("a", "x").await;
    assert_eq!(receipt_of_a["stream"], "a");
    assert!(receipt_of_a["id"].as_str().unwrap() > receipt["id"].as_str().unwrap());
}

#[tokio::test]
async fn form_data_is_read_as_json_and_text_is_published_unchanged() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/events?stream=**").await;
    reader.open().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let request = hub
        .http
        .post(hub.url("/publish"))
        .header(form.0, form.1)
        .body(r#"{"stream":"s","data":"a=b&c"}"#);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(reader.next().await.unwrap().data, "a=b&c");
    let request = hub
        .http
        .post(hub.url("/streams/a%2Fb/events?type=note"))
        .header(form.0, form.1)
        .body("{ hello } +%41");
    let receipt: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(receipt["stream"], "a/b");
    let event = reader.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.data.as_str()), ("note", "{ hello } +%41"));
    let (status, _) = hub.try_post("/streams/s/events?type=log", "a bare line").await;
    assert_eq!(status, 200);
    let log = reader.next().await.unwrap();
    assert_eq!(
        (log.json()["level"].as_str(), log.json()["message"].as_str()),
        (Some("info"), Some("a bare line"))
    );
}

#[tokio::test]
async fn json_data_keeps_its_numbers_and_member_order() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/s/events").await;
    reader.open().await;
    let data = r#"{"z":1.0,"a":12345678901234567890123,"m":[1e400,{"b":null}]}"#;
    let body = format!("{{\"stream\":\"s\",\"data\":{}}}", data.replace(',', " ,\n "));
    assert_eq!(hub.try_post("/publish", body).await.0, 200);
    assert_eq!(reader.next().await.unwrap().data, data);
}

#[tokio::test]
async fn json_and_ndjson_batches_are_atomic() {
    let hub = Hub::start(&[]).await;
    let event = json!({ "stream": "s", "data": 1 });
    let (status, problem) =
        hub.try_post("/publish", json!([event, { "stream": "s" }]).to_string()).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("[1].data")));
    let post_lines = |text: &str| {
        let request =
            hub.http.post(hub.url("/publish")).header("content-type", "application/x-ndjson");
        request.body(text.to_owned()).send()
    };
    let response = post_lines("{\"stream\":\"s\",\"data\":1}\n{\"stream\":\"s\"}\n").await.unwrap();
    assert_eq!(response.status(), 422);
    let problem: Value = response.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    assert_eq!(post_lines("{\"stream\":\"s\",\"data\":1}\n{bad\n").await.unwrap().status(), 400);
    assert_eq!(hub.get("/streams/s").await.0, 404, "no part is published");
    let summary: Value =
        post_lines("{\"stream\":\"s\",\"data\":1}\n{\"stream\":\"s\",\"data\":2}\n")
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
    assert_eq!(summary["published"], 2);
    let stream = hub.get("/streams/s").await.1;
    assert_eq!((&stream["first_id"], &stream["last_id"]), (&summary["first"], &summary["last"]));
    let largest_batch = json!(vec![event.clone(); 4096]);
    assert_eq!(hub.post("/publish", largest_batch).await.as_array().unwrap().len(), 4096);
    assert_eq!(hub.try_post("/publish", json!(vec![event; 4097]).to_string()).await.0, 422);
}

#[tokio::test]
async fn an_idempotency_key_publishes_once_even_across_a_restart() {
    let mut hub = Hub::start(&[]).await;
    let event = json!({ "stream": ["a", "b"], "type": "log", "data": { "level": "info", "message": "m" }, "key": "k" });
    let first = hub.post("/publish", event.clone()).await;
    for _ in 0..2 {
        let repeated = hub.post("/publish", event.clone()).await;
        assert_eq!(
            (&repeated["id"], &repeated["duplicate"], &repeated["subscribers"]),
            (&first["id"], &json!(true), &json!(0))
        );
        hub.kill();
        hub.restart().await;
    }
    for (stream, data) in [
        (json!("a"), json!({ "level": "info", "message": "m" })),
        (json!(["a", "b"]), json!({ "level": "warn", "message": "m" })),
    ] {
        let conflicting = json!({ "stream": stream, "type": "log", "data": data, "key": "k" });
        let (status, problem) = hub.try_post("/publish", conflicting.to_string()).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    }
    let on_other_stream = json!({ "stream": "c", "data": 1, "key": "k" });
    assert_eq!(hub.post("/publish", on_other_stream).await["duplicate"], false);
    let events = hub.get("/streams/a").await.1["events"].as_u64();
    assert_eq!(events, Some(1));
}

#[tokio::test]
async fn a_duplicate_in_a_batch_gets_its_first_receipt_and_a_conflict_refuses_the_batch() {
    let hub = Hub::start(&[]).await;
    let keyed = |n: u32, key: &str| json!({ "stream": "s", "data": n, "key": key });
    let first = hub.post("/publish", keyed(1, "k")).await;
    let receipts = hub
        .post("/publish", json!([keyed(1, "k"), keyed(2, "l"), keyed(2, "l"), keyed(3, "m")]))
        .await;
    let receipt_member = |n: usize, member: &str| receipts[n][member].clone();
    assert_eq!(
        (receipt_member(0, "id"), receipt_member(0, "duplicate")),
        (first["id"].clone(), json!(true))
    );
    assert_eq!(
        (
            receipt_member(1, "duplicate"),
            receipt_member(2, "duplicate"),
            receipt_member(3, "duplicate")
        ),
        (json!(false), json!(true), json!(false))
    );
    assert_eq!(receipt_member(1, "id"), receipt_member(2, "id"));
    let (status, _) =
        hub.try_post("/publish", json!([keyed(4, "n"), keyed(9, "k")]).to_string()).await;
    assert_eq!(status, 409);
    let (status, _) =
        hub.try_post("/publish", json!([keyed(5, "o"), keyed(6, "o")]).to_string()).await;
    assert_eq!(status, 409);
    assert_eq!(hub.get("/streams/s").await.1["events"], 3);
    assert_eq!(
        hub.post("/publish", keyed(4, "n")).await["duplicate"],
        false,
        "a refused event does not use its key"
    );
}

#[tokio::test]
async fn a_single_event_may_have_its_key_in_a_header() {
    let hub = Hub::start(&[]).await;
    let send = |body: &'static str, path: &str| {
        let request = hub.http.post(hub.url(path)).header("Idempotency-Key", "k").body(body);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    };
    let (_, first) = send(r#"{"stream":"s","data":"x"}"#, "/publish").await;
    let (_, repeated) = send(r#"{"stream":"s","data":"x"}"#, "/publish").await;
    assert_eq!((&repeated["id"], &repeated["duplicate"]), (&first["id"], &json!(true)));
    let (status, problem) = send(r#"[{"stream":"s","data":"x"}]"#, "/publish").await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("Idempotency-Key")));
    let (_, text) = send("y", "/streams/t/events").await;
    assert_eq!(text["duplicate"], false);
}

#[tokio::test]
async fn invalid_input_gets_a_problem_that_names_the_field() {
    let hub = Hub::start(&["--max-event-bytes", "1KiB", "--max-body-bytes", "4KiB"]).await;
    let large = format!(r#"{{"stream":"s","data":"{}"}}"#, "x".repeat(2000));
    let huge = format!(r#"{{"stream":"s","data":"{}"}}"#, "x".repeat(8000));
    let cases: Vec<(Vec<u8>, u16, &str, Option<&str>)> = vec![
        (b"\xff".to_vec(), 400, "validation_error", None),
        (b"{".to_vec(), 400, "validation_error", None),
        (b"[]".to_vec(), 400, "validation_error", None),
        (br#"{"stream":"","data":1}"#.to_vec(), 422, "validation_error", Some("stream")),
        (br#"{"stream":"a b","data":1}"#.to_vec(), 422, "validation_error", Some("stream")),
        (br#"{"stream":[],"data":1}"#.to_vec(), 422, "validation_error", Some("stream")),
        (
            br#"{"stream":"s","type":"hub-open","data":1}"#.to_vec(),
            422,
            "validation_error",
            Some("type"),
        ),
        (
            br#"{"stream":"s","type":"log","data":{"level":"loud","message":""}}"#.to_vec(),
            422,
            "validation_error",
            Some("data.level"),
        ),
        (br#"{"stream":"s","data":1,"key":5}"#.to_vec(), 422, "validation_error", Some("key")),
        (large.into_bytes(), 413, "payload_too_large", Some("data")),
        (huge.into_bytes(), 413, "payload_too_large", Some("body")),
    ];
    for (body, status, code, field) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let response = hub.http.post(hub.url("/publish")).body(body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{shown}");
        assert_eq!(response.status().as_u16(), status, "{shown}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(
            (problem["code"].as_str(), problem["field"].as_str()),
            (Some(code), field),
            "{shown}: {problem}"
        );
        assert_eq!(problem["type"], format!("urn:fanfare:problem:{code}"));
        assert_eq!(problem["status"], status);
    }
    assert_eq!(hub.try_post("/streams/a%2A/events", "x").await.0, 400);
    assert!(
        hub.metric("fanfare_publishes_refused_total{reason=\"validation_error\"}").await >= 9.0
    );
    assert_eq!(
        hub.metric("fanfare_publishes_refused_total{reason=\"payload_too_large\"}").await,
        2.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_publishes_share_commits() {
    let hub = std::sync::Arc::new(Hub::start(&[]).await);
    let publishers: Vec<_> = (0..32)
        .map(|p| {
            let hub = hub.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    hub.publish("s", &format!("{p}/{n}")).await;
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let commits = hub.metric("fanfare_journal_commit_seconds_count").await;
    assert!(commits < 1_600.0, "{commits} commits for 1,600 publishes");
}

#[tokio::test]
async fn log_messages_are_validated_and_published_to_the_logs_stream() {
    let hub = Hub::start(&[]).await;
    let mut reader = hub.subscribe("/streams/logs/events").await;
    reader.open().await;
    let message = json!({ "level": "WARNING", "message": "slow", "fields": { "seconds": 3 } });
    let receipt = hub.post("/log-message", message).await;
    assert_eq!(json!([receipt["stream"], receipt["subscribers"]]), json!(["logs", 1]));
    let event = &reader.take(1).await[0];
    let data = event.json();
    assert_eq!((event.name.as_str(), &data["level"]), ("log", &json!("warn")));
    assert_eq!(json!([data["message"], data["fields"]["seconds"]]), json!(["slow", 3]));
    assert!(data["timestamp"].is_string());
    for (body, status, field) in [
        (json!({ "message": "x" }).to_string(), 422, "data.level"),
        (json!({ "level": "loud", "message": "x" }).to_string(), 422, "data.level"),
        (json!({ "level": "info" }).to_string(), 422, "data.message"),
        (json!("x").to_string(), 422, "data"),
        ("{".to_owned(), 400, ""),
    ] {
        let (actual, problem) = hub.try_post("/log-message", body.clone()).await;
        assert_eq!(
            (actual, problem["field"].as_str().unwrap_or_default()),
            (status, field),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_key_outlives_retention_but_not_the_deletion_of_its_stream() {
    let mut hub = Hub::start(&["--max-age", "1s"]).await;
    let publish = async |hub: &Hub| {
        hub.post("/publish", json!({ "stream": "s", "data": 1, "key": "k" })).await
    };
    let until_empty = async |hub: &Hub| {
        let started = std::time::Instant::now();
        while hub.get("/streams/s").await.0 != 404 {
            assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "the stream remains");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let first = publish(&hub).await;
    for _ in 0..2 {
        until_empty(&hub).await;
        let repeated = publish(&hub).await;
        assert_eq!((&repeated["id"], &repeated["duplicate"]), (&first["id"], &json!(true)));
        // Another event does not make it a new stream with new keys either.
        hub.publish("s", "another").await;
        assert_eq!(publish(&hub).await["id"], first["id"]);
        until_empty(&hub).await;
        hub.stop().await;
        hub.restart().await;
    }
    hub.publish("s", "there").await;
    let deleted = hub.http.delete(hub.url("/streams/s")).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    assert_ne!(publish(&hub).await["id"], first["id"], "the deletion removes its keys");
}
