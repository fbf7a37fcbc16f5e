//! Key sets that are fetched from an identity provider.

use crate::credentials::{READ, in_seconds, send_with_bearer};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reload::{RELOADED, reader};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// An identity provider that serves a key set and counts the requests.
struct Issuer {
    url: String,
    set: Arc<Mutex<Option<Value>>>,
    requests: Arc<AtomicUsize>,
}

const SECRETS: [&str; 2] =
    ["one secret that is long enough to be", "another one that is long enough too"];

/// Returns [`key_set`] with a member in each key that does not affect what it verifies.
fn key_set_with_more(names: &[(&str, usize)]) -> Value {
    let mut set = key_set(names);
    for key in set["keys"].as_array_mut().unwrap() {
        key["x5t"] = json!("dGh1bWI");
    }
    set
}

/// Returns a set with a key for each of these names, with the secret at its index.
fn key_set(names: &[(&str, usize)]) -> Value {
    use base64::Engine as _;
    let encode = |secret: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    let keys: Vec<Value> = names
        .iter()
        .map(|(name, index)| json!({ "kty": "oct", "kid": name, "alg": "HS256", "k": encode(SECRETS[*index]) }))
        .collect();
    json!({ "keys": keys })
}

impl Issuer {
    async fn start(set: Option<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (set, requests) = (Arc::new(Mutex::new(set)), Arc::new(AtomicUsize::new(0)));
        let (response, request_count) = (set.clone(), requests.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = [0; 2048];
                let _ = socket.read(&mut head).await;
                request_count.fetch_add(1, Ordering::SeqCst);
                let body = response.lock().unwrap().as_ref().map(ToString::to_string);
                let (status, body) = match body {
                    Some(body) => ("200 OK", body),
                    None => ("503 Busy", String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, set, requests }
    }
}

fn token(kid: &str, secret: usize) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
    let claims =
        json!({ "exp": in_seconds(600), "sub": "ann", "fanfare": { "subscribe": ["a.**"] } });
    let key = EncodingKey::from_secret(SECRETS[secret].as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_key_set_is_fetched_again_for_unknown_keys_at_a_bounded_rate() {
    let issuer = Issuer::start(Some(key_set(&[("k1", 0)]))).await;
    let hub = Hub::start(&["--jwks", &issuer.url]).await;
    let read_request = || (Method::GET, READ);
    assert_eq!(send_with_bearer(&hub, read_request(), &token("k1", 0)).await.0, 200);
    assert_eq!(send_with_bearer(&hub, read_request(), &token("k1", 1)).await.0, 401);
    assert_eq!(issuer.requests.load(Ordering::SeqCst), 1, "a known key needs no fetch");
    let mut live = reader(&hub, &token("k1", 0)).await;
    *issuer.set.lock().unwrap() = Some(key_set_with_more(&[("k1", 0), ("k2", 1)]));
    let started = Instant::now();
    while send_with_bearer(&hub, read_request(), &token("k2", 1)).await.0 != 200 {
        assert!(started.elapsed() < TEST_TIMEOUT, "the new key is not fetched");
        for n in 0..50 {
            assert_eq!(
                send_with_bearer(&hub, read_request(), &token(&format!("no{n}"), 1)).await.0,
                401
            );
        }
    }
    // The first fetch, and one for each 10 seconds that have begun.
    let max_requests = 2 + started.elapsed().as_secs() as usize / 10;
    let requests = issuer.requests.load(Ordering::SeqCst);
    assert!((2..=max_requests).contains(&requests), "{requests} of {max_requests}");
    hub.reload();
    hub.wait_for_log(RELOADED, 1).await;
    assert_eq!(send_with_bearer(&hub, read_request(), &token("k1", 0)).await.0, 200);
    // A reload keeps the fetched keys even if the issuer is unavailable.
    *issuer.set.lock().unwrap() = None;
    hub.reload();
    hub.wait_for_log(RELOADED, 2).await;
    assert_eq!(send_with_bearer(&hub, read_request(), &token("k2", 1)).await.0, 200);
    // Removing a key from the set ends its sessions.
    *issuer.set.lock().unwrap() = Some(key_set(&[("k2", 1)]));
    hub.reload();
    hub.wait_for_log(RELOADED, 3).await;
    assert_eq!(live.next().await.unwrap().json()["code"], "token_revoked");
    assert_eq!(send_with_bearer(&hub, read_request(), &token("k1", 0)).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_reloads_do_not_multiply_the_retries_of_a_fetch() {
    const RELOADS: usize = 20;
    let issuer = Issuer::start(None).await;
    let hub = Hub::start(&["--jwks", &issuer.url]).await;
    for n in 1..=RELOADS {
        hub.reload();
        hub.wait_for_log(RELOADED, n).await;
    }
    let request_count = || issuer.requests.load(Ordering::SeqCst);
    // Each reload starts a fetch and does not wait for it.
    let started = Instant::now();
    while request_count() < 1 + RELOADS {
        assert!(started.elapsed() < TEST_TIMEOUT, "only {} fetches", request_count());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The fetch fails and is retried every 10 seconds, by the last reload only.
    let started = Instant::now();
    while request_count() < 1 + RELOADS + 2 {
        assert!(started.elapsed() < TEST_TIMEOUT, "the fetch is not retried");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rounds = 1 + started.elapsed().as_secs() as usize / 10;
    assert!(
        request_count() - 1 - RELOADS <= rounds,
        "{} fetches in {rounds} rounds",
        request_count()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_with_an_unavailable_key_set_starts_and_is_not_ready() {
    let issuer = Issuer::start(None).await;
    let hub = Hub::start(&["--jwks", &issuer.url]).await;
    let (status, ready) = hub.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["keys"]["ok"]), (503, &json!(false)));
    assert_eq!(send_with_bearer(&hub, (Method::GET, READ), &token("k1", 0)).await.0, 401);
    *issuer.set.lock().unwrap() = Some(key_set(&[("k1", 0)]));
    let started = Instant::now();
    while send_with_bearer(&hub, (Method::GET, READ), &token("k1", 0)).await.0 != 200 {
        assert!(started.elapsed() < TEST_TIMEOUT, "the fetch is not retried");
    }
    hub.wait_until_ready().await;
}
