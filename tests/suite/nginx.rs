//! nginx in front of a hub.

use rustix::process::{Pid, Signal, kill_process};
#[cfg(feature = "durable-streams")]
use std::net::TcpListener;
use std::process::{Child, Command};
use tempfile::TempDir;

/// A running nginx, stopped on drop.
pub struct Nginx {
    child: Child,
    pub address: String,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx at `address`, where `site` listens; `{folder}` in it is a directory of its own.
    pub fn start(address: String, site: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("site"), site.replace("{folder}", &path(""))).unwrap();
        let config = format!(
            "daemon off; pid {}; error_log {}; worker_processes 1; user root;\n\
             events {{ worker_connections 512; }}\nhttp {{ access_log off; include {}; }}\n",
            path("pid"),
            path("log"),
            path("site")
        );
        std::fs::write(path("config"), config).unwrap();
        let mut command = Command::new("nginx");
        let child = command.args(["-c", &path("config"), "-p", &path("")]).spawn().unwrap();
        Self { child, address, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// Returns an address that is free now.
#[cfg(feature = "durable-streams")]
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
