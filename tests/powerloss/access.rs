//! A hub with authentication: a configuration with keys, a job and a followed file.

use crate::client::Client;
use crate::disk::Disk;
use crate::hub::{Hub, TIMEOUT};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The secret of the key `admin`, which may do everything.
pub const ADMIN: &str = "adm";
/// The secret of the key `page`, which makes tickets.
pub const PAGE: &str = "p";
/// The path that is read with a ticket or a key.
const READ: &str = "/streams/a.x/events?from=start&follow=false&format=ndjson&control=off";

/// A configuration and the files that it names, on a disk that loses nothing.
pub struct Settings {
    folder: TempDir,
}

impl Settings {
    /// Writes a configuration with the keys `admin`, `page`, and `old-0` to `old-4`; the secrets of
    /// the latter five are their names.
    pub fn write() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let grants =
            "subscribe = [\"**\"]\npublish = [\"**\"]\nchat = [\"*\"]\nrun = [\"*\"]\nadmin = true";
        let mut text = describe_key("admin", ADMIN, grants);
        text += &describe_key("page", PAGE, "subscribe = [\"a.**\"]\npublish = [\"a.**\"]");
        for name in (0..5).map(old_key) {
            text += &describe_key(&name, &name, "subscribe = [\"a.**\"]");
        }
        let log = folder.path().join("app.log");
        std::fs::write(&log, "").unwrap();
        text += "[job.greet]\ncommand = [\"sh\", \"-c\", \"echo one; echo two; exit 3\"]\n";
        text += &format!("[[source.tail]]\npaths = [{log:?}]\n");
        std::fs::write(folder.path().join("fanfare.toml"), text).unwrap();
        Self { folder }
    }

    /// The followed file.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    /// The flags that name the settings.
    pub fn flags(&self) -> [String; 2] {
        let path = self.folder.path().join("fanfare.toml");
        ["--config".to_owned(), path.to_string_lossy().into_owned()]
    }

    /// Starts a hub with these settings, which must come up.
    pub fn start(&self, disk: &Disk) -> Result<Hub, String> {
        let flags = self.flags();
        Hub::start_up(disk, &[&flags[0], &flags[1]])
    }
}

/// Returns the name of a key that scenarios revoke, which is also its secret.
pub fn old_key(n: u64) -> String {
    format!("old-{n}")
}

fn describe_key(name: &str, secret: &str, grants: &str) -> String {
    let hash: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[key]]\nname = {name:?}\nsha256 = {hash:?}\n{grants}\n")
}

/// Posts JSON and expects a status from 200 to 202.
pub fn post(client: &Client, path: &str, body: &Value) -> Result<Value, String> {
    match client.post(path, body) {
        Some((200..=202, response)) => Ok(response),
        other => Err(format!("POST {path}: {other:?}")),
    }
}

/// Makes a ticket for `a.**`.
pub fn make_ticket(hub: &Hub) -> Result<String, String> {
    let page = hub.client().with_credential(PAGE);
    let response = post(&page, "/tickets", &json!({ "streams": ["a.**"], "ttl": "30m" }))?;
    response["ticket"].as_str().map(str::to_owned).ok_or_else(|| format!("no ticket: {response}"))
}

/// Returns the status of a read with a ticket.
pub fn read_with_ticket(hub: &Hub, ticket: &str) -> Option<u16> {
    Some(hub.client().get(&format!("{READ}&ticket={ticket}"))?.0)
}

/// Returns the status of a read with a key.
pub fn read_with_key(hub: &Hub, secret: &str) -> Option<u16> {
    Some(hub.client().with_credential(secret).get(READ)?.0)
}

/// Calls `find` until it returns a value.
pub fn wait_for<T>(condition: &str, mut find: impl FnMut() -> Option<T>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if start.elapsed() > TIMEOUT {
            return Err(format!("{condition} does not happen"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
