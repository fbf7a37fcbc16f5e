//! A cluster of hubs for tests.

use super::nats::{Server, free_addresses};
use crate::hub::Hub;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const NODES: usize = 3;

/// Returns the path of a file of `deploy/cluster`.
pub fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/cluster").join(name)
}

/// Three NATS servers and three hubs.
pub struct Cluster {
    pub hubs: Vec<Hub>,
    pub servers: Vec<Server>,
    /// Addresses of the servers.
    pub addresses: Vec<String>,
    pub folder: TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with_flags(&[]).await
    }

    pub async fn with_flags(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (addresses, routes) = (free_addresses(), free_addresses());
        let list = routes.iter().map(|address| format!("nats://{address}"));
        let list = list.collect::<Vec<_>>().join(", ");
        let mut servers: Vec<Server> = (0..NODES)
            .map(|n| {
                let path = |name: &str| folder.path().join(format!("{name}{n}"));
                let variables = vec![
                    ("NATS_NAME", format!("n{n}")),
                    ("NATS_LISTEN", addresses[n].clone()),
                    ("NATS_STORE", path("store").display().to_string()),
                    ("NATS_CLUSTER_LISTEN", routes[n].clone()),
                    ("NATS_ROUTES", format!("[{list}]")),
                ];
                Server { config: deployed("nats.conf"), variables, log: path("log"), child: None }
            })
            .collect();
        servers.iter_mut().for_each(Server::start);
        let starts = (0..NODES).map(|n| {
            let data = folder.path().join(format!("hub{n}"));
            let (url, node) = (format!("nats://{}", addresses[n]), format!("h{n}"));
            async move { start_hub(&data, &url, &node, flags).await }
        });
        let hubs = futures_util::future::join_all(starts).await;
        Self { hubs, servers, addresses, folder }
    }

    /// Adds a hub with an empty data directory.
    pub async fn add_hub(&mut self, flags: &[&str]) {
        let n = self.hubs.len();
        let data = self.folder.path().join(format!("hub{n}"));
        let url = format!("nats://{}", self.addresses[n % NODES]);
        self.hubs.push(start_hub(&data, &url, &format!("h{n}"), flags).await);
    }

    /// Returns the directory in which a server stores the log.
    pub fn store(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("store{server}"))
    }

    /// Returns the number of the server that became leader of the stream last.
    pub fn leader(&self) -> usize {
        let at = |server: &Server| {
            let log = std::fs::read_to_string(&server.log).unwrap();
            let line = log.lines().rfind(|line| line.contains("new stream leader"));
            line.map(|line| line.split("] ").nth(1).unwrap_or_default().to_owned())
        };
        (0..NODES).max_by_key(|n| at(&self.servers[*n])).unwrap()
    }
}

async fn start_hub(data: &Path, url: &str, node: &str, flags: &[&str]) -> Hub {
    let mut flags = [&["--cluster-nats", url, "--node", node], flags].concat();
    // The servers reserve the room of the log on the disk.
    if !flags.contains(&"--cluster-log-max-bytes") {
        flags.extend(["--cluster-log-max-bytes", "64MiB"]);
    }
    Hub::start_in(data, &flags).await
}
