//! Machines in network namespaces, whose packets to each other can be dropped.

use super::fixture::{Cluster, NODES};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A router and a machine for each node. Machine `n` has the address 10.77.n.2.
pub struct Network {
    router: String,
    /// Senders and receivers whose packets are dropped.
    dropped: Mutex<Vec<(usize, usize)>>,
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}; this test needs root");
}

impl Network {
    fn create() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let router = format!("fanfare-{}-{number}", std::process::id());
        let network = Self { router, dropped: Mutex::default() };
        let router = &network.router;
        ip(&format!("netns add {router}"));
        ip(&format!("-n {router} link set lo up"));
        for n in 0..NODES {
            let machine = network.namespace(n);
            ip(&format!("netns add {machine}"));
            ip(&format!("link add m{n} netns {router} type veth peer name eth0 netns {machine}"));
            ip(&format!("-n {router} address add 10.77.{n}.1/24 dev m{n}"));
            ip(&format!("-n {router} link set m{n} up"));
            ip(&format!("-n {machine} address add 10.77.{n}.2/24 dev eth0"));
            ip(&format!("-n {machine} link set lo up"));
            ip(&format!("-n {machine} link set eth0 up"));
            ip(&format!("-n {machine} route add default via 10.77.{n}.1"));
        }
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        let status =
            Command::new("ip").args(["netns", "exec", router, "sh", "-c", forward]).status();
        assert!(status.unwrap().success());
        network
    }

    /// Returns the namespace of a machine.
    pub fn namespace(&self, machine: usize) -> String {
        format!("{}-m{machine}", self.router)
    }

    /// Returns the addresses of all machines with a port.
    pub fn addresses(&self, port: u16) -> Vec<String> {
        (0..NODES).map(|n| format!("10.77.{n}.2:{port}")).collect()
    }

    /// Drops all packets from a machine to another one.
    pub fn drop_packets(&self, from: usize, to: usize) {
        let mut dropped = self.dropped.lock().unwrap();
        if !dropped.contains(&(from, to)) {
            ip(&format!("-n {} {}", self.router, rule("add", from, to)));
            dropped.push((from, to));
        }
    }

    /// Cuts a machine off from the others.
    pub fn cut_off(&self, machine: usize) {
        for other in (0..NODES).filter(|other| *other != machine) {
            self.drop_packets(machine, other);
            self.drop_packets(other, machine);
        }
    }

    /// Drops no more packets.
    pub fn heal(&self) {
        for (from, to) in self.dropped.lock().unwrap().drain(..) {
            ip(&format!("-n {} {}", self.router, rule("del", from, to)));
        }
    }

    /// Moves this thread, and what it starts, to the router.
    fn enter(&self) {
        let namespace = File::open(format!("/run/netns/{}", self.router)).unwrap();
        let moved = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
        moved.unwrap();
    }
}

fn rule(action: &str, from: usize, to: usize) -> String {
    format!("rule {action} from 10.77.{from}.2 to 10.77.{to}.2 blackhole")
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in (0..NODES).map(|n| self.namespace(n)).chain([self.router.clone()]) {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

/// Runs a test with a cluster whose hubs and servers are on the machines of a network. The test is at its
/// router, which reaches all machines.
pub fn with_network(flags: &[&str], test: impl AsyncFnOnce(Cluster) + Send) {
    let network = Network::create();
    let run = || {
        network.enter();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { test(Cluster::on(Some(network), flags).await).await });
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| resume_unwind(panic));
}
