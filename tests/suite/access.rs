//! Access: keys, grants and cookies, and hubs that require no credential.

use crate::credentials::{SECRET, file_with_keys, send_request};
use crate::hub::Hub;
use crate::reader::Reader;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Command;

#[cfg(feature = "dashboard")]
#[tokio::test]
async fn keys_allow_what_they_grant_and_protected_routes_require_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(
        folder.path(),
        &[
            ("reader", "r", "subscribe = [\"a.**\", \"chat.7\"]"),
            ("writer", "w", "publish = [\"a.*\", \"jobs.**\", \"system\"]\nend = [\"a.*\"]"),
            (
                "admin",
                "adm",
                "subscribe = [\"**\"]\npublish = [\"**\"]\nend = [\"**\"]\nadmin = true",
            ),
            ("nobody", "n", ""),
        ],
    );
    let hub = Hub::start(&["--config", &file]).await;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let publish_to_a = (post.clone(), "/streams/a.x/events");
    for (request, statuses) in [
        // Callers: no key, "nobody", "reader", "writer", "admin", an unknown key.
        ((get.clone(), "/healthz"), [200, 200, 200, 200, 200, 401]),
        ((get.clone(), "/readyz"), [200, 200, 200, 200, 200, 401]),
        ((get.clone(), "/version"), [200, 200, 200, 200, 200, 401]),
        ((get.clone(), "/"), [200, 200, 200, 200, 200, 401]),
        ((get.clone(), "/metrics"), [401, 403, 403, 403, 200, 401]),
        (publish_to_a.clone(), [401, 403, 403, 200, 200, 401]),
        ((get.clone(), "/streams/a.x/events"), [401, 403, 200, 403, 200, 401]),
        ((get.clone(), "/streams/a.x"), [401, 403, 200, 403, 200, 401]),
        ((get.clone(), "/streams/b.x"), [401, 403, 403, 403, 404, 401]),
        ((get.clone(), "/streams"), [401, 200, 200, 200, 200, 401]),
        ((get.clone(), "/events?stream=**"), [401, 403, 200, 403, 200, 401]),
        ((get.clone(), "/events?stream=b&stream=c.*"), [401, 403, 403, 403, 200, 401]),
        ((get.clone(), "/events?stream=b&stream=a.x"), [401, 403, 200, 403, 200, 401]),
        // Only a caller that may read the chat learns that it does not exist.
        ((get.clone(), "/streams/chat.7/events"), [401, 403, 404, 403, 403, 401]),
        ((get.clone(), "/events?stream=chat.*"), [401, 403, 403, 403, 403, 401]),
        ((get.clone(), "/events?stream=hub.**"), [401, 403, 403, 403, 200, 401]),
        ((post.clone(), "/streams/b/events"), [401, 403, 403, 403, 200, 401]),
        ((post.clone(), "/streams/a.x.y/events"), [401, 403, 403, 403, 200, 401]),
        ((post.clone(), "/streams/jobs.b.1/events"), [401, 403, 403, 403, 403, 401]),
        ((post.clone(), "/streams/system/events"), [401, 403, 403, 403, 403, 401]),
        ((post.clone(), "/streams/chat.7/events"), [401, 403, 403, 403, 403, 401]),
        ((post.clone(), "/streams/hub.logs/events"), [401, 403, 403, 403, 403, 401]),
        ((delete, "/streams/zzz"), [401, 403, 403, 403, 404, 401]),
        ((post.clone(), "/streams/a.end/end"), [401, 403, 403, 200, 200, 401]),
    ] {
        for (secret, expected) in ["", "n", "r", "w", "adm", "wrong"].iter().zip(statuses) {
            let header = format!("Bearer {secret}");
            let headers = [("Authorization", header.as_str())];
            let headers_sent = if secret.is_empty() { &[][..] } else { &headers[..] };
            let (status, ..) = send_request(&hub, request.clone(), headers_sent).await;
            assert_eq!(status, expected, "{request:?} by {secret:?}");
        }
    }
    // A batch is refused as a whole if one of its streams is not granted.
    let batch = json!([{ "stream": "a.x", "data": 1 }, { "stream": ["a.y", "b"], "data": 2 }]);
    let response = hub.http.post(hub.url("/publish")).bearer_auth("w").body(batch.to_string());
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 403);
    let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("\"b\""), "{problem}");
    let listed = hub.http.get(hub.url("/streams")).bearer_auth("adm").send().await.unwrap();
    let listed: Value = serde_json::from_str(&listed.text().await.unwrap()).unwrap();
    let names = |list: &Value| -> Vec<String> {
        let streams = list["streams"].as_array().unwrap().iter();
        streams.map(|stream| stream["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&listed), ["a.end", "a.x", "a.x.y", "b"]);
    let listed = hub.http.get(hub.url("/streams")).bearer_auth("r").send().await.unwrap();
    let listed: Value = serde_json::from_str(&listed.text().await.unwrap()).unwrap();
    assert_eq!(names(&listed), ["a.end", "a.x", "a.x.y"], "the list has readable streams only");
}

#[tokio::test]
async fn subscriptions_are_narrowed_to_the_grants() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("some", "s", "subscribe = [\"a.**\", \"b\"]"),
        ("all", "all", "subscribe = [\"**\"]\npublish = [\"**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let mut hub = Hub::start(&["--config", &file]).await;
    let read = async |hub: &Hub, query: &str, secret: &str, last_id: Option<&str>| {
        let bearer = format!("Bearer {secret}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(last_id.map(|last_id| ("Last-Event-ID", last_id)));
        Reader::connect(&hub.address, query, &headers).await.unwrap()
    };
    let publish = async |hub: &Hub, stream: &str| {
        let path = hub.url(&format!("/streams/{stream}/events"));
        let response = hub.http.post(path).bearer_auth("all").body(stream.to_owned()).send().await;
        assert_eq!(response.unwrap().status(), 200);
    };
    let mut narrowed = read(&hub, "/events?stream=**", "s", None).await;
    let mut unrestricted = read(&hub, "/events?stream=**", "all", None).await;
    let opened = narrowed.open().await;
    assert_eq!((&opened["granted"], &opened["denied"]), (&json!(["b", "a.**"]), &json!(["**"])));
    let opened = unrestricted.open().await;
    assert_eq!((opened.get("granted"), opened.get("denied")), (None, None), "all is granted");
    let opened = read(&hub, "/events?stream=b&stream=a.x&stream=c.*", "s", None).await.open().await;
    assert_eq!((&opened["granted"], &opened["denied"]), (&json!(["a.x", "b"]), &json!(["c.*"])));
    let opened = read(&hub, "/events?stream=a.*&stream=a.x&stream=b", "s", None).await.open().await;
    assert_eq!(opened.get("denied"), None, "a selector within another one is granted");
    let streams = ["c", "a.x", "d.e", "b", "b.x", "a.y.z", "a"];
    for stream in streams {
        publish(&hub, stream).await;
    }
    let events = unrestricted.take(streams.len()).await;
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), streams);
    let granted = ["a.x", "b", "a.y.z"];
    let events = narrowed.take(granted.len()).await;
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), granted);
    // History is narrowed like live events: from the start, after an id, and after a restart.
    hub.kill();
    hub.restart().await;
    let mut replayed = read(&hub, "/events?stream=**&from=start", "s", None).await;
    let events = replayed.take(granted.len()).await;
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), granted);
    let mut resumed = read(&hub, "/events?stream=**", "s", Some(&events[0].id)).await;
    assert_eq!(resumed.open().await["resume"], "resumed");
    publish(&hub, "c").await;
    publish(&hub, "b").await;
    let events = resumed.take(3).await;
    assert_eq!(events.iter().map(|e| e.data.as_str()).collect::<Vec<_>>(), ["b", "a.y.z", "b"]);
}

#[tokio::test]
async fn events_do_not_name_streams_that_are_not_granted() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("some", "s", "subscribe = [\"a.**\"]"),
        ("all", "all", "subscribe = [\"**\"]\npublish = [\"**\"]"),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let hub = Hub::start(&["--config", &file]).await;
    let read = async |secret: &str, from: &str| {
        let bearer = format!("Bearer {secret}");
        let path = format!("/events?stream=**&envelope=true&from={from}");
        let headers = [("Authorization", bearer.as_str())];
        let mut reader = Reader::connect(&hub.address, &path, &headers).await.unwrap();
        reader.open().await;
        reader
    };
    let (mut narrowed, mut unrestricted) = (read("s", "now").await, read("all", "now").await);
    let events = json!([
        { "stream": ["a.x", "secret.plan"], "data": 1 },
        { "stream": ["a.x", "b", "a.y"], "data": 2 },
        { "stream": "a.x", "data": 3 },
    ]);
    let request = hub.http.post(hub.url("/publish")).bearer_auth("all").body(events.to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    let streams = async |reader: &mut Reader| -> Vec<Value> {
        reader.take(3).await.iter().map(|event| event.json()["stream"].clone()).collect()
    };
    let granted = [json!("a.x"), json!(["a.x", "a.y"]), json!("a.x")];
    let complete = [json!(["a.x", "secret.plan"]), json!(["a.x", "b", "a.y"]), json!("a.x")];
    assert_eq!(streams(&mut narrowed).await, granted, "live");
    assert_eq!(streams(&mut unrestricted).await, complete, "live");
    assert_eq!(streams(&mut read("s", "start").await).await, granted, "from history");
    assert_eq!(streams(&mut read("all", "start").await).await, complete, "from history");
}

#[tokio::test]
async fn an_invalid_credential_is_never_treated_as_anonymous() {
    let hub = Hub::start(&["--anonymous", "subscribe,publish,metrics"]).await;
    for path in ["/streams/a/events", "/metrics", "/streams", "/version"] {
        assert_eq!(send_request(&hub, (Method::GET, path), &[]).await.0, 200, "{path}");
        for headers in [
            &[("Authorization", "Bearer x")][..],
            &[("Authorization", "Basic eDp5")],
            &[("Authorization", "Bearer")],
            &[("Authorization", "x")],
            &[("Authorization", "Bearer x"), ("Authorization", "Bearer y")],
        ] {
            let (status, _, challenge) = send_request(&hub, (Method::GET, path), headers).await;
            assert_eq!(status, 401, "{path} {headers:?}");
            assert!(challenge.starts_with("Bearer realm=\"fanfare\""), "{challenge}");
        }
        for name in
            ["access_token", "authorization", "token", "ticket", "%74icket", "%61ccess_token"]
        {
            let path = format!("{path}?{name}=x");
            assert_eq!(send_request(&hub, (Method::GET, &path), &[]).await.0, 401, "{path}");
        }
    }
    assert_eq!(send_request(&hub, (Method::POST, "/streams/a/events"), &[]).await.0, 200);
    for (method, path) in [(Method::DELETE, "/streams/a"), (Method::GET, "/events?stream=hub.**")] {
        assert_eq!(send_request(&hub, (method, path), &[]).await.0, 403, "{path}: needs an admin");
    }
}

#[tokio::test]
async fn an_anonymous_hub_rejects_foreign_hosts_and_cross_site_requests() {
    let hub = Hub::start(&["--anonymous", "subscribe,publish"]).await;
    assert_eq!(raw(&hub, "GET /streams HTTP/1.1\r\nHost: evil.example\r\n").await, 421);
    let target = "GET http://evil.example/streams HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(raw(&hub, target).await, 421);
    for headers in [[("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "x")]] {
        let request = (Method::POST, "/streams/a/events");
        assert_eq!(send_request(&hub, request, &headers).await.0, 403, "{headers:?}");
    }
}

#[cfg(feature = "dashboard")]
#[tokio::test]
async fn an_open_hub_answers_only_to_known_hosts_and_origins() {
    let hub =
        Hub::start(&["--public-host", "hub.example", "--cors-origin", "https://app.example"]).await;
    let port = hub.address.rsplit(':').next().unwrap();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("[::1]".to_owned(), 200),
        ("hub.example".to_owned(), 200),
        ("HUB.example:99".to_owned(), 200),
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        ("localhost.evil.example".to_owned(), 421),
        ("10.1.2.3".to_owned(), 421),
    ] {
        for path in ["/version", "/", "/streams/s/events", "/metrics"] {
            let response = raw(&hub, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n")).await;
            assert_eq!(response, status, "{path} of {host}");
        }
    }
    for (hosts, status) in [("", 400), ("Host: localhost\r\nHost: localhost\r\n", 400)] {
        let response = raw(&hub, &format!("GET /version HTTP/1.1\r\n{hosts}")).await;
        assert_eq!(response, status, "{hosts:?}");
    }
    let cross_site = ("Sec-Fetch-Site", "cross-site");
    let own_origin = format!("http://{}", hub.address);
    for (request, headers, status) in [
        ((Method::POST, "/streams/s/events"), &[][..], 200),
        ((Method::POST, "/streams/s/events"), &[("Sec-Fetch-Site", "same-origin")], 200),
        ((Method::POST, "/streams/s/events"), &[("Origin", own_origin.as_str())], 200),
        // Pages of the same site may write without a credential.
        ((Method::POST, "/streams/s/events"), &[("Sec-Fetch-Site", "same-site")], 200),
        ((Method::POST, "/streams/s/events"), &[cross_site], 403),
        ((Method::POST, "/streams/s/events"), &[("Origin", "http://evil.example")], 403),
        ((Method::POST, "/streams/s/events"), &[("Origin", "null")], 403),
        ((Method::GET, "/streams/s/events"), &[cross_site], 403),
        ((Method::GET, "/streams/s/events"), &[cross_site, ("Sec-Fetch-Mode", "navigate")], 403),
        ((Method::GET, "/"), &[cross_site, ("Sec-Fetch-Mode", "navigate")], 200),
        ((Method::GET, "/"), &[cross_site], 403),
        (
            (Method::POST, "/streams/s/events"),
            &[cross_site, ("Origin", "https://app.example")],
            200,
        ),
        (
            (Method::POST, "/streams/s/events"),
            &[cross_site, ("Origin", "https://other.example")],
            403,
        ),
    ] {
        assert_eq!(
            send_request(&hub, request.clone(), headers).await.0,
            status,
            "{request:?} {headers:?}"
        );
    }
    let count = hub.metric("fanfare_requests_refused_total{reason=\"cross_site\"}").await;
    assert_eq!(count, 7.0);
}

#[tokio::test]
async fn an_anonymous_hub_on_all_addresses_answers_only_to_known_hosts() {
    let compose = include_str!("../../deploy/compose.yaml");
    assert!(compose.contains("FANFARE_PUBLIC_HOST:"), "the compose file names its host");
    let public = ["--listen", "0.0.0.0:0", "--anonymous", "subscribe,publish"];
    let hub = Hub::start(&[&public[..], &["--public-host", "hub.example"]].concat()).await;
    let port = hub.address.rsplit(':').next().unwrap();
    let publish = "POST /streams/s/events HTTP/1.1\r\nContent-Length: 0\r\n";
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        ("hub.example".to_owned(), 200),
        (format!("evil.example:{port}"), 421),
    ] {
        let read_status = raw(&hub, &format!("GET /streams HTTP/1.1\r\nHost: {host}\r\n")).await;
        assert_eq!(read_status, status, "{host}");
        let write_status = raw(&hub, &format!("{publish}Host: {host}\r\n")).await;
        assert_eq!(write_status == 421, status == 421, "{host}: {write_status}");
    }
    let cross_site_headers = "Host: hub.example\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(raw(&hub, &format!("{publish}{cross_site_headers}")).await, 403);
}

/// Sends a request head verbatim and returns the status.
async fn raw(hub: &Hub, head: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
    socket.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut line = [0; 12];
    socket.read_exact(&mut line).await.unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

#[test]
fn invalid_access_settings_are_reported() {
    let check = |args: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(crate::hub::program())
            .args(["config", "check", "--data-dir", folder.path().to_str().unwrap()])
            .args(args)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let short_key = file("short.json", r#"{"keys":[{"kty":"oct","kid":"tiny","k":"YWJj"}]}"#);
    let key = |name: &str| format!("[[key]]\nname = {name:?}\nsha256 = \"{}\"\n", "0".repeat(64));
    let duplicate_keys = file("twice.toml", &(key("one") + &key("two")));
    let (no_keys, empty_anonymous) =
        (file("no.toml", "key = []"), file("nobody.toml", "anonymous = []"));
    for (args, expected) in [
        (&["--jwks", &short_key][..], "tiny"),
        (&["--config", &duplicate_keys], "\"one\" and \"two\" have the same sha256"),
        (&["--config", &no_keys], "key is an empty list"),
        (&["--config", &empty_anonymous], "anonymous is an empty list"),
        (&["--jwt-issuer", "us"], "--jwt-issuer: no key to verify tokens"),
        (&["--jwt-audience", "us"], "--jwt-audience: no key to verify tokens"),
        (&["--jwt-algorithms", "RS256"], "--jwt-algorithms: no key to verify tokens"),
        (&["--jwt-secret", "short"], "--jwt-secret"),
        (&["--jwt-public-key", "/dev/null"], "--jwt-public-key"),
        (&["--jwks", "/nowhere"], "--jwks"),
        (&["--jwt-algorithms", "none", "--jwt-secret", SECRET], "--jwt-algorithms"),
        (&["--jwt-algorithms", "RS256", "--jwt-secret", SECRET], "--jwt-algorithms"),
        (&["--anonymous", "everything"], "--anonymous"),
    ] {
        let (starts, stderr) = check(args);
        assert!(!starts && stderr.contains(expected), "{args:?}: {stderr}");
        assert!(!stderr.contains(SECRET) && !stderr.contains("short\""), "secret shown: {stderr}");
    }
}

#[cfg(feature = "dashboard")]
#[tokio::test]
async fn a_session_cookie_allows_writes_only_from_allowed_origins() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("page", "p ;=%", "subscribe = [\"a\"]\npublish = [\"a\"]"), ("other", "o", "")];
    let file = file_with_keys(folder.path(), &keys);
    let args =
        ["--config", &file, "--anonymous", "metrics", "--cors-origin", "https://app.example"];
    let hub = Hub::start(&args).await;
    let login = async |headers: &[(&str, &str)]| {
        let mut request = hub.http.post(hub.url("/session"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let cookie = response.headers().get("set-cookie").map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), cookie.unwrap_or_default())
    };
    assert_eq!(login(&[]).await.0, 401);
    assert_eq!(login(&[("Authorization", "Bearer x")]).await.0, 401);
    let (status, set_cookie) = login(&[("Authorization", "Bearer p ;=%")]).await;
    assert_eq!(status, 204);
    assert!(set_cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set_cookie}");
    assert!(set_cookie.contains("; Max-Age=86400;"), "{set_cookie}");
    let https_headers = [("Authorization", "Bearer p ;=%"), ("Origin", "https://app.example")];
    assert!(login(&https_headers).await.1.ends_with("; Secure"));
    let cookie = format!("else=1; {}", set_cookie.split(';').next().unwrap());
    let cookie_header = ("Cookie", cookie.as_str());
    let own_origin = format!("http://{}", hub.address);
    let (get, post) = ((Method::GET, "/streams/a/events"), (Method::POST, "/streams/a/events"));
    for (request, headers, status) in [
        (&get, &[cookie_header][..], 200),
        (&get, &[cookie_header, ("Sec-Fetch-Site", "cross-site")], 200),
        (&post, &[cookie_header], 403),
        (&post, &[cookie_header, ("Origin", own_origin.as_str())], 200),
        (&post, &[cookie_header, ("Sec-Fetch-Site", "same-origin")], 200),
        (
            &post,
            &[cookie_header, ("Origin", "https://app.example"), ("Sec-Fetch-Site", "same-site")],
            200,
        ),
        (&post, &[cookie_header, ("Origin", "null")], 403),
        (&post, &[cookie_header, ("Origin", "https://evil.example")], 403),
        (
            &post,
            &[cookie_header, ("Origin", own_origin.as_str()), ("Sec-Fetch-Site", "cross-site")],
            403,
        ),
        (&post, &[cookie_header, ("Sec-Fetch-Site", "same-site")], 403),
        (&post, &[cookie_header, ("Authorization", "Bearer p ;=%")], 200),
        (&get, &[cookie_header, ("Authorization", "Bearer o")], 403),
        (&get, &[cookie_header, ("Authorization", "Bearer x")], 401),
    ] {
        assert_eq!(
            send_request(&hub, request.clone(), headers).await.0,
            status,
            "{request:?} {headers:?}"
        );
    }
    assert_invalid_cookies_are_cleared(&hub).await;
    assert_session_is_described_and_ends(&hub, &cookie).await;
}

#[cfg(feature = "dashboard")]
async fn assert_session_is_described_and_ends(hub: &Hub, cookie: &str) {
    let session = hub.http.get(hub.url("/session")).header("Cookie", cookie).send().await.unwrap();
    let session: Value = session.json().await.unwrap();
    assert_eq!(
        (&session["subject"], &session["subscribe"], &session["publish"], &session["admin"]),
        (&json!("key page"), &json!(["a"]), &json!(["a"]), &json!(false))
    );
    assert_eq!(hub.get("/session").await.0, 200, "anonymous without a credential");
    let request = hub.http.delete(hub.url("/session")).header("Cookie", cookie);
    let response =
        request.header("Origin", format!("http://{}", hub.address)).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(
        response.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .starts_with(&format!("{}=; Max-Age=0", cookie_name(hub)))
    );
}

/// Returns the name of the cookie without TLS: cookies do not distinguish the ports of a host.
fn cookie_name(hub: &Hub) -> String {
    format!("fanfare-{}", hub.address.rsplit(':').next().unwrap())
}

#[tokio::test]
async fn a_browser_that_opens_a_url_gets_an_error_as_a_page() {
    let hub = Hub::start(&[]).await;
    let get = async |accept: &str| {
        let request = hub.http.get(hub.url("/streams/%3Cb%3E")).header("Accept", accept);
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind, response.text().await.unwrap())
    };
    let (status, kind, page) = get("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!((status, kind.as_str()), (404, "text/html; charset=utf-8"));
    assert!(page.contains("<h1>404 Not found</h1>") && page.contains("&lt;b&gt;"), "{page}");
    let (status, kind, _) = get("*/*").await;
    assert_eq!((status, kind.as_str()), (404, "application/problem+json"));
}

#[cfg(feature = "dashboard")]
async fn assert_invalid_cookies_are_cleared(hub: &Hub) {
    let get = async |path| {
        let request =
            hub.http.get(hub.url(path)).header("Cookie", format!("{}=x", cookie_name(hub)));
        request.send().await.unwrap()
    };
    assert_eq!(get("/").await.status(), 200, "the page is served with an invalid cookie");
    for path in ["/metrics", "/session", "/streams/a/events"] {
        let response = get(path).await;
        assert_eq!(response.status(), 401, "{path}: an invalid cookie is not anonymous");
        let set_cookie = response.headers()["set-cookie"].to_str().unwrap();
        let expected = format!("{}=; Max-Age=0; Path=/", cookie_name(hub));
        assert!(set_cookie.starts_with(&expected), "{set_cookie}");
    }
}

#[tokio::test]
async fn pages_of_a_long_stream_list_are_complete_for_every_caller() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("few", "few", "subscribe = [\"w.0007\", \"h.1\", \"*.2399\"]"),
        ("all", "all", "subscribe = [\"**\"]\npublish = [\"**\"]"),
        ("none", "none", ""),
    ];
    let file = file_with_keys(folder.path(), &keys);
    let hub = Hub::start(&["--config", &file]).await;
    let mut readers = Vec::new();
    for first in (0..2_400).step_by(100) {
        let names: Vec<String> = (first..first + 100).map(|n| format!("stream=w.{n:04}")).collect();
        let path = format!("/events?{}", names.join("&"));
        let bearer = [("Authorization", "Bearer all")];
        let mut reader = Reader::connect(&hub.address, &path, &bearer).await.unwrap();
        reader.open().await;
        readers.push(reader);
    }
    let events: Vec<Value> =
        (0..50).map(|n| json!({ "stream": format!("h.{n}"), "data": n })).collect();
    let request =
        hub.http.post(hub.url("/publish")).bearer_auth("all").body(json!(events).to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    for (secret, count) in [("all", 2_450), ("few", 3), ("none", 0)] {
        for limit in [7, 1_000] {
            let (mut names, mut after) = (Vec::new(), String::new());
            loop {
                let path = hub.url(&format!("/streams?limit={limit}&after={after}"));
                let response = hub.http.get(path).bearer_auth(secret).send().await.unwrap();
                let page: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
                let streams = page["streams"].as_array().unwrap();
                assert!(streams.len() <= limit);
                names.extend(streams.iter().map(|s| s["name"].as_str().unwrap().to_owned()));
                let Some(next) = page["next"].as_str() else { break };
                after = next.to_owned();
            }
            assert!(names.is_sorted(), "{secret} {limit}");
            names.dedup();
            assert_eq!(names.len(), count, "{secret} {limit}");
        }
    }
}

/// Starts a hub that has a key and also grants permissions to anonymous callers.
async fn with_anonymous(extra_flags: &[&str]) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(folder.path(), &[("admin", "adm", "admin = true")]);
    let flags = ["--config", &file, "--anonymous", "subscribe,publish"];
    (Hub::start(&[&flags[..], extra_flags].concat()).await, folder)
}

#[tokio::test]
async fn a_hub_with_keys_rejects_cross_site_requests_without_a_credential() {
    let (hub, _folder) = with_anonymous(&["--public-host", "hub.example"]).await;
    let send = async |method: Method, headers: &[(&str, &str)]| {
        let mut request = hub.http.request(method, hub.url("/streams/s/events?follow=false"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body("x").send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(Method::POST, &[]).await, 200);
    assert_eq!(send(Method::POST, &[("Host", "hub.example:80")]).await, 200);
    for foreign_host in ["evil.example", "evil.example:80"] {
        assert_eq!(send(Method::POST, &[("Host", foreign_host)]).await, 421, "{foreign_host}");
        assert_eq!(send(Method::GET, &[("Host", foreign_host)]).await, 421, "{foreign_host}");
    }
    for header in [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")] {
        assert_eq!(send(Method::POST, &[header]).await, 403, "{header:?}");
    }
    // A credential proves intent, and `/healthz` reveals nothing: both work under any host.
    let get_with_foreign_host =
        |path: &str| hub.http.get(hub.url(path)).header("Host", "evil.example");
    let stats = get_with_foreign_host("/stats").bearer_auth("adm").send().await.unwrap();
    assert_eq!(stats.status(), 200);
    assert_eq!(get_with_foreign_host("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn readiness_reasons_are_shown_to_admins_and_on_the_metrics_listener() {
    let (mut hub, _folder) = with_anonymous(&["--metrics-listen", "127.0.0.1:0"]).await;
    hub.publish("s", "1").await;
    hub.kill();
    std::fs::write(hub.data.join("LOSS"), "damaged").unwrap();
    hub.restart().await;
    let reason = |ready: &Value| ready["checks"]["loss"]["reason"].clone();
    let (_, anonymous_view) = hub.get("/readyz").await;
    assert_eq!(
        (&anonymous_view["checks"]["loss"]["ok"], reason(&anonymous_view)),
        (&json!(true), Value::Null)
    );
    let admin_response = hub.http.get(hub.url("/readyz")).bearer_auth("adm").send().await.unwrap();
    let path = hub.data.join("LOSS").display().to_string();
    let admin_reason = reason(&admin_response.json().await.unwrap());
    assert!(
        admin_reason.as_str().is_some_and(|admin_reason| admin_reason.contains(&path)),
        "{admin_reason}"
    );
    let metrics_url = format!("http://{}/readyz", hub.metrics.as_ref().unwrap());
    assert_eq!(
        reason(&hub.http.get(metrics_url).send().await.unwrap().json().await.unwrap()),
        admin_reason
    );
}

#[tokio::test]
async fn cookies_over_tls_require_the_host_prefix() {
    let (hub, _folder) = with_anonymous(&[]).await;
    let with_https =
        |request: reqwest::RequestBuilder| request.header("X-Forwarded-Proto", "https");
    let login =
        with_https(hub.http.post(hub.url("/session"))).bearer_auth("adm").send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with(&format!("__Host-{}=", cookie_name(&hub)))
            && cookie.contains("; Secure"),
        "{cookie}"
    );
    let value = cookie.split(';').next().unwrap().to_owned();
    let is_admin = async |cookie: String| {
        let get = with_https(hub.http.get(hub.url("/session"))).header("Cookie", cookie);
        get.send().await.unwrap().json::<Value>().await.unwrap()["admin"].clone()
    };
    assert_eq!(is_admin(value.clone()).await, json!(true));
    assert_eq!(
        is_admin(value.replace("__Host-", "")).await,
        json!(false),
        "another host can set it"
    );
}

#[tokio::test]
async fn revocations_are_listed_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("admin", "adm", "admin = true"), ("ci", "c", "publish = [\"**\"]")];
    let file = file_with_keys(folder.path(), &keys);
    let mut hub = Hub::start(&["--config", &file]).await;
    let send = async |hub: &Hub, method: Method, body: &str| {
        let request = hub.http.request(method, hub.url("/revocations")).bearer_auth("adm");
        let response = request.body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    };
    let publish = async |hub: &Hub| {
        let request = hub.http.post(hub.url("/streams/s/events")).bearer_auth("c").body("x");
        request.send().await.unwrap().status().as_u16()
    };
    let ci_key = r#"{"key":"ci"}"#;
    assert_eq!(send(&hub, Method::DELETE, ci_key).await.0, 404);
    assert_eq!(publish(&hub).await, 200);
    assert_eq!(send(&hub, Method::POST, ci_key).await.0, 200);
    assert_eq!(publish(&hub).await, 401);
    hub.kill();
    hub.restart().await;
    let (_, list) = send(&hub, Method::GET, "").await;
    assert_eq!(list["revocations"][0]["key"], "ci");
    assert_eq!(publish(&hub).await, 401);
    assert_eq!(send(&hub, Method::DELETE, ci_key).await.0, 204);
    assert_eq!(publish(&hub).await, 200);
    assert_eq!(send(&hub, Method::GET, "").await.1["revocations"], json!([]));
}

/// RFC 6750 §3.1.
#[tokio::test]
async fn a_challenge_has_an_error_code_only_if_a_credential_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with_keys(folder.path(), &[("page", "p", "subscribe = [\"a\"]")]);
    let hub = Hub::start(&["--config", &file]).await;
    let get = || (Method::GET, "/streams/a/events");
    let (status, _, challenge) = send_request(&hub, get(), &[]).await;
    assert_eq!((status, challenge.as_str()), (401, "Bearer realm=\"fanfare\""));
    let (status, _, challenge) = send_request(&hub, get(), &[("Authorization", "Bearer x")]).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}
