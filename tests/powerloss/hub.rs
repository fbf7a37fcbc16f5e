//! One hub process on a disk that can lose power, and its HTTP interface.

use crate::disk::Disk;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A start or an answer that takes longer is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(2);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// What came of a start.
#[derive(PartialEq, Eq, Debug)]
pub enum Started {
    Listening,
    /// The disk stopped at the chosen operation before the hub listened, and the hub was killed.
    Stopped,
    /// The process ended by itself.
    Exited,
    TimedOut,
}

/// A stored event as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub id: String,
    pub stream: String,
    pub data: String,
}

/// What became of a publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    Acknowledged {
        id: String,
        duplicate: bool,
    },
    Refused(u16, String),
    /// The connection broke: the event may be stored or not.
    Unknown,
}

/// How a hub is reached; clones are for other threads.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
    /// Sent as a bearer token.
    credential: Option<String>,
}

pub struct Hub {
    child: Child,
    lines: Receiver<String>,
    log: TempDir,
    client: Option<Client>,
    readers: Vec<JoinHandle<Vec<Event>>>,
    watchdog: Option<JoinHandle<()>>,
    has_ended: Arc<AtomicBool>,
}

impl Hub {
    /// Starts the process and does not wait for it.
    pub fn spawn(disk: &Disk, flags: &[&str]) -> Self {
        let log = tempfile::tempdir().unwrap();
        let stderr = std::fs::File::create(log.path().join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text"])
            .args(["--system", "off", "--publish-log=off", "--workers", "1"])
            .arg("--data-dir")
            .arg(disk.data())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (found, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if found.send(line).is_err() {
                    return;
                }
            }
        });
        let has_ended = Arc::new(AtomicBool::new(false));
        let watchdog = Some(kill_when_stopped(disk, &child, has_ended.clone()));
        Self { child, lines, log, client: None, readers: Vec::new(), watchdog, has_ended }
    }

    /// Starts the process and waits until it listens, or the disk stops, or it ends.
    pub fn start(disk: &Disk, flags: &[&str]) -> (Self, Started) {
        let mut hub = Self::spawn(disk, flags);
        let started = hub.wait_until_started(disk);
        (hub, started)
    }

    /// Starts the process, which must come up.
    pub fn start_up(disk: &Disk, flags: &[&str]) -> Result<Self, String> {
        let (mut hub, started) = Self::start(disk, flags);
        if started == Started::Listening {
            return Ok(hub);
        }
        let log = hub.log();
        hub.kill(disk);
        Err(format!("the hub does not start ({started:?})\n--- log\n{log}"))
    }

    fn wait_until_started(&mut self, disk: &Disk) -> Started {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(POLL) {
                Ok(line) => {
                    let Some(address) = line.strip_prefix("listening on http://") else { continue };
                    self.client = Some(Client::new(address.trim()));
                    return Started::Listening;
                }
                Err(RecvTimeoutError::Disconnected) if disk.has_stopped() => {
                    return Started::Stopped;
                }
                Err(RecvTimeoutError::Disconnected) => return Started::Exited,
                Err(RecvTimeoutError::Timeout) if began.elapsed() > PATIENCE => {
                    return Started::TimedOut;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the process with SIGKILL; what the disk has is left as it is.
    pub fn kill(&mut self, disk: &Disk) {
        let _ = self.child.kill();
        disk.disconnect();
        self.reap();
    }

    fn reap(&mut self) {
        // The process id is not used any more once it is waited for.
        self.has_ended.store(true, Ordering::Relaxed);
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
        let _ = self.child.wait();
    }

    /// Starts a reader that collects everything as it comes.
    pub fn watch(&mut self) {
        self.readers.push(self.client().watch());
    }

    /// What the readers saw of a hub that has ended.
    pub fn take_seen(&mut self) -> Vec<Event> {
        let readers = std::mem::take(&mut self.readers);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    }

    pub fn client(&self) -> Client {
        self.client.clone().expect("the hub listens")
    }

    /// What the process wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.has_ended.store(true, Ordering::Relaxed);
        // Not waited for: the disk may hold its requests until it is unmounted.
    }
}

/// Kills the process as soon as the disk stops, so that nothing waits for it.
fn kill_when_stopped(disk: &Disk, child: &Child, has_ended: Arc<AtomicBool>) -> JoinHandle<()> {
    let (pid, disk) = (Pid::from_child(child), disk.control());
    std::thread::spawn(move || {
        while !has_ended.load(Ordering::Relaxed) {
            if disk.is_frozen() {
                let _ = kill_process(pid, Signal::KILL);
                disk.disconnect();
                return;
            }
            std::thread::sleep(POLL);
        }
    })
}

impl Client {
    fn new(address: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(2 * PATIENCE))
            .build();
        Self { agent: config.into(), address: address.to_owned(), credential: None }
    }

    /// The same hub, asked with a bearer token.
    pub fn with_credential(&self, credential: &str) -> Self {
        Self { credential: Some(credential.to_owned()), ..self.clone() }
    }

    fn authorization(&self) -> String {
        self.credential.as_ref().map_or_else(String::new, |secret| format!("Bearer {secret}"))
    }

    /// Posts JSON; returns the status and the answer, or `None` if the connection broke.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut request = self.agent.post(format!("http://{}{path}", self.address));
        if self.credential.is_some() {
            request = request.header("Authorization", self.authorization());
        }
        let mut answer = request.send(body.to_string()).ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some((answer.status().as_u16(), body))
    }

    /// Gets a path; returns the status and the text.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if self.credential.is_some() {
            request = request.header("Authorization", self.authorization());
        }
        let mut answer = request.call().ok()?;
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        let text = body.read_to_string().ok()?;
        Some((answer.status().as_u16(), text))
    }

    /// Publishes one event.
    pub fn publish(&self, stream: &str, data: &str, key: Option<&str>) -> Published {
        let mut event = json!({ "stream": stream, "data": data });
        if let Some(key) = key {
            event["key"] = key.into();
        }
        match self.post("/publish", &event) {
            None => Published::Unknown,
            Some((200, receipt)) => match receipt["id"].as_str() {
                Some(id) => Published::Acknowledged {
                    id: id.to_owned(),
                    duplicate: receipt["duplicate"] == true,
                },
                None => Published::Unknown,
            },
            Some((status, answer)) => Published::Refused(status, answer.to_string()),
        }
    }

    /// Reads every event that is kept, in order.
    pub fn read_all(&self) -> Result<Vec<Event>, String> {
        let path = "/events?stream=**&from=start&follow=false&format=ndjson&control=off";
        match self.get(path) {
            Some((200, text)) => text.lines().map(read_event).collect(),
            other => Err(format!("the events cannot be read: {other:?}")),
        }
    }

    /// Collects events as they come until the connection breaks.
    fn watch(&self) -> JoinHandle<Vec<Event>> {
        let path = "/events?stream=**&from=start&format=ndjson&control=off";
        let request = self.agent.get(format!("http://{}{path}", self.address));
        std::thread::spawn(move || {
            let Ok(answer) = request.call() else { return Vec::new() };
            let lines = BufReader::new(answer.into_body().into_reader()).lines();
            lines.map_while(Result::ok).filter_map(|line| read_event(&line).ok()).collect()
        })
    }

    /// The loss that `/readyz` tells, if any.
    pub fn told_loss(&self) -> Result<Option<String>, String> {
        let Some((_, text)) = self.get("/readyz") else {
            return Err("/readyz does not answer".to_owned());
        };
        let ready: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        Ok(ready["checks"]["loss"]["reason"].as_str().map(str::to_owned))
    }
}

fn read_event(line: &str) -> Result<Event, String> {
    let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let text = |name: &str| match &event[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let stream = match &event["stream"] {
        Value::Null => text("streams"),
        _ => text("stream"),
    };
    Ok(Event { id: text("id"), stream, data: text("data") })
}
