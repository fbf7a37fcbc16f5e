//! NATS servers for tests, and their protocol.

use super::fixture::NODES;
use crate::hub::{TEST_TIMEOUT, own_loopback_address};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Returns the program of the server: `NATS_SERVER`, or the one that `tests/run` installs.
pub fn nats_server() -> String {
    std::env::var("NATS_SERVER").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/venv/bin/nats-server").to_owned()
    })
}

/// A NATS server of a cluster.
pub struct Server {
    pub config: PathBuf,
    pub variables: Vec<(&'static str, String)>,
    pub log: PathBuf,
    /// Network namespace of the process.
    pub namespace: Option<String>,
    pub child: Option<Child>,
}

impl Server {
    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = match &self.namespace {
            None => Command::new(nats_server()),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, &nats_server()]);
                command
            }
        };
        command.envs(self.variables.iter().cloned());
        command.arg("-c").arg(&self.config).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Stops the process without ending it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("a running server"));
        kill_process(pid, signal).unwrap();
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns addresses that stay free while a server is down: no other process uses this address, and the
/// system gives these ports to no connection.
pub fn free_addresses() -> Vec<String> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    let address = own_loopback_address();
    ports.take(NODES).map(|port| format!("{address}:{port}")).collect()
}

/// Returns the names of the consumers of a stream that wait for messages.
pub fn waiting_consumers(address: &str, stream: &str) -> Vec<String> {
    let answer = request(address, &format!("$JS.API.CONSUMER.LIST.{stream}"), "");
    let consumers = answer["consumers"].as_array().unwrap().iter();
    let waiting = consumers.filter(|consumer| consumer["num_waiting"].as_u64() > Some(0));
    waiting.map(|consumer| consumer["name"].as_str().unwrap().to_owned()).collect()
}

/// Sends a request to the server at an address and returns the answer.
pub fn request(address: &str, subject: &str, payload: &str) -> Value {
    let length = payload.len();
    exchange(address, format!("PUB {subject} answer {length}\r\n{payload}\r\n").as_bytes())
}

/// Appends a message with an id to a stream.
pub fn append(address: &str, subject: &str, id: &str, payload: &[u8]) -> Value {
    let head = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    let (length, total) = (head.len(), head.len() + payload.len());
    let command = format!("HPUB {subject} answer {length} {total}\r\n{head}");
    exchange(address, &[command.as_bytes(), payload, b"\r\n"].concat())
}

/// Publishes a message.
pub fn publish(address: &str, subject: &str, payload: &str) {
    let length = payload.len();
    // The answer shows that the server has read the command before.
    let answer = "PUB answer 2\r\n{}\r\n";
    exchange(address, format!("PUB {subject} {length}\r\n{payload}\r\n{answer}").as_bytes());
}

/// Sends a command that is answered on the subject `answer`, and returns the answer. Sends it again
/// while the server knows nobody who would answer: servers learn of new subscriptions with a delay.
fn exchange(address: &str, command: &[u8]) -> Value {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(answer) = try_exchange(address, command) {
            return answer;
        }
        assert!(Instant::now() < deadline, "nobody answers on {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a command and returns its answer, or `None` if the server knows nobody who would answer.
fn try_exchange(address: &str, command: &[u8]) -> Option<Value> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let options = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
    connection.write_all(&[options.as_bytes(), b"SUB answer 1\r\n", command].concat()).unwrap();
    let mut lines = BufReader::new(connection);
    let mut line = String::new();
    while !line.starts_with("MSG ") {
        assert!(!line.starts_with("-ERR"), "{line}");
        if line.starts_with("HMSG ") {
            return None;
        }
        if line.starts_with("PING") {
            lines.get_mut().write_all(b"PONG\r\n").unwrap();
        }
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the server closed the connection");
    }
    let length = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let mut answer = vec![0; length];
    lines.read_exact(&mut answer).unwrap();
    Some(serde_json::from_slice(&answer).unwrap())
}
