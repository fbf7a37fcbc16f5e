//! Upstreams of chats: every form of an answer, of an error and of an end, and the resulting chat.

use crate::chat::{all_events, create_chat, end, events_url, kinds, start_chat, text};
use crate::hub::Hub;
use crate::upstream::{
    FullBacklog, Script, Step, Upstream, answer, done, event, head, part, send_text, status,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Runs a chat; returns its text, the type of its end, the code or finish reason, and all events.
async fn outcome(script: Script) -> (String, String, Value, Vec<Value>) {
    let upstream = Upstream::start(vec![script]).await;
    let flags = ["--chat-idle-timeout", "700ms", "--chat-first-token-timeout", "900ms"];
    let (hub, _folder) = upstream.hub(&flags).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    let last = end(&events);
    let reason = match last["type"].as_str().unwrap() {
        "done" => last["finish_reason"].clone(),
        _ => last["code"].clone(),
    };
    (text(&events), last["type"].as_str().unwrap().to_owned(), reason, events.clone())
}

fn body(text: &str) -> Script {
    vec![head(), send_text(text)]
}

const A: &str = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
const STOP: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

/// Name of a case, the script, and the expected text, end and reason.
type Case = (&'static str, Script, &'static str, &'static str, &'static str);

/// Returns complete answers, in every form.
fn complete_answers() -> Vec<Case> {
    let unknown_reason =
        r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":"eos_token"}]}"#;
    let json = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let empty_chunks = "data:\n\ndata: {\"choices\":[]}\n\ndata: {\"choices\":[{\"delta\":null}]}";
    let stays_open = vec![head(), part("a"), send_text(format!("{STOP}\n\n")), Step::Hang];
    vec![
        ("no DONE", body(&format!("{A}\n\n{STOP}\n\n")), "a", "done", "stop"),
        ("no blank line", body(&format!("{A}\n\n{STOP}")), "a", "done", "stop"),
        ("CR", body(&format!("{A}\r\r{STOP}\r\r")), "a", "done", "stop"),
        ("a byte order mark", body(&format!("\u{feff}{A}\n\n{STOP}\n\n")), "a", "done", "stop"),
        ("comments", body(&format!(": hi\n\n{A}\r\n\r\n: x\n{STOP}\n\n")), "a", "done", "stop"),
        ("an odd reason", body(&format!("{unknown_reason}\n\n")), "a", "done", "eos_token"),
        (
            "nothing in it",
            body(&format!("{empty_chunks}\n\n{A}\n\n{STOP}\n\n")),
            "a",
            "done",
            "stop",
        ),
        ("not streamed", status(200, "", json), "a", "done", "stop"),
        ("open behind its end", stays_open, "a", "done", "stop"),
    ]
}

/// Returns truncated answers and errors.
fn broken_answers() -> Vec<Case> {
    let incomplete = "upstream_incomplete";
    let empty = r#"data: {"choices":[{"finish_reason":""}]}"#;
    let error = r#"data: {"error":{"message":"no"}}"#;
    let field = r#"error: {"code":500,"message":"no"}"#;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = vec![send_text(format!("{chunked}{:x}\r\n{A}\n\n\r\n", A.len() + 2))];
    let large = json!({ "choices": [{ "delta": { "content": "x".repeat(1 << 20) } }] });
    let pause = || Step::Pause(Duration::from_millis(100));
    let reset = vec![head(), part("a"), pause(), Step::Reset];
    vec![
        ("no finish reason", body(&format!("{A}\n\ndata: [DONE]\n\n")), "a", "error", incomplete),
        ("an empty one", body(&format!("{A}\n\n{empty}\n\n")), "a", "error", incomplete),
        ("cut", body(&format!("{A}\n\n")), "a", "error", incomplete),
        ("nothing at all", body(""), "", "error", incomplete),
        ("cut in a chunk", chunked, "a", "error", incomplete),
        ("reset", reset, "a", "error", incomplete),
        (
            "an error in it",
            body(&format!("{A}\n\n{error}\n\n{STOP}\n\n")),
            "a",
            "error",
            "upstream_error",
        ),
        ("llama.cpp's", body(&format!("{A}\n\n{field}\n\n")), "a", "error", "upstream_error"),
        ("no JSON", body("data: <html>\n\n"), "", "error", "upstream_error"),
        ("too large", vec![head(), event(&large)], "", "error", "upstream_error"),
    ]
}

/// Returns upstreams that are silent or refuse.
fn no_answers() -> Vec<Case> {
    let comments =
        (0..5).flat_map(|_| [send_text(": x\n\n"), Step::Pause(Duration::from_millis(200))]);
    let comments: Script = comments.collect();
    let commenting = [vec![head(), part("a")], comments, vec![part("b"), Step::Hang]].concat();
    let refused = |code, error: &str| status(code, "", &format!(r#"{{"error":{error}}}"#));
    let filter = refused(400, r#"{"code":"content_filter","message":"no"}"#);
    vec![
        ("silent", vec![Step::Hang], "", "error", "upstream_stalled"),
        ("silent behind its head", vec![head(), Step::Hang], "", "error", "upstream_stalled"),
        ("comments, and silence", commenting, "ab", "error", "upstream_stalled"),
        ("a key that is not taken", refused(401, r#""no""#), "", "error", "upstream_auth"),
        ("a filter", filter, "", "error", "content_filter"),
    ]
}

#[tokio::test]
async fn upstream_answers_are_understood_and_truncated_ones_are_errors() {
    let cases = [complete_answers(), broken_answers(), no_answers()].concat();
    for (name, script, expected_text, kind, expected_reason) in cases {
        let (text, end, reason, events) = outcome(script).await;
        let actual = (text.as_str(), end.as_str(), &reason);
        assert_eq!(actual, (expected_text, kind, &json!(expected_reason)), "{name}: {events:?}");
        if kind == "error" {
            assert_eq!(events.last().unwrap()["partial"], !expected_text.is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn requests_are_retried_only_if_the_upstream_has_not_begun() {
    let busy = || status(429, "Retry-After: 0\r\n", r#"{"error":{"message":"busy"}}"#);
    let down = || status(503, "", "down");
    for (scripts, attempts, (expected_end, retry_after)) in [
        (vec![busy(), down(), answer(&["a"])], 3, ("done", None)),
        // The upstream may have begun already.
        (vec![vec![Step::Reset], answer(&["a"])], 1, ("error", None)),
        (vec![busy(), busy(), busy(), answer(&["a"])], 3, ("error", Some(0))),
        (vec![status(429, "Retry-After: 30.2\r\n", "{}"), answer(&["a"])], 1, ("error", Some(31))),
        (vec![status(400, "", "{}"), answer(&["a"])], 1, ("error", None)),
        (
            vec![
                vec![head(), part("x"), Step::Pause(Duration::from_millis(100)), Step::Reset],
                answer(&["a"]),
            ],
            1,
            ("error", None),
        ),
    ] {
        let upstream = Upstream::start(scripts).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let chat = start_chat(&hub).await;
        let events = all_events(&hub, &chat).await;
        assert_eq!(
            (&end(&events)["type"], upstream.requests().len()),
            (&json!(expected_end), attempts),
            "{events:?}"
        );
        assert_eq!(
            end(&events).get("retry_after").and_then(Value::as_u64),
            retry_after,
            "{events:?}"
        );
        let retries = events.iter().filter(|event| event["state"] == "retrying").count();
        assert_eq!(retries, attempts - 1);
        let usage = events.iter().find(|event| event["type"] == "usage").unwrap();
        assert_eq!(usage["attempts"], attempts);
    }
}

#[tokio::test]
async fn unreachable_upstreams_get_three_attempts_and_retry_after_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("[chat.upstream.gone]\nurl = \"http://{address}\"\nmodels = [\"m\"]\n");
    std::fs::write(&config, text).unwrap();
    let hub = Hub::start(&["--config", config.to_str().unwrap()]).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    assert_eq!(end(&events)["code"], "upstream_error");
    let unreached = "fanfare_chat_attempts_total{result=\"unreached\",upstream=\"gone\"}";
    assert_eq!(hub.metric(unreached).await, 3.0);
    let busy = status(429, "Retry-After: 1\r\n", r#"{"error":{"message":"busy"}}"#);
    let upstream = Upstream::start(vec![busy, answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let events = all_events(&hub, &chat).await;
    let retrying = events.iter().find(|event| event["state"] == "retrying").unwrap();
    let members = json!([retrying["attempt"], retrying["after_ms"], retrying["reason"]]);
    assert_eq!(members, json!([2, 1000, "busy"]));
    let first_tokens = "fanfare_chat_first_token_seconds_count";
    assert_eq!(
        (hub.metric(first_tokens).await, hub.metric("fanfare_chat_tokens_total").await),
        (1.0, 11.0)
    );
}

#[tokio::test]
async fn answers_are_bounded_whatever_the_upstream_sends() {
    let endless = || {
        std::iter::once(head()).chain((0..500).map(|_| part("abcd"))).chain([Step::Hang]).collect()
    };
    for (flags, request, max_bytes) in [
        (&["--chat-max-tokens", "20"][..], json!({ "message": "hi" }), 20 * 4),
        (&["--chat-max-tokens", "20"], json!({ "message": "hi", "max_tokens": 90 }), 20 * 4),
        (&[], json!({ "message": "hi", "max_tokens": 10 }), 10 * 4),
        (&["--chat-max-output-bytes", "102"], json!({ "message": "hi" }), 102),
    ] {
        let upstream = Upstream::start(vec![endless()]).await;
        let (hub, _folder) = upstream.hub(flags).await;
        let (_, chat) = create_chat(&hub, request.clone(), None).await;
        let events = all_events(&hub, &chat).await;
        assert_eq!(
            (end(&events)["finish_reason"].clone(), text(&events).len()),
            (json!("length"), max_bytes)
        );
        upstream.wait_for_disconnects(1).await;
        let expected = request["max_tokens"]
            .as_u64()
            .map(|expected| expected.min(20))
            .map_or(Value::Null, Value::from);
        assert_eq!(upstream.requests()[0].body["max_tokens"], expected);
    }
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--chat-total-timeout", "500ms"]).await;
    let chat = start_chat(&hub).await;
    assert_eq!(end(&all_events(&hub, &chat).await)["code"], "timeout");
    upstream.wait_for_disconnects(1).await;
    let (hub, _folder) = upstream.hub(&["--chat-max-request-bytes", "100"]).await;
    let (status, _) = create_chat(&hub, json!({ "message": "x".repeat(200) }), None).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn slow_upstreams_do_not_hit_the_idle_timeout() {
    let mut script = vec![head()];
    for _ in 0..6 {
        script.extend([part("a"), Step::Pause(Duration::from_millis(300))]);
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&["--chat-idle-timeout", "1s"]).await;
    let events = all_events(&hub, &start_chat(&hub).await).await;
    assert_eq!((text(&events).as_str(), end(&events)["type"].as_str()), ("aaaaaa", Some("done")));
}

/// Starts a hub whose upstream has an API key and the settings `kind`.
async fn hub_with_key(upstream: &Upstream, kind: &str) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let address = &upstream.address;
    // `PATH` is set in every environment.
    let text = format!(
        "[chat.upstream.a]\nurl = \"http://{address}\"\nmodels = [\"m\"]\napi-key-env = \"PATH\"\n{kind}"
    );
    std::fs::write(&config, text).unwrap();
    (Hub::start(&["--config", config.to_str().unwrap()]).await, folder)
}

#[tokio::test]
async fn api_keys_are_sent_in_the_form_of_each_upstream_and_never_shown() {
    let key = std::env::var("PATH").unwrap();
    let quoted = |code| {
        status(code, "", &json!({ "error": { "message": format!("not {key}") } }).to_string())
    };
    for (kind, line, header) in [
        ("", "POST /chat/completions HTTP/1.1", format!("authorization: bearer {key}")),
        (
            "kind = \"azure-v1\"\n",
            "POST /openai/v1/chat/completions HTTP/1.1",
            format!("api-key: {key}"),
        ),
        (
            "kind = \"azure\"\napi-version = \"2024-10-21\"\n",
            "POST /openai/deployments/m/chat/completions?api-version=2024-10-21 HTTP/1.1",
            format!("api-key: {key}"),
        ),
    ] {
        let upstream = Upstream::start(vec![answer(&["a"]), quoted(401), quoted(400)]).await;
        let (hub, _folder) = hub_with_key(&upstream, kind).await;
        assert_eq!(text(&all_events(&hub, &start_chat(&hub).await).await), "a");
        let request = &upstream.requests()[0];
        assert_eq!(request.line, line);
        assert!(request.head.contains(&header.to_lowercase()), "{}", request.head);
        for code in ["upstream_auth", "upstream_error"] {
            let events = all_events(&hub, &start_chat(&hub).await).await;
            assert_eq!(end(&events)["code"], code);
            assert!(!json!(events).to_string().contains(&key), "{events:?}");
        }
        assert!(!hub.log().contains(&key));
    }
}

#[tokio::test]
async fn a_large_part_is_cut_at_the_limit() {
    let json_answer = |text: &str| {
        let message = json!({ "content": text });
        let body = json!({ "choices": [{ "message": message, "finish_reason": "stop" }] });
        status(200, "", &body.to_string())
    };
    let long = "é".repeat(5_000);
    for (script, is_cut) in
        [(answer(&[&long]), true), (json_answer(&long), true), (json_answer("short"), false)]
    {
        let upstream = Upstream::start(vec![script]).await;
        let (hub, _folder) = upstream.hub(&["--chat-max-tokens", "10"]).await;
        let events = all_events(&hub, &start_chat(&hub).await).await;
        let (expected, reason) = if is_cut {
            // 32 bytes for each token, plus 4 KiB.
            ("é".repeat((320 + 4096) / 2), "length")
        } else {
            ("short".to_owned(), "stop")
        };
        assert_eq!((text(&events), &end(&events)["finish_reason"]), (expected, &json!(reason)));
    }
}

#[tokio::test]
async fn chats_beyond_max_running_wait_in_order() {
    let next = Arc::new(Notify::new());
    let script = |text| [vec![head(), part(text), Step::Until(next.clone())], done()].concat();
    let upstream = Upstream::start(vec![script("a"), script("b"), answer(&["c"])]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = upstream.config(folder.path(), "max-running = 1\n");
    let hub = Hub::start(&["--config", &file]).await;
    let first = start_chat(&hub).await;
    upstream.wait_for_requests(1).await;
    let queued = "fanfare_chats_queued{upstream=\"scripted\"}";
    let (second, third) = (start_chat(&hub).await, start_chat(&hub).await);
    hub.wait_for_metric(queued, |n| n == 2.0).await;
    // A stopped chat leaves the queue without a request to its upstream.
    let stop = hub.url(second["stop_url"].as_str().unwrap());
    hub.http.post(stop).send().await.unwrap();
    let events = all_events(&hub, &second).await;
    assert_eq!(kinds(&events), ["start", "status", "usage", "cancelled"]);
    assert_eq!(events[1]["state"], "queued");
    assert_eq!((&events[2]["attempts"], &events[2]["total_tokens"]), (&json!(0), &json!(0)));
    hub.wait_for_metric(queued, |n| n == 1.0).await;
    // A chat without an upstream does not wait.
    let (_, echo) = create_chat(&hub, json!({ "message": "hi", "model": "echo" }), None).await;
    assert_eq!(end(&all_events(&hub, &echo).await)["type"], "done");
    assert_eq!(upstream.requests().len(), 1);
    let fourth = start_chat(&hub).await;
    hub.wait_for_metric(queued, |n| n == 2.0).await;
    next.notify_one();
    assert_eq!(text(&all_events(&hub, &first).await), "a");
    // A chat from the queue counts as running: the next one waits for its end.
    hub.wait_for_metric(queued, |n| n == 1.0).await;
    upstream.wait_for_requests(2).await;
    assert_eq!(upstream.requests().len(), 2);
    next.notify_one();
    assert_eq!(text(&all_events(&hub, &fourth).await), "c");
    let events = all_events(&hub, &third).await;
    let states: Vec<&str> = events.iter().filter_map(|event| event["state"].as_str()).collect();
    assert_eq!((text(&events).as_str(), states), ("b", vec!["queued", "connecting"]));
    assert_eq!((upstream.requests().len(), hub.metric(queued).await), (3, 0.0));
}

#[tokio::test]
async fn connecting_to_an_upstream_times_out() {
    let backlog = FullBacklog::new().await;
    let address = backlog.address;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let text = format!("[chat.upstream.full]\nurl = \"http://{address}\"\nmodels = [\"m\"]\n");
    std::fs::write(&config, text).unwrap();
    let flags = [
        "--config",
        config.to_str().unwrap(),
        "--chat-connect-timeout",
        "300ms",
        "--chat-first-token-timeout",
        "20s",
    ];
    let hub = Hub::start(&flags).await;
    let events = all_events(&hub, &start_chat(&hub).await).await;
    let message = "timeout while connecting to the upstream";
    assert_eq!(
        (&end(&events)["code"], &end(&events)["message"]),
        (&json!("upstream_error"), &json!(message))
    );
    let unreached = "fanfare_chat_attempts_total{result=\"unreached\",upstream=\"full\"}";
    assert_eq!(hub.metric(unreached).await, 3.0);
}

#[tokio::test]
async fn the_first_part_is_published_at_once_and_later_parts_in_batches() {
    let next = Arc::new(Notify::new());
    let rest: String = (0..200)
        .map(|n| {
            format!(
                "data: {}\n\n",
                json!({ "choices": [{ "delta": { "content": format!("{n} ") } }] })
            )
        })
        .collect();
    let mut script = vec![head(), part("first "), Step::Until(next.clone()), send_text(rest)];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = start_chat(&hub).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    let first = loop {
        let event = reader.next_event().await.unwrap().json();
        if event["type"] == "token" {
            break event;
        }
    };
    assert_eq!(first["content"], "first ", "it does not wait for more parts");
    next.notify_one();
    reader.rest().await;
    // In the journal: start, connecting, the first token, tokens that came together, usage, end.
    let stream =
        format!("/streams/{}/events?from=start&format=ndjson", chat["stream"].as_str().unwrap());
    let lines = hub.http.get(hub.url(&stream)).send().await.unwrap().text().await.unwrap();
    let tokens = lines.lines().filter(|line| line.contains("\"token\"")).count();
    assert!((2..20).contains(&tokens), "{tokens} of 201");
}
