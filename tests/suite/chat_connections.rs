//! Connections to upstreams that would be closed or reset on reuse.

use crate::chat::{all_events, end, start_chat, text};
use crate::completions::{chat_request, post};
use crate::upstream::{Script, Step, Upstream, answer, done, part, send_text};
use serde_json::{Value, json};

/// Returns an answer whose connection stays open for another request.
fn answer_and_stay(text: &str) -> Script {
    let bytes = |step| match step {
        Step::Send(bytes) => bytes,
        _ => Vec::new(),
    };
    let body: Vec<u8> = [vec![part(text)], done()].concat().into_iter().flat_map(bytes).collect();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    vec![send_text(head), Step::Send(body), Step::NextRequest]
}

fn usage(events: &[Value]) -> &Value {
    events.iter().find(|event| event["type"] == "usage").unwrap()
}

#[tokio::test]
async fn a_connection_that_would_fail_on_reuse_is_not_reused() {
    // On reuse the connection would be closed, or reset.
    for last_steps in [vec![], vec![Step::Reset]] {
        let first = [answer_and_stay("a"), last_steps].concat();
        let upstream = Upstream::start(vec![first, answer(&["b"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        assert_eq!(text(&all_events(&hub, &start_chat(&hub).await).await), "a");
        let events = all_events(&hub, &start_chat(&hub).await).await;
        let outcome = (text(&events), end(&events)["type"].clone());
        assert_eq!(outcome, ("b".to_owned(), json!("done")), "{events:?}");
        assert_eq!(upstream.requests().len(), 2);
        assert_eq!(usage(&events)["attempts"], 1);
        assert!(events.iter().all(|event| event["state"] != "retrying"), "{events:?}");
    }
}

#[tokio::test]
async fn openai_clients_get_no_error_from_a_dead_idle_connection() {
    for is_stream in [true, false] {
        let upstream = Upstream::start(vec![answer_and_stay("a"), answer(&["b"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        all_events(&hub, &start_chat(&hub).await).await;
        let (status, _, body) = post(&hub, &chat_request(is_stream), &[]).await;
        assert_eq!(status, 200, "{body}");
    }
}
