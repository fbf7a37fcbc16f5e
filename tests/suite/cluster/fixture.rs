//! A cluster of hubs for tests.

use super::nats::{Server, free_addresses};
use super::network::Network;
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
    /// Network whose machines they run on; `None` if all run on this one.
    pub network: Option<Network>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with_flags(&[]).await
    }

    pub async fn with_flags(flags: &[&str]) -> Self {
        Self::on(None, flags).await
    }

    /// Starts a server and a hub on each machine of a network, or all on this one.
    pub async fn on(network: Option<Network>, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (addresses, routes) = match &network {
            None => (free_addresses(), free_addresses()),
            Some(network) => (network.addresses(4222), network.addresses(6222)),
        };
        let namespace = |n: usize| network.as_ref().map(|network| network.namespace(n));
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
                let (config, log) = (deployed("nats.conf"), path("log"));
                Server { config, variables, log, namespace: namespace(n), child: None }
            })
            .collect();
        servers.iter_mut().for_each(Server::start);
        let starts = (0..NODES).map(|n| {
            let data = folder.path().join(format!("hub{n}"));
            let (url, node) = (format!("nats://{}", addresses[n]), format!("h{n}"));
            let address = |network: &Network| network.addresses(8080).swap_remove(n);
            let place = network.as_ref().map(|network| Place {
                namespace: network.namespace(n),
                address: address(network),
            });
            async move { start_hub(&data, &url, &node, place, flags).await }
        });
        let hubs = futures_util::future::join_all(starts).await;
        Self { hubs, servers, addresses, folder, network }
    }

    /// Adds a hub with an empty data directory.
    pub async fn add_hub(&mut self, flags: &[&str]) {
        let n = self.hubs.len();
        let data = self.folder.path().join(format!("hub{n}"));
        let url = format!("nats://{}", self.addresses[n % NODES]);
        self.hubs.push(start_hub(&data, &url, &format!("h{n}"), None, flags).await);
    }

    /// Stops all hubs.
    pub async fn stop_hubs(&mut self) {
        for hub in &mut self.hubs {
            hub.stop().await;
        }
    }

    /// Returns the network whose machines they run on.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a network")
    }

    /// Returns the directory in which a server stores the log.
    pub fn store(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("store{server}"))
    }

    /// Returns the number of the server that became leader of the log last.
    pub fn leader(&self) -> usize {
        self.last_to_log("new stream leader for '$G > fanfare'")
    }

    /// Returns the number of the server that became the one which creates and deletes streams last.
    pub fn metadata_leader(&self) -> usize {
        self.last_to_log("Self is new JetStream cluster metadata leader")
    }

    /// Returns the number of the server that has logged a text last.
    fn last_to_log(&self, text: &str) -> usize {
        let at = |server: &Server| {
            let log = std::fs::read_to_string(&server.log).unwrap();
            let line = log.lines().rfind(|line| line.contains(text));
            line.map(|line| line.split("] ").nth(1).unwrap_or_default().to_owned())
        };
        (0..NODES).max_by_key(|n| at(&self.servers[*n])).unwrap()
    }
}

/// Machine of a network, and the address of a hub there.
struct Place {
    namespace: String,
    address: String,
}

/// Starts a hub, on this machine if it has no other place.
async fn start_hub(
    data: &Path,
    url: &str,
    node: &str,
    place: Option<Place>,
    flags: &[&str],
) -> Hub {
    let mut flags = [&["--cluster-nats", url, "--node", node], flags].concat();
    // The servers reserve the room of the log on the disk.
    if !flags.contains(&"--cluster-log-max-bytes") {
        flags.extend(["--cluster-log-max-bytes", "64MiB"]);
    }
    let Some(Place { namespace, address }) = place else {
        return Hub::start_in(data, &flags).await;
    };
    // No loopback address, so that nothing is allowed by default.
    for grant in ["subscribe", "publish", "metrics"] {
        flags.extend(["--anonymous", grant]);
    }
    Hub::start_in_namespace(data, &namespace, &address, &flags).await
}
