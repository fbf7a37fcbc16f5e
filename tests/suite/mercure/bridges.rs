//! Streams as topics, and updates as a stream.

use super::{
    ISSUER, URL, access_token, claims, publish_id, start, start_with, subscribe, subscribe_as,
};
use crate::credentials::{SECRET, file_with_keys};
use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::json;

#[tokio::test]
async fn a_topic_selects_the_stream_of_its_name() {
    let hub = start_with(&["--mercure-streams", "on", "--anonymous", "publish"]).await;
    for (name, id) in [("match", "last_event_id"), ("topic", "lastEventID")] {
        let mut reader = subscribe(&hub, &[(name, "deploys")], &[]).await;
        hub.publish("deploys", "by stream").await;
        publish_id(&hub, &[("topic", "deploys"), ("data", "by topic")]).await;
        hub.publish("other", "of another stream").await;
        hub.publish("deploys", "last").await;
        let first = reader.next().await.unwrap();
        assert_eq!(first.data, "by stream");
        assert_eq!(reader.next().await.unwrap().data, "by topic");
        assert_eq!(reader.next().await.unwrap().data, "last");
        assert!(first.id.starts_with('#'), "{first:?}");
        // Its id is one to resume with.
        let mut resumed = subscribe(&hub, &[(name, "deploys"), (id, &first.id)], &[]).await;
        assert_eq!(resumed.next().await.unwrap().data, "by topic");
    }
    let closed = Hub::start(&[
        "--mercure",
        "1.0",
        "--mercure-url",
        URL,
        "--jwt-secret",
        SECRET,
        "--jwt-issuer",
        ISSUER,
        "--mercure-streams",
        "on",
        "--anonymous",
        "publish",
    ])
    .await;
    let mut claims = claims();
    claims["fanfare"] = json!({ "subscribe": ["own.*"], "publish": ["**"] });
    let parameters = [("match", "own.1"), ("match", "other.1"), ("match", "own.2")];
    let mut reader = subscribe_as(&closed, &access_token(&claims), &parameters).await;
    for stream in ["own.1", "other.1", "own.2"] {
        closed.publish(stream, stream).await;
    }
    assert_eq!(reader.next().await.unwrap().data, "own.1");
    assert_eq!(reader.next().await.unwrap().data, "own.2");
    // Each matcher may be the name of a stream.
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let parameters: Vec<_> = names.iter().map(|name| ("match", name.as_str())).collect();
    let mut reader = subscribe(&hub, &parameters, &[]).await;
    hub.publish("99", "x").await;
    assert_eq!(reader.next().await.unwrap().data, "x");
    let off = start().await;
    let mut reader = subscribe(&off, &[("match", "deploys"), ("match", "last")], &[]).await;
    off.http.post(off.url("/streams/deploys/events")).body("x").send().await.unwrap();
    publish_id(&off, &[("topic", "last"), ("data", "last")]).await;
    assert_eq!(reader.next().await.unwrap().data, "last");
}

#[tokio::test]
async fn admins_read_updates_as_a_stream_if_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file_with_keys(folder.path(), &[("ops", "admin-secret", "admin = true")]);
    let read = async |hub: &Hub, credential: &str| {
        let path = "/streams/hub.mercure/events?from=start&control=off";
        let bearer = format!("Bearer {credential}");
        Reader::connect(&hub.address, path, &[("Authorization", &bearer)]).await.unwrap()
    };
    let hub = start_with(&["--config", &keys, "--mercure-updates", "on"]).await;
    publish_id(
        &hub,
        &[("topic", "a"), ("topic", "b"), ("private", ""), ("id", "i"), ("data", "1\n2")],
    )
    .await;
    let mut reader = read(&hub, "admin-secret").await;
    let event = reader.next().await.unwrap();
    let expected = json!({ "topics": ["a", "b"], "private": true, "id": "i", "data": "1\n2" });
    assert_eq!((event.name.as_str(), event.json()), ("update", expected));
    assert_eq!(hub.get("/streams/hub.mercure/events").await.0, 403);
    let off = start_with(&["--config", &keys]).await;
    assert_eq!(read(&off, "admin-secret").await.status, 403);
}
