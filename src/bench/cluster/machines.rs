//! The servers and hubs that are measured: three of each, and a hub without a cluster.

use super::super::child::{OwnedChild, OwnedFolder, command};
use super::super::exchange::exchange;
use super::super::server::own_command;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub const NODES: usize = 3;
/// Configuration of the servers.
const CONFIG: &str = include_str!("../../../deploy/cluster/nats.conf");
/// Maximum time for a server or a hub to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Flags of all hubs: publishes are not limited.
const FLAGS: [&str; 4] =
    ["--publish-events-per-client", "1000000000", "--publish-bytes-per-client", "1TiB"];
/// Size of the log: a hub that joins after `--events` needs a snapshot.
const LOG_BYTES: &str = "128MiB";

/// A running hub.
pub struct Hub {
    pub address: SocketAddr,
    pub pid: u32,
    _child: OwnedChild,
}

/// A NATS server.
struct Server {
    address: SocketAddr,
    routes: SocketAddr,
    child: Option<OwnedChild>,
}

/// All servers and hubs.
pub struct Machines {
    /// Hub without a cluster.
    pub single: Hub,
    /// Hubs of the cluster.
    pub hubs: Vec<Hub>,
    servers: Vec<Server>,
    program: PathBuf,
    folder: OwnedFolder,
}

impl Machines {
    /// Starts all of them, and waits until they are ready.
    pub fn start(program: &Path) -> Result<Self> {
        let folder = OwnedFolder::create()?;
        std::fs::write(folder.path().join("nats.conf"), CONFIG)?;
        let free = || TcpListener::bind("127.0.0.1:0");
        // All are bound at a time, so that their ports differ.
        let listeners = (0..2 * NODES + 1).map(|_| free()).collect::<Result<Vec<_>, _>>()?;
        let mut addresses = Vec::new();
        for listener in &listeners {
            addresses.push(listener.local_addr()?);
        }
        drop(listeners);
        let servers = (0..NODES).map(|n| Server {
            address: addresses[n],
            routes: addresses[NODES + n],
            child: None,
        });
        let mut servers: Vec<Server> = servers.collect();
        for n in 0..NODES {
            servers[n].child = Some(start_server(program, folder.path(), &servers, n)?);
        }
        let single = start_hub(folder.path(), "single", &[])?;
        let mut hubs = Vec::new();
        for n in 0..NODES {
            hubs.push(start_hub(folder.path(), &format!("h{n}"), &servers)?);
        }
        let program = program.to_owned();
        let machines = Self { single, hubs, servers, program, folder };
        for hub in machines.hubs.iter().chain([&machines.single]) {
            wait_until_ready(hub)?;
        }
        Ok(machines)
    }

    /// Starts another hub of the cluster.
    pub fn add_hub(&mut self) -> Result<()> {
        let name = format!("h{}", self.hubs.len());
        let hub = start_hub(self.folder.path(), &name, &self.servers)?;
        wait_until_ready(&hub)?;
        self.hubs.push(hub);
        Ok(())
    }

    /// Returns the number of the server that leads the log.
    pub fn leader(&self) -> Result<usize> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            let answer = exchange(self.hubs[0].address, "GET /cluster HTTP/1.1", "")?;
            let cluster: Value = serde_json::from_str(answer.body())?;
            let name = cluster["log"]["leader"].as_str().and_then(|name| name.strip_prefix('n'));
            if let Some(leader) = name.and_then(|number| number.parse().ok()) {
                return Ok(leader);
            }
            std::thread::sleep(POLL);
        }
        bail!("no server leads the log")
    }

    /// Waits until all servers store the whole log.
    pub fn wait_for_servers(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            let answer = exchange(self.hubs[0].address, "GET /cluster HTTP/1.1", "")?;
            let cluster: Value = serde_json::from_str(answer.body())?;
            let log = &cluster["log"];
            if log["stale_servers"] == Value::Array(Vec::new()) && log["leader"].is_string() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("the servers do not store the whole log")
    }

    /// Kills a server.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].child = None;
    }

    /// Stops a server as an operator does.
    pub fn stop(&mut self, server: usize) -> Result<()> {
        let child = self.servers[server].child.take().context("a running server")?;
        Ok(child.terminate()?)
    }

    /// Sends a signal to a server.
    pub fn signal(&self, server: usize, signal: Signal) -> Result<()> {
        let child = self.servers[server].child.as_ref().context("a running server")?;
        Ok(child.signal(signal)?)
    }

    /// Starts a server again.
    pub fn restart(&mut self, server: usize) -> Result<()> {
        let child = start_server(&self.program, self.folder.path(), &self.servers, server)?;
        self.servers[server].child = Some(child);
        Ok(())
    }
}

fn start_server(program: &Path, folder: &Path, all: &[Server], n: usize) -> Result<OwnedChild> {
    let routes: Vec<String> =
        all.iter().map(|server| format!("nats://{}", server.routes)).collect();
    OwnedChild::start(|| {
        let mut command = command(&std::env::current_exe()?, program);
        command.arg("-c").arg(folder.join("nats.conf"));
        command.env("NATS_NAME", format!("n{n}"));
        command.env("NATS_LISTEN", all[n].address.to_string());
        command.env("NATS_CLUSTER_LISTEN", all[n].routes.to_string());
        command.env("NATS_STORE", folder.join(format!("nats{n}")));
        command.env("NATS_ROUTES", format!("[{}]", routes.join(", ")));
        let child = command.stderr(Stdio::null()).spawn();
        Ok((child.with_context(|| format!("cannot start {}", program.display()))?, None))
    })
}

/// Starts a hub: one of a cluster if there are servers.
fn start_hub(folder: &Path, name: &str, servers: &[Server]) -> Result<Hub> {
    let child = OwnedChild::start(|| {
        let mut command = own_command()?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--system", "off"]);
        command.arg("--publish-log=off").arg("--data-dir").arg(folder.join(name)).args(FLAGS);
        for server in servers {
            command.args(["--cluster-nats", &format!("nats://{}", server.address)]);
        }
        if !servers.is_empty() {
            command.args(["--node", name, "--cluster-log-max-bytes", LOG_BYTES]);
        }
        let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
        Ok((command.stdout(Stdio::piped()).stderr(log).spawn()?, None))
    })?;
    let (pid, out) = child.child().context("a hub that was started")?;
    let mut line = String::new();
    BufReader::new(out.context("the output of the hub")?).read_line(&mut line)?;
    let Some(address) = line.trim().strip_prefix("listening on http://") else {
        let log = std::fs::read_to_string(folder.join(format!("{name}.log")));
        bail!("hub {name} did not start: {}", log.unwrap_or_default());
    };
    Ok(Hub { address: address.parse()?, pid, _child: child })
}

fn wait_until_ready(hub: &Hub) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = exchange(hub.address, "GET /readyz HTTP/1.1", "")?;
        if answer.status == 200 {
            return Ok(());
        }
        ensure!(started.elapsed() < READY_WITHIN, "a hub is not ready: {}", answer.body());
        std::thread::sleep(POLL);
    }
}
