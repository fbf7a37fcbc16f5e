//! Connections to upstreams that are closed when they would be used again.

use crate::chat::{begun, end, text, whole};
use crate::completions::{ask, post};
use crate::upstream::{Script, Step, Upstream, answer, done, part, say};
use serde_json::{Value, json};

/// An answer after which its connection stays open for another request.
fn answer_and_stay(text: &str) -> Script {
    let bytes = |step| match step {
        Step::Say(bytes) => bytes,
        _ => Vec::new(),
    };
    let body: Vec<u8> = [vec![part(text)], done()].concat().into_iter().flat_map(bytes).collect();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    vec![say(head), Step::Say(body), Step::NextRequest]
}

fn usage(events: &[Value]) -> &Value {
    events.iter().find(|event| event["type"] == "usage").unwrap()
}

#[tokio::test]
async fn a_connection_that_would_die_when_it_is_used_again_is_not_used_again() {
    // It would be closed, and it would be reset.
    for dies in [vec![], vec![Step::Reset]] {
        let first = [answer_and_stay("a"), dies].concat();
        let upstream = Upstream::start(vec![first, answer(&["b"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        assert_eq!(text(&whole(&hub, &begun(&hub).await).await), "a");
        let events = whole(&hub, &begun(&hub).await).await;
        let ended = (text(&events), end(&events)["type"].clone());
        assert_eq!(ended, ("b".to_owned(), json!("done")), "{events:?}");
        assert_eq!(upstream.asked().len(), 2);
        assert_eq!(usage(&events)["attempts"], 1);
        assert!(events.iter().all(|event| event["state"] != "retrying"), "{events:?}");
    }
}

#[tokio::test]
async fn a_client_of_openai_is_not_told_of_a_connection_that_died_idle() {
    for is_stream in [true, false] {
        let upstream = Upstream::start(vec![answer_and_stay("a"), answer(&["b"])]).await;
        let (hub, _folder) = upstream.hub(&[]).await;
        whole(&hub, &begun(&hub).await).await;
        let (status, _, body) = post(&hub, &ask(is_stream), &[]).await;
        assert_eq!(status, 200, "{body}");
    }
}
