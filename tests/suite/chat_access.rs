//! Access to chats: owners, tickets, grants, and the confidentiality of stored content.

use crate::credentials::{SECRET, file_with, in_seconds, signed_token};
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::Reader;
use crate::upstream::{Step, Upstream, answer, head, part};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const USERS: [(&str, &str); 4] = [
    ("ann", "chat = [\"*\"]\nsubscribe = [\"**\", \"chat.**\"]"),
    ("bob", "chat = [\"m\"]\nsubscribe = [\"**\"]"),
    ("root", "admin = true"),
    ("eve", "subscribe = [\"**\"]"),
];

fn secret(user: &str) -> String {
    format!("the secret of {user}, long enough")
}

async fn hub_of(upstream: &Upstream, flags: &[&str]) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let extra = std::fs::read_to_string(upstream.config(folder.path(), "")).unwrap();
    let secrets = USERS.map(|(user, _)| secret(user));
    let keys: Vec<(&str, &str, &str)> = USERS
        .iter()
        .zip(&secrets)
        .map(|((user, grants), secret)| (*user, secret.as_str(), *grants))
        .collect();
    let file = file_with(folder.path(), &keys, &extra);
    let flags: Vec<&str> = [&["--config", &file], flags].concat();
    (Hub::start_in(&folder.path().join("data"), &flags).await, folder)
}

/// Sends a request as `user`, anonymous if empty; returns the status and the response.
async fn send_request(hub: &Hub, user: &str, target: (Method, &str), body: &Value) -> (u16, Value) {
    let request = hub.http.request(target.0, hub.url(target.1));
    let request = if user.is_empty() { request } else { request.bearer_auth(secret(user)) };
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let content_type = response
        .headers()
        .get("content-type")
        .map(|content_type| content_type.to_str().unwrap().to_owned());
    if content_type.as_deref() == Some("text/event-stream") {
        return (status, Value::Null);
    }
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

async fn create_chat(hub: &Hub, user: &str) -> Value {
    let (status, chat) = send_request(
        hub,
        user,
        (Method::POST, "/chats"),
        &json!({ "message": "hi", "model": "m" }),
    )
    .await;
    assert_eq!(status, 201, "{chat}");
    chat
}

#[tokio::test]
async fn chats_of_other_owners_are_reported_as_not_found() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = hub_of(&upstream, &[]).await;
    let chat = create_chat(&hub, "ann").await;
    let id = chat["id"].as_str().unwrap();
    let unknown_id = "0123456789abcdef0123456789abcdef";
    let get = |id_in_path: &str, rest: &str| (Method::GET, format!("/chats/{id_in_path}{rest}"));
    let post = |id_in_path: &str, rest: &str| (Method::POST, format!("/chats/{id_in_path}{rest}"));
    for (user, expected) in [
        ("ann", [200, 200]),
        ("root", [200, 200]),
        ("bob", [404, 404]),
        ("eve", [404, 404]),
        ("", [401, 401]),
    ] {
        for (rest, expected) in ["", "/events"].into_iter().zip(expected) {
            let (_, path) = get(id, rest);
            assert_eq!(
                send_request(&hub, user, (Method::GET, &path), &Value::Null).await.0,
                expected,
                "{user} {path}"
            );
        }
    }
    // A chat of another owner and an unknown id get the same response.
    for (method, rest) in [
        get("", ""),
        get("", "/events"),
        post("", "/stop"),
        post("", "/tickets"),
        (Method::DELETE, "/chats/".into()),
    ] {
        let rest = rest.strip_prefix("/chats/").unwrap().to_owned();
        let (existing, unknown) =
            (format!("/chats/{id}{rest}"), format!("/chats/{unknown_id}{rest}"));
        let existing_response =
            send_request(&hub, "bob", (method.clone(), &existing), &Value::Null).await;
        let unknown_response = send_request(&hub, "bob", (method, &unknown), &Value::Null).await;
        assert_eq!(existing_response, unknown_response, "{rest}");
        assert_eq!(existing_response.0, 404);
    }
}

#[tokio::test]
async fn wildcards_match_no_chat_and_models_require_a_grant() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = hub_of(&upstream, &[]).await;
    let chat = create_chat(&hub, "ann").await;
    let id = chat["id"].as_str().unwrap();
    let stream = format!("/streams/chat.{id}/events");
    for (user, path, expected) in [
        ("ann", stream.as_str(), 200),
        ("root", &stream, 200),
        ("bob", &stream, 403),
        ("eve", &stream, 403),
        ("bob", "/events?stream=chat.**", 403),
        ("ann", "/events?stream=chat.**", 403),
    ] {
        assert_eq!(
            send_request(&hub, user, (Method::GET, path), &Value::Null).await.0,
            expected,
            "{user} {path}"
        );
    }
    for user in ["ann", "bob", "eve", "root"] {
        let (_, listed) = send_request(&hub, user, (Method::GET, "/streams"), &Value::Null).await;
        assert!(!listed.to_string().contains(id), "{user}: {listed}");
        let path = "/events?stream=**&from=start&follow=false&format=ndjson";
        let response = hub.http.get(hub.url(path)).bearer_auth(secret(user)).send().await.unwrap();
        assert!(!response.text().await.unwrap().contains(id), "{user} sees it by a wildcard");
    }
    for (user, model, expected) in
        [("bob", "m", 201), ("bob", "other", 403), ("eve", "m", 403), ("", "m", 401)]
    {
        let body = json!({ "message": "hi", "model": model });
        assert_eq!(
            send_request(&hub, user, (Method::POST, "/chats"), &body).await.0,
            expected,
            "{user} {model}"
        );
    }
    let (_, models) = send_request(&hub, "bob", (Method::GET, "/v1/models"), &Value::Null).await;
    assert_eq!(models["data"].as_array().unwrap().len(), 1, "granted models only");
    let published = json!({ "stream": format!("chat.{id}"), "data": "x" });
    assert_eq!(send_request(&hub, "ann", (Method::POST, "/publish"), &published).await.0, 403);
}

#[tokio::test]
async fn a_ticket_reads_its_chat_and_nothing_else() {
    let upstream = Upstream::start(vec![answer(&["a"]), vec![head(), Step::Hang]]).await;
    let (hub, _folder) = hub_of(&upstream, &[]).await;
    let (chat, other) = (create_chat(&hub, "ann").await, create_chat(&hub, "ann").await);
    let id = chat["id"].as_str().unwrap();
    let ticket = chat["ticket"].as_str().unwrap();
    let with_ticket = |path: &str, ticket: &str| format!("{path}?ticket={ticket}");
    let get = async |path: String| send_request(&hub, "", (Method::GET, &path), &Value::Null).await;
    assert_eq!(get(with_ticket(&format!("/chats/{id}/events"), ticket)).await.0, 200);
    assert_eq!(get(with_ticket(&format!("/chats/{id}"), ticket)).await.1["id"], id);
    let other_id = other["id"].as_str().unwrap();
    assert_eq!(get(with_ticket(&format!("/chats/{other_id}/events"), ticket)).await.0, 404);
    assert_eq!(get(with_ticket(&format!("/chats/{id}/events"), "nonsense")).await.0, 401);
    for path in ["/stop", "/tickets"] {
        let path = with_ticket(&format!("/chats/{id}{path}"), ticket);
        assert_eq!(send_request(&hub, "", (Method::POST, &path), &Value::Null).await.0, 404);
    }
    let response = send_request(
        &hub,
        "",
        (Method::POST, &with_ticket("/chats", ticket)),
        &json!({ "message": "x" }),
    )
    .await;
    assert_eq!(response.0, 403, "a ticket creates no chat");
    let (status, new_ticket) =
        send_request(&hub, "ann", (Method::POST, &format!("/chats/{id}/tickets")), &Value::Null)
            .await;
    assert_eq!(status, 200);
    let new_ticket = new_ticket["ticket"].as_str().unwrap().to_owned();
    assert_ne!(new_ticket, ticket);
    assert_eq!(get(with_ticket(&format!("/chats/{id}/events"), &new_ticket)).await.0, 200);
}

/// Returns the files below a directory that contain one of `texts`.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, texts));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let has = |text: &&str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
            found.extend(texts.iter().any(has).then_some(path));
        }
    }
    found
}

#[tokio::test]
async fn prompts_and_answers_are_not_logged_and_are_stored_encrypted() {
    let words = ["xylophone-of-the-prompt", "marzipan-of-the-answer"];
    let error_answer = crate::upstream::status(400, "", r#"{"error":"marzipan-of-the-answer"}"#);
    let upstream = Upstream::start(vec![answer(&[words[1]]), error_answer]).await;
    let (mut hub, _folder) = hub_of(&upstream, &["--log", "trace"]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({ "message": words[0], "model": "m" });
        let (_, chat) = send_request(&hub, "ann", (Method::POST, "/chats"), &body).await;
        let id = chat["id"].as_str().unwrap().to_owned();
        let request =
            hub.http.get(hub.url(&format!("/chats/{id}/events"))).bearer_auth(secret("ann"));
        assert!(request.send().await.unwrap().text().await.unwrap().contains(words[1]));
        ids.push(id);
    }
    assert_eq!(files_with(&hub.data, &words), Vec::<PathBuf>::new(), "it is encrypted");
    let keys = hub.data.join("stream-keys");
    let holds_keys = || std::fs::read(&keys).unwrap().iter().any(|byte| *byte != 0);
    assert!(holds_keys());
    hub.kill();
    hub.restart().await;
    for id in &ids {
        let path = format!("/chats/{id}");
        let response = send_request(&hub, "ann", (Method::GET, &path), &Value::Null).await;
        assert_eq!(response.0, 200, "it can be read after a restart");
    }
    for id in &ids {
        let path = format!("/chats/{id}");
        assert_eq!(send_request(&hub, "ann", (Method::DELETE, &path), &Value::Null).await.0, 204);
    }
    // A key that was not erased in time is erased by the next start.
    hub.kill();
    hub.restart().await;
    assert!(!holds_keys(), "keys of deleted chats are erased");
    assert_eq!(files_with(&hub.data, &words), Vec::<PathBuf>::new());
    let log = hub.log();
    assert!(!words.iter().any(|word| log.contains(word)), "the log contains it");
}

#[tokio::test]
async fn tokens_without_a_subject_own_chats_by_id_and_tickets_expire_with_their_token() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let flags =
        ["--jwt-secret", SECRET, "--anonymous", "chat,subscribe", "--max-chats-per-subject", "1"];
    let (hub, _folder) = upstream.hub(&flags).await;
    let token = |extra_claims: Value| {
        let mut claims = json!({ "exp": in_seconds(600), "fanfare": { "chat": ["*"] } });
        claims.as_object_mut().unwrap().extend(extra_claims.as_object().unwrap().clone());
        signed_token(&claims)
    };
    let send = async |token: &str, method: Method, path: &str| {
        let request = hub.http.request(method, hub.url(path));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = request.body(r#"{"message":"hi"}"#).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap_or_default())
    };
    assert_eq!(send(&token(json!({})), Method::POST, "/chats").await.0, 403, "no sub, no jti");
    let (first, second) = (token(json!({ "jti": "1" })), token(json!({ "jti": "2" })));
    let (status, chat) = send(&first, Method::POST, "/chats").await;
    assert_eq!(status, 201);
    let path = format!("/chats/{}", chat["id"].as_str().unwrap());
    assert_eq!(send(&first, Method::GET, &path).await.0, 200);
    for other_token in ["", &second, &token(json!({}))] {
        assert_eq!(send(other_token, Method::GET, &path).await.0, 404);
        assert_eq!(send(other_token, Method::POST, &format!("{path}/stop")).await.0, 404);
    }
    let (status, refused) = send(&first, Method::POST, "/chats").await;
    assert_eq!((status, &refused["limit"]), (429, &json!("max_chats_per_subject")));
    let short_lived = token(json!({ "sub": "ann", "exp": in_seconds(3) }));
    let (_, chat) = send(&short_lived, Method::POST, "/chats").await;
    let with_ticket = |chat: &Value| {
        let (id, ticket) = (chat["id"].as_str().unwrap(), chat["ticket"].as_str().unwrap());
        format!("/chats/{id}?ticket={ticket}")
    };
    assert_eq!(send("", Method::GET, &with_ticket(&chat)).await.0, 200);
    let started = Instant::now();
    loop {
        let (status, problem) = send("", Method::GET, &with_ticket(&chat)).await;
        if status == 401 {
            break assert_eq!(problem["code"], "token_expired");
        }
        assert!(status == 200 && started.elapsed() < TEST_TIMEOUT, "{problem}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn anonymous_chats_are_limited_per_address() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let flags = [
        "--anonymous",
        "chat,metrics",
        "--max-chats-per-subject",
        "1",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let (hub, _folder) = upstream.hub(&[&["--jwt-secret", SECRET], &flags[..]].concat()).await;
    let create_chat = async |address: &str| {
        let request = hub.http.post(hub.url("/chats")).header("X-Forwarded-For", address);
        let response = request.body(r#"{"message":"hi"}"#).send().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap(),
        )
    };
    let (status, chat) = create_chat("192.0.2.1").await;
    assert_eq!(status, 201, "{chat}");
    let (status, refused) = create_chat("192.0.2.1").await;
    assert_eq!((status, &refused["limit"]), (429, &json!("max_chats_per_subject")));
    assert_eq!(create_chat("192.0.2.2").await.0, 201, "another address");
    let reason = "fanfare_chats_refused_total{reason=\"max_chats_per_subject\"}";
    assert_eq!(hub.metric(reason).await, 1.0);
}

#[tokio::test]
async fn cookies_start_and_stop_chats_only_for_pages_of_the_hub() {
    let upstream = Upstream::start(vec![answer(&["a"])]).await;
    let (hub, _folder) = hub_of(&upstream, &[]).await;
    let login = hub.http.post(hub.url("/session")).bearer_auth(secret("ann")).send().await.unwrap();
    let cookie =
        login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let post = async |path: &str, site: &str| {
        let request = hub.http.post(hub.url(path)).header("Cookie", &cookie);
        let request = request.header("Sec-Fetch-Site", site);
        let body = json!({ "message": "hi" });
        let response = request.body(body.to_string()).send().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap_or_default(),
        )
    };
    for path in ["/chats", "/chat", "/v1/chat/completions"] {
        assert_eq!(post(path, "cross-site").await.0, 403, "{path}");
    }
    // Each refusal is logged with its reason.
    hub.wait_for_log("reason=\"forbidden\"", 3).await;
    let (status, chat) = post("/chats", "same-origin").await;
    assert_eq!(status, 201, "{chat}");
    upstream.wait_for_requests(1).await;
    let stop = chat["stop_url"].as_str().unwrap();
    assert_eq!(post(stop, "cross-site").await.0, 403);
    assert_eq!(post(stop, "same-origin").await.0, 202);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_expired_credential_ends_the_answer_with_an_error() {
    let upstream = Upstream::start(vec![vec![head(), part("a"), Step::Hang]]).await;
    let (hub, _folder) = upstream.hub(&["--jwt-secret", SECRET, "--anonymous", "metrics"]).await;
    let claims = json!({ "sub": "ann", "exp": in_seconds(6), "fanfare": { "chat": ["*"] } });
    let bearer = format!("Bearer {}", signed_token(&claims));
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    let headers = [("Authorization", bearer.as_str())];
    let path = "POST /v1/chat/completions";
    let mut reader =
        Reader::request(&hub.address, path, &headers, &body.to_string()).await.unwrap();
    assert_eq!(reader.status, 200);
    let events = reader.rest().await;
    assert_eq!(events.last().unwrap().json()["error"]["code"], "disconnected");
    assert_eq!(hub.metric("fanfare_chats_running").await, 1.0, "the run continues");
}

#[tokio::test]
async fn a_damaged_chat_key_is_logged_and_affects_no_other_chat() {
    let upstream = Upstream::start(vec![answer(&["one"]), answer(&["two"])]).await;
    let (mut hub, _folder) = hub_of(&upstream, &[]).await;
    let mut paths = Vec::new();
    for _ in 0..2 {
        let body = json!({ "message": "hi", "model": "m" });
        let (_, chat) = send_request(&hub, "ann", (Method::POST, "/chats"), &body).await;
        let path = format!("/chats/{}/events", chat["id"].as_str().unwrap());
        let response = hub.http.get(hub.url(&path)).bearer_auth(secret("ann")).send().await;
        assert!(response.unwrap().text().await.unwrap().contains("done"));
        paths.push(path);
    }
    hub.stop().await;
    let keys = hub.data.join("stream-keys");
    let mut bytes = std::fs::read(&keys).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&keys, bytes).unwrap();
    hub.restart().await;
    hub.wait_for_log("stream-keys are damaged", 1).await;
    let read = async |path: &String| {
        let response = hub.http.get(hub.url(path)).bearer_auth(secret("ann")).send().await.unwrap();
        response.text().await.unwrap_or_default()
    };
    assert!(!read(&paths[0]).await.contains("one"));
    assert!(read(&paths[1]).await.contains("two"));
}
