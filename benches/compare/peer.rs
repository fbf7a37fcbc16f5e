//! A server to compare with: one file in `peers/` defines how to install, start and reach it.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Maximum time until a server listens.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Maximum time until a server has stopped; then it is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Content of the file. `{dir}`, `{port}` and `{venv}` stand for a temporary folder of the run, a
/// free port, and the Python environment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    pub about: String,
    /// A shell command that prints the version.
    version: String,
    #[serde(default)]
    debian: Vec<String>,
    #[serde(default)]
    python: Vec<String>,
    start: Vec<String>,
    subscribe_url: Option<String>,
    publish_url: String,
    /// Rows that the server is measured in.
    pub rows: Vec<String>,
    /// Arguments by row, for `args_of`.
    #[serde(default)]
    args: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl Peer {
    /// Reads every file of a folder.
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            toml::from_str(&std::fs::read_to_string(path).unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        paths.iter().map(read).collect()
    }

    /// Returns the additional arguments of `fanfare bench` for a row.
    pub fn args_of(&self, row: &str) -> &[String] {
        self.args.get(row).map_or(&[], Vec::as_slice)
    }

    /// Returns the version that the server reports.
    pub fn version(&self, work: &Path) -> String {
        super::shell(&self.version.replace("{venv}", &super::venv(work).display().to_string()))
    }

    /// Starts the server, measures it, and stops it.
    pub fn run(&self, work: &Path, row: &str, row_args: &[&str]) -> Value {
        let server = self.start(work);
        let pid = server.0.id().to_string();
        let port = server.1.to_string();
        let url = |url: &str| url.replace("{port}", &port);
        let mut args: Vec<String> = row_args.iter().map(|a| (*a).to_owned()).collect();
        args.extend(["--json".into(), "--pid".into(), pid]);
        args.extend(["--publish-url".into(), url(&self.publish_url)]);
        if let Some(subscribe) = &self.subscribe_url {
            args.extend(["--subscribe-url".into(), url(subscribe)]);
        }
        for arg in self.args_of(row) {
            // An argument of the peer replaces that of the row.
            if let Some(index) = args.iter().position(|a| a == arg && arg.starts_with("--")) {
                args.drain(index..index + 2);
            }
            args.push(arg.clone());
        }
        super::bench(args)
    }

    fn start(&self, work: &Path) -> RunningPeer {
        let folder = tempfile::Builder::new().prefix(&self.name).tempdir_in(work).unwrap();
        // Workers that run as another user must read their files, too.
        run("chmod", &["755", &folder.path().display().to_string()]);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fill = |text: &str| {
            text.replace("{dir}", &folder.path().display().to_string())
                .replace("{port}", &port.to_string())
                .replace("{venv}", &super::venv(work).display().to_string())
        };
        for (name, text) in &self.files {
            // Other braces in the file stay: only known placeholders are replaced.
            std::fs::write(folder.path().join(name), fill(text)).unwrap();
        }
        let args: Vec<String> = self.start.iter().map(|arg| fill(arg)).collect();
        let fanfare = Path::new(env!("CARGO_BIN_EXE_fanfare"));
        let mut command = fanfare::bench::child::command(fanfare, &args[0]);
        let child = command.args(&args[1..]).stdout(Stdio::null()).spawn();
        let mut running =
            RunningPeer(child.unwrap_or_else(|e| panic!("{}: {e}", args[0])), port, folder);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(running.0.try_wait().unwrap().is_none(), "{} does not run", self.name);
            assert!(start.elapsed() < STARTS_WITHIN, "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }
}

/// Installs the missing packages of the peers.
pub fn install(peers: &[Peer], work: &Path) {
    let is_installed = |package: &&String| {
        let state = Command::new("dpkg-query").args(["-W", "-f=${Status}", package]).output();
        state.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("ok installed"))
    };
    let debian = peers.iter().flat_map(|peer| &peer.debian);
    let missing: Vec<&str> =
        debian.filter(|package| !is_installed(package)).map(String::as_str).collect();
    if !missing.is_empty() {
        run("apt-get", &["update", "-qq"]);
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        run("apt-get", &[&install[..], &missing].concat());
    }
    let python: Vec<&str> =
        peers.iter().flat_map(|peer| &peer.python).map(String::as_str).collect();
    if !python.is_empty() {
        let venv = super::venv(work);
        if !venv.exists() {
            run("python3", &["-m", "venv", &venv.display().to_string()]);
        }
        let pip = venv.join("bin/pip").display().to_string();
        run(&pip, &[&["install", "-q", "--disable-pip-version-check"][..], &python].concat());
    }
}

struct RunningPeer(Child, u16, #[allow(dead_code)] tempfile::TempDir);

impl Drop for RunningPeer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            if start.elapsed() > STOPS_WITHIN {
                self.0.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    let status = command.status();
    let status = status.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(status.success(), "{program} {} failed", args.join(" "));
}
