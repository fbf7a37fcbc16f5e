//! Credentials that one hub of a cluster revokes.

use super::fixture::Cluster;
use crate::credentials::{READ, SECRET, claims, file_with_keys, send_with_bearer, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// Sends a request about revocations as admin.
async fn change(hub: &Hub, method: Method) -> u16 {
    let request = hub.http.request(method, hub.url("/revocations")).bearer_auth("admin-secret");
    let body = json!({ "sub": "ann" }).to_string();
    let request = request.header("Content-Type", "application/json").body(body);
    request.send().await.unwrap().status().as_u16()
}

async fn wait_for_status(hub: &Hub, token: &str, status: u16) {
    let began = Instant::now();
    loop {
        let found =
            send_with_bearer(hub, (Method::GET, "/streams/a.b/events?follow=false"), token).await.0;
        if found == status {
            return;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_credential_that_one_hub_revokes_is_refused_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let config = file_with_keys(folder.path(), &[("ops", "admin-secret", "admin = true")]);
    let mut cluster = Cluster::with_flags(&["--config", &config, "--jwt-secret", SECRET]).await;
    let token = signed_token(&claims());
    for hub in &cluster.hubs {
        wait_for_status(hub, &token, 200).await;
    }
    // One of the hubs is away meanwhile.
    cluster.hubs[2].stop().await;
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let mut reader = Reader::connect(&cluster.hubs[1].address, READ, &headers).await.unwrap();
    reader.open().await;
    assert_eq!(change(&cluster.hubs[0], Method::POST).await, 200);
    let end = reader.rest().await.pop().expect("a last event");
    assert_eq!(end.json()["code"], "token_revoked", "{end:?}");
    cluster.hubs[2].restart().await;
    for hub in &cluster.hubs {
        wait_for_status(hub, &token, 401).await;
    }
    // Another hub removes the revocation.
    assert_eq!(change(&cluster.hubs[2], Method::DELETE).await, 204);
    for hub in &cluster.hubs {
        wait_for_status(hub, &token, 200).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_ticket_is_accepted_by_all_hubs() {
    let folder = tempfile::tempdir().unwrap();
    let config = file_with_keys(folder.path(), &[("ops", "admin-secret", "admin = true")]);
    let mut cluster = Cluster::with_flags(&["--config", &config, "--jwt-secret", SECRET]).await;
    let request = cluster.hubs[0].http.post(cluster.hubs[0].url("/tickets"));
    let request =
        request.bearer_auth(signed_token(&claims())).header("Content-Type", "application/json");
    let answer = request.body(json!({ "streams": ["a.b"] }).to_string()).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let ticket = answer["ticket"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let path = format!("/streams/a.b/events?follow=false&ticket={ticket}");
    // A hub without its own key uses that of the cluster.
    cluster.hubs[2].stop().await;
    std::fs::remove_file(cluster.hubs[2].data.join("tickets.key")).unwrap();
    cluster.hubs[2].restart().await;
    for hub in &cluster.hubs {
        assert_eq!(hub.get(&path).await.0, 200, "at each hub");
    }
}
