//! Requirements 33 and 34: discovery, and pages of other origins.

use super::{HUB, URL, all_tokens, send, start, start_with};
use crate::hub::Hub;
use serde_json::{Value, json};

const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

#[tokio::test]
async fn r33_the_hub_describes_itself() {
    let hub = start().await;
    let answer = send(&hub, "GET", METADATA, &[], "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.header("link"), format!("<{URL}>; rel=\"mercure\""));
    let expected = json!({
        "resource": URL,
        "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
        "bearer_methods_supported": ["header"],
        "mercure_cookie": "__Secure-mercure_access_token",
        "mercure_matcher_types_supported": ["exact", "urlpattern"],
    });
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), expected);
    let old = Hub::start(&["--mercure", "0.x"]).await;
    assert_eq!(send(&old, "GET", METADATA, &[], "").await.status, 404);
}

#[tokio::test]
async fn r34_pages_of_allowed_origins_may_read_and_send_credentials() {
    let hub = start_with(&["--cors-origin", "https://app.example"]).await;
    let origin = ("Origin", "https://app.example");
    let path = format!("{HUB}?match=a&last_event_id=earliest");
    let answer = send(&hub, "GET", &path, &[origin, ("Accept", "text/event-stream")], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    let exposed = answer.header("access-control-expose-headers").to_lowercase();
    for name in ["link", "mercure-last-event-id", "last-event-id"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}: {exposed}");
    }
    for method in ["GET", "POST", "QUERY"] {
        let headers = [
            origin,
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "authorization,cache-control,last-event-id"),
        ];
        let answer = send(&hub, "OPTIONS", HUB, &headers, "").await;
        assert_eq!(answer.status, 200, "{method}");
        let allowed = answer.header("access-control-allow-methods");
        assert!(allowed.contains(method), "{allowed}");
    }
    let evil = [("Origin", "https://evil.example"), ("Accept", "text/event-stream")];
    let answer = send(&hub, "GET", &path, &evil, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let any = start_with(&["--cors-origin", "*"]).await;
    let bearer = format!("Bearer {}", all_tokens()[0]);
    let headers = [origin, ("Authorization", bearer.as_str()), ("Accept", "text/event-stream")];
    let answer = send(&any, "GET", &path, &headers, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}
