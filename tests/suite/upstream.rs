//! An upstream of chats that follows a test's script, byte by byte.

use crate::hub::{Hub, TEST_TIMEOUT};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// A step of a script.
#[derive(Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits for this time.
    Pause(Duration),
    /// Waits until the test notifies it.
    Until(Arc<Notify>),
    /// Resets the connection.
    Reset,
    /// Does nothing until the hub closes the connection.
    Hang,
    /// Reads another request on the same connection.
    NextRequest,
}

/// A request that the upstream received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Method and path.
    pub line: String,
    /// All headers, in lower case.
    pub head: String,
    pub body: Value,
}

/// The steps of one connection. The last script serves all further connections.
pub type Script = Vec<Step>;

pub struct Upstream {
    pub address: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    /// Connections that the hub has closed before the end of their script.
    disconnects: watch::Sender<usize>,
}

impl Upstream {
    pub async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (requests, disconnects) =
            (Arc::<Mutex<Vec<ReceivedRequest>>>::default(), watch::Sender::new(0));
        let (received, closed) = (requests.clone(), disconnects.clone());
        tokio::spawn(async move {
            for index in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let script = scripts[index.min(scripts.len() - 1)].clone();
                tokio::spawn(serve(socket, script, received.clone(), closed.clone()));
            }
        });
        Self { address, requests, disconnects }
    }

    /// Returns the requests received so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until the hub has closed this many connections.
    pub async fn wait_for_disconnects(&self, times: usize) {
        let mut disconnects = self.disconnects.subscribe();
        let disconnects = disconnects.wait_for(|disconnects| *disconnects >= times);
        tokio::time::timeout(TEST_TIMEOUT, disconnects)
            .await
            .expect("the hub does not close it")
            .unwrap();
    }

    /// Waits until the upstream has received this many requests.
    pub async fn wait_for_requests(&self, times: usize) {
        let is_reached = async {
            while self.requests().len() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, is_reached).await.expect("no request came");
    }

    /// Starts a hub that uses this upstream for the model `m`.
    pub async fn hub(&self, flags: &[&str]) -> (Hub, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = self.config(folder.path(), "");
        let flags: Vec<&str> = [&["--config", &file], flags].concat();
        (Hub::start_in(&folder.path().join("data"), &flags).await, folder)
    }

    /// Writes a configuration with this upstream and `extra`, and returns its path.
    pub fn config(&self, folder: &Path, extra: &str) -> String {
        let path = folder.join("fanfare.toml");
        let text = format!(
            "[chat.upstream.scripted]\nurl = \"http://{}/v1/\"\nmodels = [\"m\", \"other\"]\n{extra}",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

async fn serve(
    mut socket: TcpStream,
    script: Script,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    disconnects: watch::Sender<usize>,
) {
    for (index, steps) in script.split(|step| matches!(step, Step::NextRequest)).enumerate() {
        let Some(request) = read(&mut socket).await else {
            if index > 0 {
                disconnects.send_modify(|disconnects| *disconnects += 1);
            }
            return;
        };
        requests.lock().unwrap().push(request);
        let (mut from_hub, mut to_hub) = socket.split();
        let mut byte = [0; 1];
        let is_reset = tokio::select! {
            is_reset = play(steps, &mut to_hub) => is_reset,
            _ = from_hub.read(&mut byte) => return disconnects.send_modify(|disconnects| *disconnects += 1),
        };
        if is_reset {
            return socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Executes the steps; returns true if the connection must be reset.
async fn play(steps: &[Step], to_hub: &mut WriteHalf<'_>) -> bool {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if to_hub.write_all(bytes).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Until(notify) => notify.notified().await,
            Step::Reset => return true,
            Step::Hang => return std::future::pending().await,
            // Scripts are split at this step.
            Step::NextRequest => {}
        }
    }
    false
}

async fn read(socket: &mut TcpStream) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let count = socket.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let (line, rest) = head.split_once("\r\n").unwrap();
        let rest = rest.to_lowercase();
        let length = rest.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            let body = serde_json::from_str(body).unwrap_or(Value::Null);
            return Some(ReceivedRequest { line: line.to_owned(), head: rest, body });
        }
    }
}

/// Returns the step that sends a text.
pub fn send_text(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
}

/// Returns the head of an answer that ends when the connection closes.
pub fn head() -> Step {
    send_text("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
}

/// Returns an answer with this status, additional headers and a JSON body.
pub fn status(status: u16, headers: &str, body: &str) -> Script {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    vec![send_text(head)]
}

/// Returns an event with one part of an answer.
pub fn part(text: &str) -> Step {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

pub fn event(json: &Value) -> Step {
    send_text(format!("data: {json}\n\n"))
}

/// Returns the end of an answer.
pub fn done() -> Script {
    vec![
        event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })),
        event(
            &json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18 } }),
        ),
        send_text("data: [DONE]\n\n"),
    ]
}

/// Returns a whole answer in these parts.
pub fn answer(parts: &[&str]) -> Script {
    let parts = parts.iter().map(|text| part(text));
    std::iter::once(head()).chain(parts).chain(done()).collect()
}

/// A listener whose backlog is full, so that the kernel answers no further connection.
pub struct FullBacklog {
    pub address: std::net::SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<TcpStream>,
}

impl FullBacklog {
    pub async fn new() -> Self {
        let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let listener = socket2::Socket::new(domain, kind, None).unwrap();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let (mut connected, mut unanswered) = (Vec::new(), 0);
        while unanswered < 2 {
            let connect = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_secs(1), connect).await {
                Ok(connection) => connected.push(connection.unwrap()),
                Err(_) => unanswered += 1,
            }
        }
        Self { address, _listener: listener, _waiting: connected }
    }
}
