//! A hub process for a test.

use crate::reader::Reader;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Maximum time that a test waits for a condition.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(180);

/// Returns true if `TEST_EXTENT=full` asks for the long tests.
pub fn is_full_run() -> bool {
    std::env::var("TEST_EXTENT").is_ok_and(|v| v == "full")
}

/// Returns a loopback address that no other process uses.
pub fn own_loopback_address() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + a, b, c)
}

/// Returns the path of the tested program: `FANFARE`, or the one that Cargo built with the tests.
pub fn program() -> String {
    std::env::var("FANFARE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fanfare").to_owned())
}

/// Returns an HTTP client for tests.
pub fn http() -> reqwest::Client {
    // The first call sets the provider for the process; later calls fail.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A running hub and its data directory.
pub struct Hub {
    child: Option<Child>,
    pub address: String,
    scheme: String,
    /// Address of the metrics listener, with `--metrics-listen`.
    pub metrics: Option<String>,
    pub data: PathBuf,
    /// Program of the next start.
    pub program: String,
    /// Flags of the next start.
    pub flags: Vec<String>,
    /// Value of `--listen` for the next start.
    listen: String,
    max_open_files: Option<u32>,
    /// Network namespace of the next start.
    namespace: Option<String>,
    /// Environment variables in addition to those of the test.
    pub variables: Vec<(String, String)>,
    _folder: Option<TempDir>,
    pub http: reqwest::Client,
    log: PathBuf,
    /// Lines that the last start printed.
    pub banner: String,
}

impl Hub {
    /// Starts a hub on a fresh data directory.
    pub async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut hub = Self::start_in(&folder.path().join("data"), flags).await;
        hub._folder = Some(folder);
        hub
    }

    /// Starts a hub with a limit on open files.
    pub async fn with_max_open_files(max_open_files: u32, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut hub = Self::unstarted(&folder.path().join("data"), flags);
        hub.max_open_files = Some(max_open_files);
        hub._folder = Some(folder);
        hub.restart().await;
        hub
    }

    /// Starts a hub with variables in its environment.
    pub async fn with_variables(variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut hub = Self::unstarted(&folder.path().join("data"), flags);
        hub.variables =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        hub._folder = Some(folder);
        hub.restart().await;
        hub
    }

    /// Starts a hub on the given data directory.
    pub async fn start_in(data: &Path, flags: &[&str]) -> Self {
        let mut hub = Self::unstarted(data, flags);
        hub.restart().await;
        hub
    }

    fn unstarted(data: &Path, flags: &[&str]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        Self {
            child: None,
            address: String::new(),
            scheme: String::new(),
            metrics: None,
            data: data.to_owned(),
            program: program(),
            flags: flags.iter().map(|f| (*f).to_owned()).collect(),
            listen: "127.0.0.1:0".to_owned(),
            max_open_files: None,
            namespace: None,
            variables: Vec::new(),
            _folder: None,
            http: http(),
            log: log_file(),
            banner: String::new(),
        }
    }

    /// Starts a hub in a network namespace, on an address of it.
    #[cfg(feature = "cluster")]
    pub async fn start_in_namespace(
        data: &Path,
        namespace: &str,
        address: &str,
        flags: &[&str],
    ) -> Self {
        let mut hub = Self::unstarted(data, flags);
        (hub.namespace, hub.listen) = (Some(namespace.to_owned()), address.to_owned());
        hub.restart().await;
        hub
    }

    /// Starts a hub whose log is on the same disk as its data.
    pub async fn start_with_log_in(disk: &Path, flags: &[&str]) -> Self {
        let data = disk.join("data");
        let mut hub = Self::unstarted(&data, flags);
        hub.log = disk.join("log");
        hub.restart().await;
        hub
    }

    /// Starts the process again on the same directory, on a free port unless `keep_address` was
    /// called.
    pub async fn restart(&mut self) {
        raise_file_limit();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let limit =
            self.max_open_files.map_or(String::new(), |files| format!("ulimit -n {files}; "));
        let mut command = match &self.namespace {
            None => Command::new("sh"),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, "sh"]);
                command
            }
        };
        let mut child = command
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), &self.program])
            .args(["--listen", &self.listen])
            .args(if self.flags.iter().any(|flag| flag == "--log-format") {
                &[][..]
            } else {
                &["--log-format", "text"][..]
            })
            .args(if self.flags.iter().any(|flag| flag == "--system") {
                &[][..]
            } else {
                &["--system", "off", "--publish-log=off"][..]
            })
            .arg("--data-dir")
            .arg(&self.data)
            .args(&self.flags)
            .envs(self.variables.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // The line with the command to publish is the last one.
        self.banner.clear();
        while !self.banner.contains("  publish: ") {
            if stdout.read_line(&mut self.banner).unwrap() == 0 {
                break;
            }
        }
        self.child = Some(child);
        let metrics = self.banner.lines().find_map(|line| line.strip_prefix("metrics on http://"));
        self.metrics = metrics.map(|url| url.strip_suffix("/metrics").unwrap().to_owned());
        let line = self.banner.lines().next().unwrap_or_default();
        let address = line.trim().strip_prefix("listening on ").and_then(|l| l.split_once("://"));
        let (scheme, address) =
            address.unwrap_or_else(|| panic!("the hub did not start: {line}\n{}", self.log()));
        (self.scheme, self.address) = (scheme.to_owned(), address.to_owned());
    }

    /// Keeps the current address for further starts, for clients that reconnect to it.
    #[cfg_attr(not(any(feature = "cli", feature = "cluster")), expect(dead_code))]
    pub fn keep_address(&mut self) {
        self.listen.clone_from(&self.address);
    }

    /// Returns everything that the hub wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops the process without ending it.
    #[cfg(feature = "cluster")]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    #[cfg(feature = "cluster")]
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP without waiting.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the log contains `text` at least `times` times.
    pub async fn wait_for_log(&self, text: &str, times: usize) {
        let started = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(started.elapsed() < TEST_TIMEOUT, "{text:?} is not logged\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of the process.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        tokio::time::timeout(
            TEST_TIMEOUT,
            tokio::task::spawn_blocking(move || child.wait().unwrap()),
        )
        .await
        .expect("the hub does not end")
        .unwrap()
    }

    /// Sends SIGTERM and waits for a successful exit.
    pub async fn stop(&mut self) {
        self.terminate();
        assert!(self.wait_for_exit().await.success(), "{}", self.log());
    }

    /// Publishes one event and returns its receipt.
    pub async fn publish(&self, stream: &str, data: &str) -> Value {
        self.post("/publish", json!({ "stream": stream, "data": data })).await
    }

    /// Publishes and returns the id.
    pub async fn publish_id(&self, stream: &str, data: &str) -> String {
        self.publish(stream, data).await["id"].as_str().unwrap().to_owned()
    }

    /// Posts JSON and expects success.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, response) = self.try_post(path, body.to_string()).await;
        assert_eq!(status, 200, "{path} {response}");
        response
    }

    /// Posts a body; returns the status and the JSON answer.
    pub async fn try_post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let response = self.http.post(self.url(path)).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Gets a path; returns the status and the JSON answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        // A live stream does not end.
        let response = self.http.get(self.url(path)).timeout(TEST_TIMEOUT).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Subscribes as a plain client.
    pub async fn subscribe(&self, path: &str) -> Reader {
        Reader::connect(&self.address, path, &[]).await.unwrap()
    }

    /// Subscribes with a `Last-Event-ID`.
    pub async fn resume(&self, path: &str, last_id: &str) -> Reader {
        Reader::connect(&self.address, path, &[("Last-Event-ID", last_id)]).await.unwrap()
    }

    /// Returns a sample of `/metrics`; `name` includes its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        self.scrape().await.sample(name)
    }

    /// Scrapes `/metrics` once, for samples that are compared with each other.
    pub async fn scrape(&self) -> Scrape {
        let url = match &self.metrics {
            Some(address) => format!("http://{address}/metrics"),
            None => self.url("/metrics"),
        };
        Scrape(self.http.get(url).send().await.unwrap().text().await.unwrap())
    }

    /// Waits until a metric satisfies `is_reached`.
    pub async fn wait_for_metric(&self, name: &str, is_reached: impl Fn(f64) -> bool) {
        let started = Instant::now();
        loop {
            let value = self.metric(name).await;
            if is_reached(value) {
                return;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "{name} stays at {value}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the hub is ready.
    pub async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let (status, checks) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "not ready: {checks}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }
}

/// The answer to one scrape of `/metrics`.
pub struct Scrape(String);

impl Scrape {
    /// Returns a sample; `name` includes its labels.
    pub fn sample(&self, name: &str) -> f64 {
        let mut lines = self.0.lines();
        let line = lines.find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no metric {name} in\n{}", self.0));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// Returns a new log file, on a disk that no test fills.
fn log_file() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fanfare-suite-{}-{n}.log", std::process::id()))
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the hub's log:\n{}", self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Raises the soft limit of open files to the hard one: some tests open thousands of sockets.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
