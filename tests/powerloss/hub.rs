//! A hub process on a disk that can lose power.

use crate::client::{Client, Event};
use crate::disk::Disk;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A start or an answer that takes longer is a failure.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(2);

/// The outcome of a start.
#[derive(PartialEq, Eq, Debug)]
pub enum Started {
    Listening,
    /// The disk stopped at the chosen operation before the hub listened, and the hub was killed.
    Stopped,
    /// The process ended by itself.
    Exited,
    TimedOut,
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

/// Returns the path of the tested program: `FANFARE`, or the one that Cargo built with the tests.
pub fn program() -> String {
    std::env::var("FANFARE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fanfare").to_owned())
}

impl Hub {
    /// Starts the process and does not wait for it.
    pub fn spawn(disk: &Disk, flags: &[&str]) -> Self {
        let log = tempfile::tempdir().unwrap();
        let stderr = std::fs::File::create(log.path().join("log")).unwrap();
        let mut child = Command::new(program())
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
        let (sender, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
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
        let start = Instant::now();
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
                Err(RecvTimeoutError::Timeout) if start.elapsed() > TIMEOUT => {
                    return Started::TimedOut;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the process with SIGKILL and leaves the contents of the disk unchanged.
    pub fn kill(&mut self, disk: &Disk) {
        let _ = self.child.kill();
        disk.disconnect();
        self.reap();
    }

    fn reap(&mut self) {
        // The watchdog must not signal the process id after the process was waited for.
        self.has_ended.store(true, Ordering::Relaxed);
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
        let _ = self.child.wait();
    }

    /// Starts a reader that collects events as they come.
    pub fn watch(&mut self) {
        self.readers.push(self.client().watch());
    }

    /// Returns the events that readers saw of a hub that has ended.
    pub fn take_seen(&mut self) -> Vec<Event> {
        let readers = std::mem::take(&mut self.readers);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    }

    pub fn client(&self) -> Client {
        self.client.clone().expect("the hub listens")
    }

    /// Returns the standard error output of the process.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.has_ended.store(true, Ordering::Relaxed);
        // Not waited for, because the disk may hold its requests until it is unmounted.
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
