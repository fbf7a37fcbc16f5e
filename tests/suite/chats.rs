//! Chats: an upstream's answer through the hub, whatever happens to whom.

use crate::hub::{Hub, PATIENCE};
use crate::reader::{Event, Reader};
use crate::upstream::{Script, Step, Upstream, answer, done, event, head, part, say, status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub const TEXT: &[&str] = &[
    "Once",
    " upon",
    " a ",
    "tïme\n",
    "\r\n",
    "there — ",
    "w\u{1f600}s",
    " ",
    "data: x\n\n",
    "end.",
];

/// Begins a chat; what was answered.
pub async fn begin(hub: &Hub, body: Value, key: Option<&str>) -> (u16, Value) {
    let request = hub.http.post(hub.url("/chats")).body(body.to_string());
    let request = key.into_iter().fold(request, |r, key| r.header("Idempotency-Key", key));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let is_replayed = answer.headers().contains_key("idempotent-replayed");
    assert_eq!(is_replayed, status == 200);
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

pub async fn begun(hub: &Hub) -> Value {
    let (status, chat) = begin(hub, json!({ "message": "hi" }), None).await;
    assert_eq!(status, 201, "{chat}");
    chat
}

pub fn events_url(chat: &Value) -> &str {
    chat["events_url"].as_str().unwrap()
}

/// Everything of a chat, to its end.
pub async fn whole(hub: &Hub, chat: &Value) -> Vec<Value> {
    let mut reader = hub.subscribe(events_url(chat)).await;
    reader.rest().await.iter().filter(|event| !event.is_control()).map(Event::json).collect()
}

/// The text, whose parts must follow each other.
pub fn text(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events.iter().filter(|event| event["type"] == "token") {
        let content = event["content"].as_str().unwrap();
        assert_eq!(event["index"], text.chars().count(), "a part is missing");
        assert_eq!(event["n"], content.chars().count());
        text.push_str(content);
    }
    text
}

pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The last event, which must be the only one that ends.
fn end(events: &[Value]) -> &Value {
    let is_end =
        |event: &&Value| ["done", "error", "cancelled"].contains(&event["type"].as_str().unwrap());
    assert_eq!(events.iter().filter(is_end).count(), 1, "{events:?}");
    events.last().filter(is_end).unwrap_or_else(|| panic!("it does not stand last: {events:?}"))
}

pub async fn view(hub: &Hub, chat: &Value) -> Value {
    hub.get(&format!("/chats/{}", chat["id"].as_str().unwrap())).await.1
}

/// A script that says a part whenever it is told to.
fn told(parts: &[&str], next: &Arc<Notify>) -> Script {
    let parts = parts.iter().flat_map(|text| [part(text), Step::Until(next.clone())]);
    std::iter::once(head()).chain(parts).chain(done()).collect()
}

#[tokio::test]
async fn an_answer_is_a_stream_with_a_beginning_and_one_end() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let body =
        json!({ "message": "hi", "max_tokens": 90, "temperature": 0.5, "metadata": { "a": "b" } });
    let (_, chat) = begin(&hub, body, None).await;
    assert_eq!(chat["stream"], format!("chat.{}", chat["id"].as_str().unwrap()));
    assert_eq!(chat["id"].as_str().unwrap().len(), 32);
    let events = whole(&hub, &chat).await;
    assert_eq!(text(&events), TEXT.concat());
    assert_eq!(kinds(&events)[..3], ["start", "status", "token"]);
    assert_eq!((&events[0]["chat"], &events[0]["model"]), (&chat["id"], &json!("m")));
    let usage = &events[events.len() - 2];
    assert_eq!(
        (&usage["total_tokens"], &usage["estimated"], &usage["attempts"]),
        (&json!(18), &json!(false), &json!(1))
    );
    assert_eq!(end(&events), &json!({ "type": "done", "finish_reason": "stop", "is_final": true }));
    let view = view(&hub, &chat).await;
    assert_eq!((&view["status"], &view["text"]), (&json!("done"), &json!(TEXT.concat())));
    assert_eq!((&view["metadata"], &view["finish_reason"]), (&json!({ "a": "b" }), &json!("stop")));
    let asked = &upstream.asked()[0];
    assert_eq!(asked.line, "POST /v1/chat/completions HTTP/1.1");
    assert!(
        asked.head.contains("accept: text/event-stream") && !asked.head.contains("authorization")
    );
    assert_eq!(asked.body["messages"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!((&asked.body["max_tokens"], &asked.body["stream"]), (&json!(90), &json!(true)));
    assert_eq!(asked.body["metadata"], json!({ "a": "b" }));
}

#[tokio::test]
async fn a_reader_cut_after_each_event_has_the_same_text() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![told(TEXT, &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let (mut events, mut last) = (Vec::new(), None::<String>);
    while events.last().is_none_or(|event: &Value| event["type"] != "done") {
        let mut reader = match &last {
            None => hub.subscribe(events_url(&chat)).await,
            Some(id) => hub.resume(events_url(&chat), id).await,
        };
        let event = reader.next_event().await.expect("more comes");
        last = Some(event.id.clone());
        events.push(event.json());
        if event.json()["type"] == "token" {
            next.notify_one();
        }
    }
    assert_eq!(text(&events), TEXT.concat());
    assert_eq!(hub.resume(events_url(&chat), &last.unwrap()).await.status, 204);
}

#[tokio::test]
async fn who_leaves_stops_nothing_and_who_comes_late_has_all() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![told(TEXT, &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    let mut tokens = 0;
    while tokens < 3 {
        let event = reader.next_event().await.unwrap().json();
        if event["type"] == "token" {
            tokens += 1;
            next.notify_one();
        }
    }
    drop(reader);
    hub.until_metric("fanfare_sessions", |n| n == 0.0).await;
    let done = "fanfare_chats_ended_total{outcome=\"done\"}";
    while hub.metric(done).await < 1.0 {
        // Whether it waits already or is about to, it goes on.
        next.notify_one();
    }
    let mut late = hub.subscribe(events_url(&chat)).await;
    let events = late.rest().await;
    let all: Vec<Value> = events.iter().filter(|e| !e.is_control()).map(Event::json).collect();
    assert_eq!(text(&all), TEXT.concat());
    let again = hub.resume(events_url(&chat), late.last_id()).await;
    assert_eq!(again.status, 204, "an EventSource comes back no more");
}

#[tokio::test]
async fn one_key_is_one_run_however_often_and_how_soon_it_is_sent() {
    let upstream = Upstream::start(vec![answer(&["a", "b"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let ask = || begin(&hub, json!({ "message": "hi" }), Some("one"));
    let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
    assert_eq!(all.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(all.iter().filter(|(status, _)| *status == 200).count(), 49);
    assert!(all.iter().all(|(_, body)| *body == all[0].1), "each has the same body");
    assert_eq!(text(&whole(&hub, &all[0].1).await), "ab");
    let (status, _) = begin(&hub, json!({ "message": "hi" }), Some("one")).await;
    assert_eq!(status, 200, "also once it has ended");
    let (status, problem) = begin(&hub, json!({ "message": "ho" }), Some("one")).await;
    assert_eq!((status, &problem["field"]), (422, &json!("Idempotency-Key")));
    assert_eq!(upstream.asked().len(), 1);
    assert_eq!(hub.metric("fanfare_chat_replayed_total").await, 50.0);
}

#[tokio::test]
async fn a_chat_is_stopped_whenever_that_is_wanted() {
    let next = Arc::new(Notify::new());
    let silent = vec![Step::Hang];
    let waits = vec![head(), Step::Hang];
    let scripts = vec![silent, waits, told(&["a"], &next), answer(&["a"])];
    let upstream = Upstream::start(scripts).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for (at, (partial, expected)) in
        [("", "cancelled"), ("", "cancelled"), ("a", "cancelled"), ("a", "done")]
            .into_iter()
            .enumerate()
    {
        let chat = begun(&hub).await;
        let id = chat["id"].as_str().unwrap();
        upstream.until_asked(at + 1).await;
        let mut reader = hub.subscribe(events_url(&chat)).await;
        if partial == "a" {
            while reader.next_event().await.unwrap().json()["type"] != "token" {}
        }
        if expected == "done" {
            reader.rest().await;
        }
        for _ in 0..2 {
            let url = hub.url(chat["stop_url"].as_str().unwrap());
            assert_eq!(hub.http.post(url).send().await.unwrap().status(), 202, "{id}");
        }
        if expected == "cancelled" {
            upstream.until_left(at + 1).await;
        }
        let events = whole(&hub, &chat).await;
        assert_eq!(
            (end(&events)["type"].as_str().unwrap(), text(&events).as_str()),
            (expected, partial)
        );
    }
    assert_eq!(hub.metric("fanfare_chats_running").await, 0.0);
}

#[tokio::test]
async fn a_hub_that_is_killed_ends_what_it_had_begun_and_begins_nothing_twice() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), part("b"), Step::Hang]]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = begin(&hub, json!({ "message": "hi" }), Some("k")).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    let mut seen = String::new();
    while seen != "ab" {
        let event = reader.next_event().await.unwrap();
        seen.push_str(event.json()["content"].as_str().unwrap_or_default());
    }
    let last = reader.last_id().to_owned();
    hub.kill();
    hub.start_again().await;
    let events = whole(&hub, &chat).await;
    assert_eq!(text(&events), "ab", "the durable part");
    let end = end(&events);
    assert_eq!(
        (&end["code"], &end["partial"], &end["retryable"]),
        (&json!("hub_restarted"), &json!(true), &json!(true))
    );
    let mut back = hub.resume(events_url(&chat), &last).await;
    assert_eq!(back.next_event().await.unwrap().json()["code"], "hub_restarted");
    let (status, again) = begin(&hub, json!({ "message": "hi" }), Some("k")).await;
    assert_eq!((status, &again), (200, &chat), "the same, its ticket too");
    assert_eq!(upstream.asked().len(), 1, "nothing was begun");
    hub.stop().await;
}

/// What an upstream does, and what becomes of it: text, kind of end, and its code or reason.
async fn outcome(script: Script) -> (String, String, Value, Vec<Value>) {
    let upstream = Upstream::start(vec![script]).await;
    let flags = ["--chat-idle-timeout", "700ms", "--chat-first-token-timeout", "900ms"];
    let (hub, _folder) = upstream.hub(&flags).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    let last = end(&events);
    let why = match last["type"].as_str().unwrap() {
        "done" => last["finish_reason"].clone(),
        _ => last["code"].clone(),
    };
    (text(&events), last["type"].as_str().unwrap().to_owned(), why, events.clone())
}

fn body(text: &str) -> Script {
    vec![head(), say(text)]
}

const A: &str = r#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
const STOP: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

/// What it is, what the upstream does, and the text, the end and its reason.
type Case = (&'static str, Script, &'static str, &'static str, &'static str);

/// Answers that are whole, in whatever form.
fn whole_answers() -> Vec<Case> {
    let odd = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":"eos_token"}]}"#;
    let json = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let nothing = "data:\n\ndata: {\"choices\":[]}\n\ndata: {\"choices\":[{\"delta\":null}]}";
    let open = vec![head(), part("a"), say(format!("{STOP}\n\n")), Step::Hang];
    vec![
        ("no DONE", body(&format!("{A}\n\n{STOP}\n\n")), "a", "done", "stop"),
        ("no blank line", body(&format!("{A}\n\n{STOP}")), "a", "done", "stop"),
        ("CR", body(&format!("{A}\r\r{STOP}\r\r")), "a", "done", "stop"),
        ("a byte order mark", body(&format!("\u{feff}{A}\n\n{STOP}\n\n")), "a", "done", "stop"),
        ("comments", body(&format!(": hi\n\n{A}\r\n\r\n: x\n{STOP}\n\n")), "a", "done", "stop"),
        ("an odd reason", body(&format!("{odd}\n\n")), "a", "done", "eos_token"),
        ("nothing in it", body(&format!("{nothing}\n\n{A}\n\n{STOP}\n\n")), "a", "done", "stop"),
        ("not streamed", status(200, "", json), "a", "done", "stop"),
        ("open behind its end", open, "a", "done", "stop"),
    ]
}

/// Answers that are cut, or errors.
fn broken_answers() -> Vec<Case> {
    let incomplete = "upstream_incomplete";
    let empty = r#"data: {"choices":[{"finish_reason":""}]}"#;
    let error = r#"data: {"error":{"message":"no"}}"#;
    let field = r#"error: {"code":500,"message":"no"}"#;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = vec![say(format!("{chunked}{:x}\r\n{A}\n\n\r\n", A.len() + 2))];
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

/// Those that say nothing, or no.
fn no_answers() -> Vec<Case> {
    let pause = || Step::Pause(Duration::from_millis(500));
    let beat = || say(": x\n\n");
    let alive = vec![head(), part("a"), beat(), pause(), beat(), pause(), part("b"), Step::Hang];
    let refused = |code, error: &str| status(code, "", &format!(r#"{{"error":{error}}}"#));
    let filter = refused(400, r#"{"code":"content_filter","message":"no"}"#);
    vec![
        ("silent", vec![Step::Hang], "", "error", "upstream_stalled"),
        ("silent behind its head", vec![head(), Step::Hang], "", "error", "upstream_stalled"),
        ("comments alone", alive, "a", "error", "upstream_stalled"),
        ("a key that is not taken", refused(401, r#""no""#), "", "error", "upstream_auth"),
        ("a filter", filter, "", "error", "content_filter"),
    ]
}

#[tokio::test]
async fn what_upstreams_send_is_understood_and_a_cut_answer_is_never_a_whole_one() {
    let cases = [whole_answers(), broken_answers(), no_answers()].concat();
    for (what, script, said, kind, why) in cases {
        let (text, ended, reason, events) = outcome(script).await;
        let came = (text.as_str(), ended.as_str(), &reason);
        assert_eq!(came, (said, kind, &json!(why)), "{what}: {events:?}");
        if kind == "error" {
            assert_eq!(events.last().unwrap()["partial"], !said.is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn an_upstream_is_asked_again_only_before_it_has_said_anything() {
    let busy = || status(429, "Retry-After: 0\r\n", r#"{"error":{"message":"busy"}}"#);
    let down = || status(503, "", "down");
    for (scripts, times, ended) in [
        (vec![busy(), down(), answer(&["a"])], 3, json!("done")),
        // It may have been at it already.
        (vec![vec![Step::Reset], answer(&["a"])], 1, json!("error")),
        (vec![busy(), busy(), busy(), answer(&["a"])], 3, json!("error")),
        (vec![status(429, "Retry-After: 31\r\n", "{}"), answer(&["a"])], 1, json!("error")),
        (vec![status(400, "", "{}"), answer(&["a"])], 1, json!("error")),
        (
            vec![
                vec![head(), part("x"), Step::Pause(Duration::from_millis(100)), Step::Reset],
                answer(&["a"]),
            ],
            1,
            json!("error"),
        ),
    ] {
        let upstream = Upstream::start(scripts).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        let chat = begun(&hub).await;
        let events = whole(&hub, &chat).await;
        assert_eq!(
            (end(&events)["type"].clone(), upstream.asked().len()),
            (ended, times),
            "{events:?}"
        );
        let retries = events.iter().filter(|event| event["state"] == "retrying").count();
        assert_eq!(retries, times - 1);
        let usage = events.iter().find(|event| event["type"] == "usage").unwrap();
        assert_eq!(usage["attempts"], times);
    }
}

#[tokio::test]
async fn a_late_reader_has_few_frames_and_resumes_between_them_exactly() {
    let parts: Vec<String> = (0..10_000).map(|n| format!("{n} é ")).collect();
    let mut script = vec![head()];
    for some in parts.chunks(50) {
        script.extend(some.iter().map(|text| part(text)));
        script.push(Step::Pause(Duration::from_millis(5)));
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    hub.until_metric("fanfare_chats_ended_total{outcome=\"done\"}", |n| n == 1.0).await;
    let events = whole(&hub, &chat).await;
    let tokens: Vec<&Value> = events.iter().filter(|event| event["type"] == "token").collect();
    assert_eq!(text(&events), parts.concat());
    assert!(tokens.len() <= 8, "{} frames", tokens.len());
    assert!(tokens.iter().all(|token| token["content"].as_str().unwrap().len() <= 16 * 1024));
    let (mut rest, mut last) = (Vec::new(), None::<String>);
    loop {
        let mut reader = match &last {
            None => hub.subscribe(events_url(&chat)).await,
            Some(id) => hub.resume(events_url(&chat), id).await,
        };
        let Some(event) = reader.next_event().await else { break };
        last = Some(event.id.clone());
        rest.push(event.json());
    }
    assert_eq!(text(&rest), parts.concat(), "and each time from an exact place");
}

#[tokio::test]
async fn the_whole_text_comes_with_every_part_where_it_is_wanted() {
    let upstream = Upstream::start(vec![answer(TEXT)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    assert!(events.iter().all(|event| event.get("accumulated").is_none()));
    let url = format!("{}?accumulated=1", events_url(&chat));
    let mut reader = hub.subscribe(&url).await;
    let mut last = None;
    let (mut all, mut id) = (String::new(), String::new());
    while let Some(event) = reader.next_event().await {
        let json = event.json();
        if json["type"] == "token" {
            all.push_str(json["content"].as_str().unwrap());
            assert_eq!(json["accumulated"], all);
            last = Some(json);
        } else if last.is_none() {
            id = event.id;
        }
    }
    assert_eq!(all, TEXT.concat());
    let mut resumed = hub.resume(&url, &id).await;
    assert_eq!(resumed.next_event().await.unwrap().json()["accumulated"], TEXT.concat());
}

#[tokio::test]
async fn what_a_filter_takes_back_is_not_told_again() {
    let hit = json!({ "choices": [{
        "index": 0, "content_filter_results": { "hate": { "filtered": true, "severity": "high" } },
        "content_filter_offsets": { "check_offset": 9, "start_offset": 2, "end_offset": 5 },
    }] });
    let next = Arc::new(Notify::new());
    let mut script =
        vec![head(), part("abcdefg"), Step::Until(next.clone()), event(&hit), part("hij")];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (mut hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let mut live = hub.subscribe(events_url(&chat)).await;
    while live.next_event().await.unwrap().json()["content"] != "abcdefg" {}
    next.notify_one();
    let rest: Vec<Value> =
        live.rest().await.iter().filter(|e| !e.is_control()).map(Event::json).collect();
    assert_eq!(kinds(&rest)[..2], ["filter", "redact"]);
    assert_eq!(
        rest[1],
        json!({ "type": "redact", "from_index": 2, "to_index": 5, "replacement": "███" })
    );
    for _ in 0..2 {
        let raw = format!("/streams/{}/events?from=start", chat["stream"].as_str().unwrap());
        assert_eq!(hub.get(&raw).await.0, 403, "as it stands in the journal nobody reads it");
        assert_eq!(text(&whole(&hub, &chat).await), "ab███fghij");
        assert_eq!(view(&hub, &chat).await["text"], "ab███fghij");
        hub.kill();
        hub.start_again().await;
    }
}

#[tokio::test]
async fn an_answer_has_bounds_whatever_its_upstream_makes_of_them() {
    let endless = || {
        std::iter::once(head()).chain((0..500).map(|_| part("abcd"))).chain([Step::Hang]).collect()
    };
    for (flags, ask, most) in [
        (&["--chat-max-tokens", "20"][..], json!({ "message": "hi" }), 20 * 4),
        (&["--chat-max-tokens", "20"], json!({ "message": "hi", "max_tokens": 90 }), 20 * 4),
        (&[], json!({ "message": "hi", "max_tokens": 10 }), 10 * 4),
        (&["--chat-max-output-bytes", "100"], json!({ "message": "hi" }), 100),
    ] {
        let upstream = Upstream::start(vec![endless()]).await;
        let (hub, _folder) = upstream.hub(flags).await;
        let (_, chat) = begin(&hub, ask.clone(), None).await;
        let events = whole(&hub, &chat).await;
        assert_eq!(
            (end(&events)["finish_reason"].clone(), text(&events).len()),
            (json!("length"), most)
        );
        upstream.until_left(1).await;
        let asked =
            ask["max_tokens"].as_u64().map(|asked| asked.min(20)).map_or(Value::Null, Value::from);
        assert_eq!(upstream.asked()[0].body["max_tokens"], asked);
    }
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--chat-total-timeout", "500ms"]).await;
    let chat = begun(&hub).await;
    assert_eq!(end(&whole(&hub, &chat).await)["code"], "timeout");
    upstream.until_left(1).await;
    let (hub, _folder) = upstream.hub(&["--chat-max-request-bytes", "100"]).await;
    let (status, _) = begin(&hub, json!({ "message": "x".repeat(200) }), None).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn an_upstream_that_speaks_slowly_is_not_silent() {
    let mut script = vec![head()];
    for _ in 0..6 {
        script.extend([part("a"), Step::Pause(Duration::from_millis(300))]);
    }
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&["--chat-idle-timeout", "1s"]).await;
    let events = whole(&hub, &begun(&hub).await).await;
    assert_eq!((text(&events).as_str(), end(&events)["type"].as_str()), ("aaaaaa", Some("done")));
}

#[tokio::test]
async fn tools_reasoning_and_refusals_come_as_they_are() {
    let delta = |delta: Value| event(&json!({ "choices": [{ "delta": delta }] }));
    let mut script = vec![
        head(),
        delta(json!({ "reasoning_content": "hm" })),
        delta(
            json!({ "tool_calls": [{ "index": 0, "id": "c1", "function": { "name": "f", "arguments": "" } }] }),
        ),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "1}" } }] })),
        delta(json!({ "refusal": "no" })),
    ];
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    let call = events.iter().find(|event| event["type"] == "tool_call").unwrap();
    assert_eq!(
        call,
        &json!({ "type": "tool_call", "index": 0, "id": "c1", "name": "f", "arguments": "" })
    );
    let view = view(&hub, &chat).await;
    assert_eq!((&view["reasoning"], &view["refusal"]), (&json!("hm"), &json!("no")));
    assert_eq!(view["tool_calls"][0]["function"], json!({ "name": "f", "arguments": "{\"a\":1}" }));
}

#[tokio::test]
async fn the_echo_is_there_without_any_upstream_and_says_what_it_is() {
    let hub = Hub::start(&[]).await;
    let chat = begun(&hub).await;
    let text = text(&whole(&hub, &chat).await);
    assert!(text.contains("no model") && text.ends_with("hi"), "{text}");
    let (status, problem) = begin(&hub, json!({ "message": "hi", "model": "gpt" }), None).await;
    assert_eq!((status, &problem["field"]), (404, &json!("model")));
    assert_eq!(hub.metric("fanfare_chats_refused_total{reason=\"not_found\"}").await, 1.0);
}

#[tokio::test]
async fn a_post_answers_with_the_chat_itself_and_goes_on_with_it() {
    let next = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![told(&["a", "b", "c"], &next)]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let post = async |headers: &[(&str, &str)]| {
        Reader::request(&hub.address, "POST /chat", headers, r#"{"message":"hi"}"#).await.unwrap()
    };
    let mut reader = post(&[]).await;
    let place = reader.headers["content-location"].clone();
    assert!(place.starts_with("/chats/") && reader.headers["content-type"] == "text/event-stream");
    let first = reader.next().await.unwrap();
    assert_eq!(first.json()["type"], "start", "nothing of another kind stands before it");
    while reader.next().await.unwrap().json()["type"] != "token" {}
    let last = reader.last_id().to_owned();
    drop(reader);
    let mut again = post(&[("Last-Event-ID", &last)]).await;
    assert_eq!(again.headers["content-location"], place);
    let mut said = String::new();
    loop {
        next.notify_one();
        let event = again.next().await.unwrap().json();
        said.push_str(event["content"].as_str().unwrap_or_default());
        if event["type"] == "done" {
            break;
        }
    }
    assert_eq!(said, "bc");
    assert!(again.next().await.is_none(), "and it ends");
    assert_eq!(upstream.asked().len(), 1);
    for gone in ["00000000-0000000000000001", "nonsense"] {
        assert_eq!(post(&[("Last-Event-ID", gone)]).await.status, 410, "{gone}");
    }
    let url = hub.url(&place);
    assert_eq!(hub.http.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(post(&[("Last-Event-ID", &last)]).await.status, 410, "it is deleted");
    assert_eq!(upstream.asked().len(), 1, "it never begins one");
}

#[tokio::test]
async fn what_is_deleted_is_stopped_and_gone() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let (_, chat) = begin(&hub, json!({ "message": "hi" }), Some("k")).await;
    let mut reader = hub.subscribe(events_url(&chat)).await;
    while reader.next_event().await.unwrap().json()["type"] != "token" {}
    let url = hub.url(&format!("/chats/{}", chat["id"].as_str().unwrap()));
    assert_eq!(hub.http.delete(&url).send().await.unwrap().status(), 204);
    upstream.until_left(1).await;
    let rest: Vec<Event> = reader.rest().await;
    let cancelled =
        rest.iter().find(|event| !event.is_control() && event.json()["type"] == "cancelled");
    assert_eq!(cancelled.unwrap().json()["by"], "deleted");
    assert_eq!(hub.get(&format!("/chats/{}", chat["id"].as_str().unwrap())).await.0, 410);
    let stream = chat["stream"].as_str().unwrap();
    assert_eq!(hub.get(&format!("/streams/{stream}")).await.0, 404);
    let (status, _) = begin(&hub, json!({ "message": "hi" }), Some("k")).await;
    assert_eq!(status, 410, "its key begins nothing");
}

#[tokio::test]
async fn a_chat_is_deleted_a_while_after_its_end() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (mut hub, _folder) = upstream.hub(&["--chat-kept", "1s"]).await;
    for restarts in [false, true] {
        let chat = begun(&hub).await;
        whole(&hub, &chat).await;
        if restarts {
            hub.kill();
            hub.start_again().await;
        }
        let gone = async {
            while hub.get(&format!("/streams/{}", chat["stream"].as_str().unwrap())).await.0 != 404
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it stays");
    }
}

#[tokio::test]
async fn a_hub_that_stops_lets_chats_end_and_ends_those_that_do_not() {
    let next = Arc::new(Notify::new());
    let scripts = vec![told(&["a"], &next), vec![head(), part("b"), Step::Hang]];
    let upstream = Upstream::start(scripts).await;
    let (mut hub, _folder) = upstream.hub(&["--drain", "2s"]).await;
    let (one, two) = (begun(&hub).await, begun(&hub).await);
    upstream.until_asked(2).await;
    hub.terminate();
    next.notify_one();
    assert!(hub.ended().await.success());
    hub.start_again().await;
    let mut ends = Vec::new();
    for chat in [&one, &two] {
        let events = whole(&hub, chat).await;
        ends.push((text(&events), end(&events)["type"].clone(), end(&events)["code"].clone()));
    }
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ends[0], ("a".into(), json!("done"), Value::Null));
    assert_eq!(ends[1], ("b".into(), json!("error"), json!("hub_restarted")));
}

#[tokio::test]
async fn an_upstream_that_nobody_listens_for_is_tried_three_times_and_waits_are_as_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("[chat.upstream.gone]\nurl = \"http://{gone}\"\nmodels = [\"m\"]\n");
    std::fs::write(&config, text).unwrap();
    let hub = Hub::start(&["--config", config.to_str().unwrap()]).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    assert_eq!(end(&events)["code"], "upstream_error");
    let refused = "fanfare_chat_attempts_total{result=\"refused_for_now\"}";
    assert_eq!(hub.metric(refused).await, 3.0);
    let busy = status(429, "Retry-After: 1\r\n", r#"{"error":{"message":"busy"}}"#);
    let upstream = Upstream::start(vec![busy, answer(&["a"])]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    let retrying = events.iter().find(|event| event["state"] == "retrying").unwrap();
    let said = json!([retrying["attempt"], retrying["after_ms"], retrying["reason"]]);
    assert_eq!(said, json!([2, 1000, "busy"]));
    let took = "fanfare_chat_first_token_seconds_count";
    assert_eq!(
        (hub.metric(took).await, hub.metric("fanfare_chat_tokens_total").await),
        (1.0, 11.0)
    );
}

/// A hub whose upstream has a key, of this kind.
async fn hub_with_key(upstream: &Upstream, kind: &str) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("fanfare.toml");
    let address = &upstream.address;
    // Whatever the tests run in has this.
    let text = format!(
        "[chat.upstream.a]\nurl = \"http://{address}\"\nmodels = [\"m\"]\napi-key-env = \"PATH\"\n{kind}"
    );
    std::fs::write(&config, text).unwrap();
    (Hub::start(&["--config", config.to_str().unwrap()]).await, folder)
}

#[tokio::test]
async fn the_hubs_key_goes_to_its_upstream_as_that_wants_it_and_to_nobody_else() {
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
        assert_eq!(text(&whole(&hub, &begun(&hub).await).await), "a");
        let asked = &upstream.asked()[0];
        assert_eq!(asked.line, line);
        assert!(asked.head.contains(&header.to_lowercase()), "{}", asked.head);
        for code in ["upstream_auth", "upstream_error"] {
            let events = whole(&hub, &begun(&hub).await).await;
            assert_eq!(end(&events)["code"], code);
            assert!(!json!(events).to_string().contains(&key), "{events:?}");
        }
        assert!(!hub.log().contains(&key));
    }
}

#[tokio::test]
async fn a_deletion_goes_on_where_its_client_does_not_wait_and_is_one_however_often_it_is_asked() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&[]).await;
    for leaves in [true, false] {
        let chat = begun(&hub).await;
        let path = format!("/chats/{}", chat["id"].as_str().unwrap());
        if leaves {
            let request = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address);
            let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
            drop(socket);
        } else {
            let delete = || hub.http.delete(hub.url(&path)).send();
            let all = futures_util::future::join_all((0..5).map(|_| delete())).await;
            let all: Vec<u16> = all.into_iter().map(|one| one.unwrap().status().as_u16()).collect();
            assert!(all.iter().all(|status| [204, 410].contains(status)), "{all:?}");
        }
        let gone = async {
            while hub.get(&path).await.0 != 410 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it stays");
    }
    let mut records = hub.subscribe("/streams/hub.chats/events?from=start&follow=false").await;
    let deleted = records.rest().await;
    let deleted = deleted.iter().filter(|e| !e.is_control() && e.json()["type"] == "deleted");
    assert_eq!(deleted.count(), 2);
}

#[tokio::test]
async fn what_is_asked_is_kept_where_that_is_wanted_and_a_frame_is_never_large() {
    let long = "é".repeat(50_000);
    let upstream = Upstream::start(vec![answer(&[&long])]).await;
    let (hub, _folder) = upstream.hub(&["--chat-keep-prompts"]).await;
    let chat = begun(&hub).await;
    let events = whole(&hub, &chat).await;
    assert_eq!(events[0]["messages"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!(text(&events), long);
    let tokens = events.iter().filter(|event| event["type"] == "token");
    let largest = tokens.map(|token| token["content"].as_str().unwrap().len()).max();
    assert!(largest <= Some(16 * 1024), "{largest:?}");
}

#[tokio::test]
async fn a_chat_that_the_journals_cap_has_taken_is_gone_and_not_a_shorter_one() {
    let words: Vec<String> = (0..200).map(|n| format!("{n} {} ", "x".repeat(400))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut script = vec![head()];
    script
        .extend(words.iter().flat_map(|word| [part(word), Step::Pause(Duration::from_millis(30))]));
    script.extend(done());
    let upstream = Upstream::start(vec![script]).await;
    let (mut hub, _folder) = upstream.hub(&["--journal-max-bytes", "200KiB"]).await;
    let chat = begun(&hub).await;
    whole(&hub, &chat).await;
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    let filler = "y".repeat(4_000);
    let mut answers = Vec::new();
    while answers.last() != Some(&410) {
        answers.push(hub.get(&path).await.0);
        hub.publish("filler", &filler).await;
        assert!(answers.len() < 400, "it is never gone");
    }
    assert!(answers.iter().all(|status| [200, 410].contains(status)), "{answers:?}");
    for _ in 0..100 {
        hub.publish("filler", &filler).await;
    }
    assert_eq!(hub.subscribe(events_url(&chat)).await.status, 410, "nobody waits for it");
    hub.kill();
    hub.start_again().await;
    let gone = async {
        while hub.get(&format!("/streams/{}", chat["stream"].as_str().unwrap())).await.0 != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nobody deletes it");
}
