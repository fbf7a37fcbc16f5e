//! Tickets, for EventSource clients, which cannot send headers.

use crate::credentials::{
    READ, SECRET, change_char, claims, file_with_keys, send_request, send_with_bearer, signed_token,
};
use crate::hub::Hub;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

async fn create_ticket(hub: &Hub, credential: &str, body: Value) -> (u16, Value) {
    let request = hub.http.post(hub.url("/tickets")).bearer_auth(credential);
    let response = request.body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

/// Starts a hub with the keys of a page and of an admin, and a key that only publishes.
async fn hub_with_keys(folder: &TempDir) -> Hub {
    let keys = [
        ("page", "p", "subscribe = [\"a.**\"]\npublish = [\"a.**\"]"),
        ("admin", "adm", "subscribe = [\"**\"]\npublish = [\"**\"]\nadmin = true"),
        ("mute", "m", "publish = [\"a.**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    Hub::start(&["--config", &file]).await
}

#[tokio::test]
async fn a_ticket_reads_within_its_makers_grants_and_allows_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with_keys(&folder).await;
    let long: Vec<String> = (0..100).map(|n| format!("a.{n}.{}", "x".repeat(200))).collect();
    for (credential, body, status) in [
        ("p", json!({ "streams": ["b"] }), 403),
        ("m", json!({ "streams": ["a.x"] }), 403),
        ("p", json!({ "streams": ["hub.**"] }), 403),
        ("p", json!({ "streams": [] }), 422),
        ("p", json!({ "streams": ["a**"] }), 422),
        ("p", json!({ "streams": ["a.x"], "ttl": "2h" }), 422),
        ("p", json!({ "streams": ["a.x"], "ttl": "0s" }), 422),
        ("p", json!({ "streams": ["a.x"], "ttl": "soon" }), 422),
        ("p", json!({ "streams": "a.x" }), 400),
        ("p", json!({ "streams": ["a.x"], "admin": true }), 400),
        ("p", json!([]), 400),
        ("x", json!({ "streams": ["a.x"] }), 401),
        ("p", json!({ "streams": long }), 422),
    ] {
        assert_eq!(
            create_ticket(&hub, credential, body.clone()).await.0,
            status,
            "{body} by {credential}"
        );
    }
    let (status, ticket) = create_ticket(&hub, "p", json!({ "streams": ["**"] })).await;
    assert_eq!(status, 200, "{ticket}");
    assert!(ticket["expires_at"].as_str().unwrap().ends_with('Z'), "{ticket}");
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    let (get, post) = (Method::GET, Method::POST);
    for (request, expected) in [
        ((get.clone(), "/streams/a.x/events?"), 200),
        ((get.clone(), "/events?stream=**&"), 200),
        ((get.clone(), "/streams/b/events?"), 403),
        ((get.clone(), "/events?stream=hub.**&"), 403),
        ((get.clone(), "/metrics?"), 403),
        ((post.clone(), "/streams/a.x/events?"), 403),
        ((post.clone(), "/tickets?"), 403),
        ((Method::DELETE, "/streams/a.x?"), 403),
    ] {
        let path = format!("{}ticket={ticket}", request.1);
        let (status, ..) = send_request(&hub, (request.0.clone(), &path), &[]).await;
        assert_eq!(status, expected, "{request:?}");
    }
    let token = signed_token(&claims());
    for path in [
        format!("{READ}?ticket="),
        format!("{READ}?ticket=x"),
        format!("{READ}?ticket={token}"),
        format!("{READ}?ticket={ticket}&ticket={ticket}"),
        format!("{READ}?ticket={}", change_char(&ticket, ticket.len() / 2)),
    ] {
        assert_eq!(send_request(&hub, (Method::GET, &path), &[]).await.0, 401, "{path}");
    }
    let both = format!("{READ}?ticket={ticket}");
    assert_eq!(
        send_with_bearer(&hub, (Method::GET, &both), "p").await.0,
        401,
        "one credential at a time"
    );
    assert_eq!(
        send_with_bearer(&hub, (Method::GET, READ), &ticket).await.0,
        401,
        "tickets go in the query"
    );
}

#[tokio::test]
async fn a_ticket_is_narrowed_to_its_makers_grants_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_keys(&folder).await;
    let (_, ticket) = create_ticket(&hub, "p", json!({ "streams": ["**"] })).await;
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    // The session gets only the streams that the ticket is narrowed to.
    let mut reader = hub.subscribe(&format!("/events?stream=**&ticket={ticket}")).await;
    reader.open().await;
    for stream in ["b", "a.x"] {
        let path = hub.url(&format!("/streams/{stream}/events"));
        hub.http.post(path).bearer_auth("adm").body(stream).send().await.unwrap();
    }
    assert_eq!(reader.take(1).await[0].data, "a.x");
    let (_, admin_ticket) = create_ticket(&hub, "adm", json!({ "streams": ["hub.**"] })).await;
    let path = format!("/events?stream=hub.*&ticket={}", admin_ticket["ticket"].as_str().unwrap());
    assert_eq!(
        send_request(&hub, (Method::GET, &path), &[]).await.0,
        200,
        "a ticket of an admin may read `hub.**`"
    );
    hub.kill();
    hub.restart().await;
    assert_eq!(send_request(&hub, (Method::GET, &path), &[]).await.0, 200, "it survives a restart");
    let mode = std::fs::metadata(hub.data.join("tickets.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}

#[tokio::test]
async fn an_eventsource_that_used_its_ticket_in_time_can_reconnect_with_it() {
    let hub = Hub::start(&["--jwt-secret", SECRET]).await;
    let token = signed_token(&claims());
    let publish = async |text: &'static str| -> String {
        let response =
            hub.http.post(hub.url(READ)).bearer_auth(&token).body(text).send().await.unwrap();
        let receipt: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        receipt["id"].as_str().unwrap().to_owned()
    };
    let before = publish("before").await;
    let last = publish("last").await;
    let (_, ticket) = create_ticket(&hub, &token, json!({ "streams": ["a.x"], "ttl": "1s" })).await;
    let path = format!("{READ}?ticket={}", ticket["ticket"].as_str().unwrap());
    let mut reader = hub.subscribe(&path).await;
    assert_eq!(reader.open().await["resume"], "live");
    // The ticket expires for new connections.
    let started = std::time::Instant::now();
    while send_request(&hub, (Method::GET, &path), &[]).await.0 == 200 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let after = publish("after").await;
    assert_eq!(reader.take(1).await[0].id, after, "the session continues");
    for (id, status) in [(&after, 200), (&last, 200), (&before, 401)] {
        let headers = [("Last-Event-ID", id.as_str())];
        assert_eq!(send_request(&hub, (Method::GET, &path), &headers).await.0, status, "{id}");
        let in_query = format!("{path}&last_event_id={id}");
        assert_eq!(
            send_request(&hub, (Method::GET, &in_query), &[]).await.0,
            status,
            "{id} in the query"
        );
        let empty = [("Last-Event-ID", "")];
        let status_with_empty_header = send_request(&hub, (Method::GET, &in_query), &empty).await.0;
        assert_eq!(status_with_empty_header, status, "{id} in the query beside an empty header");
        // A subscription that is too long for a URL is posted.
        let query = in_query.replace(READ, "/events");
        let posted = hub.http.post(hub.url(&query)).body(r#"{"stream":["a.x"]}"#);
        assert_eq!(posted.send().await.unwrap().status(), status, "{id}, posted");
    }
    for unknown_id in
        [format!("ffffffff-{}", &after[9..]), format!("{}-ffffffffffffffff", &after[..8])]
    {
        let headers = [("Last-Event-ID", unknown_id.as_str())];
        assert_eq!(send_request(&hub, (Method::GET, &path), &headers).await.0, 401, "{unknown_id}");
    }
    let list = path.replace(READ, "/streams");
    let headers = [("Last-Event-ID", after.as_str())];
    assert_eq!(
        send_request(&hub, (Method::GET, &list), &headers).await.0,
        401,
        "only a reader reconnects"
    );
}
