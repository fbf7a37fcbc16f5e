//! Random faults under load, and a check of everything that publishers and subscribers have seen.

use super::fixture::{Cluster, NODES, deployed};
use super::nats::{Server, free_addresses};
use super::network::with_network;
use crate::hub::{Hub, TEST_TIMEOUT, http, is_full_run};
use crate::nginx::Nginx;
use crate::reader::Reader;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PUBLISHERS: usize = 3;
const READERS: usize = 3;
/// Time after which a client leaves a hub that does not answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// An event: its id, and its data.
pub type Seen = (String, String);

/// Addresses and counters of all clients.
pub struct Load {
    addresses: Vec<String>,
    is_over: AtomicBool,
    /// Number of acknowledged events of each publisher.
    acknowledged: [AtomicUsize; PUBLISHERS],
}

/// Publishes numbered events one after the other, each until it is acknowledged, at any hub. Returns the
/// acknowledged ids, in order.
async fn publish(load: Arc<Load>, publisher: usize, seed: u64) -> Vec<String> {
    let (mut rng, http) = (StdRng::seed_from_u64(seed), http());
    let mut ids = Vec::new();
    while !load.is_over.load(Ordering::Relaxed) {
        let text = format!("{publisher} {}", ids.len());
        let body = json!({ "stream": format!("s.{publisher}"), "data": text, "key": text });
        let body = body.to_string();
        let id = loop {
            let address = load.addresses.choose(&mut rng).unwrap();
            let request = http.post(format!("http://{address}/publish")).body(body.clone());
            let request = request.header("Content-Type", "application/json").timeout(PATIENCE);
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let answer = response.json::<Value>().await.unwrap_or_default();
                match status {
                    200 => break answer["id"].as_str().unwrap().to_owned(),
                    // The last two are of a load balancer.
                    502..=504 => {}
                    _ => panic!("{text}: {status} {answer}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        ids.push(id);
        load.acknowledged[publisher].fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..20))).await;
    }
    ids
}

/// Reads all streams in a chain of connections to random hubs until it has read the event `last`.
async fn read(load: Arc<Load>, last: Arc<OnceLock<String>>, seed: u64) -> Vec<Seen> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        let address = load.addresses.choose(&mut rng).unwrap();
        let until = Instant::now() + Duration::from_millis(rng.random_range(200..3_000));
        let id = seen.last().map(|(id, _)| id.clone());
        let connection = read_some(address, id.as_deref(), until, &mut seen);
        // A frozen hub accepts the connection and sends nothing.
        let _ = tokio::time::timeout(PATIENCE, connection).await;
        if last.get().is_some_and(|last| seen.last().is_some_and(|(id, _)| id == last)) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads with one connection until a time.
async fn read_some(address: &str, id: Option<&str>, until: Instant, seen: &mut Vec<Seen>) {
    let path = match id {
        Some(_) => "/events?stream=s.*",
        None => "/events?stream=s.*&from=start",
    };
    let headers: Vec<_> = id.map(|id| ("Last-Event-ID", id)).into_iter().collect();
    let Ok(mut reader) = Reader::connect(address, path, &headers).await else { return };
    while Instant::now() < until {
        let Ok(event) = tokio::time::timeout(PATIENCE, reader.next_or_error()).await else {
            return;
        };
        let Ok(Some(event)) = event else { return };
        match event.name.as_str() {
            "hub-open" => {
                let resume = &event.json()["resume"];
                assert!(resume == "resumed" || id.is_none(), "{id:?}: {}", event.data);
            }
            "hub-error" => return,
            name if name.starts_with("hub-") => panic!("{name} {}", event.data),
            _ => seen.push((event.id, event.data)),
        }
    }
}

/// Running publishers and readers.
pub struct Clients {
    pub load: Arc<Load>,
    /// Id of the last event, once publishing has stopped.
    last: Arc<OnceLock<String>>,
    publishers: Vec<JoinHandle<Vec<String>>>,
    readers: Vec<JoinHandle<Vec<Seen>>>,
}

impl Clients {
    pub fn start(addresses: Vec<String>, rng: &mut impl Rng) -> Self {
        let (is_over, acknowledged) = (AtomicBool::new(false), Default::default());
        let load = Arc::new(Load { addresses, is_over, acknowledged });
        let last = Arc::new(OnceLock::new());
        let publishers =
            (0..PUBLISHERS).map(|n| tokio::spawn(publish(load.clone(), n, rng.random()))).collect();
        let readers = (0..READERS)
            .map(|_| tokio::spawn(read(load.clone(), last.clone(), rng.random())))
            .collect();
        Self { load, last, publishers, readers }
    }

    /// Stops the publishers, and checks what all clients have seen. Returns all events.
    pub async fn finish(self, cluster: &Cluster) -> Vec<Seen> {
        self.load.is_over.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for publisher in self.publishers {
            let ids = tokio::time::timeout(TEST_TIMEOUT, publisher).await;
            acknowledged.push(ids.expect("a publisher ends").unwrap());
        }
        let history = checked_history(cluster, &acknowledged).await;
        self.last.set(history.last().unwrap().0.clone()).unwrap();
        for reader in self.readers {
            let seen = tokio::time::timeout(TEST_TIMEOUT, reader).await;
            let seen = seen.expect("a reader ends").unwrap();
            assert!(seen == history, "a reader has read {} of {}", seen.len(), history.len());
        }
        history
    }
}

/// A fault, and the hub or server that it befalls.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KilledHub(usize),
    StoppedHub(usize),
    FrozenHub(usize),
    KilledServer(usize),
    FrozenServer(usize),
    LostQuorum(usize),
    AllServersKilled,
    /// A machine is cut off from the others.
    CutOff(usize),
    /// The packets of a machine to another one are lost.
    OneWayLoss(usize, usize),
}

impl Fault {
    fn random(rng: &mut StdRng) -> Self {
        let n = rng.random_range(0..NODES);
        match rng.random_range(0..12) {
            0 | 1 => Self::KilledHub(n),
            2 => Self::StoppedHub(n),
            3 => Self::FrozenHub(n),
            4 | 5 => Self::KilledServer(n),
            6 => Self::FrozenServer(n),
            7 => Self::LostQuorum(n),
            8 | 9 => Self::CutOff(n),
            10 => Self::OneWayLoss(n, (n + rng.random_range(1..NODES)) % NODES),
            _ => Self::AllServersKilled,
        }
    }

    /// Returns the hubs and the servers that it befalls.
    fn victims(self) -> (Vec<usize>, Vec<usize>) {
        match self {
            Self::KilledHub(n) | Self::StoppedHub(n) | Self::FrozenHub(n) => (vec![n], Vec::new()),
            Self::KilledServer(n) | Self::FrozenServer(n) => (Vec::new(), vec![n]),
            Self::LostQuorum(n) => (Vec::new(), vec![n, (n + 1) % NODES]),
            Self::AllServersKilled => (Vec::new(), (0..NODES).collect()),
            // All packets are delivered again at once, so that there is one fault of the network at a time.
            Self::CutOff(_) | Self::OneWayLoss(..) => (Vec::new(), vec![NODES]),
        }
    }

    async fn begin(self, cluster: &mut Cluster) {
        match self {
            Self::KilledHub(n) => cluster.hubs[n].kill(),
            Self::StoppedHub(n) => cluster.hubs[n].stop().await,
            Self::FrozenHub(n) => cluster.hubs[n].freeze(),
            Self::FrozenServer(n) => cluster.servers[n].freeze(),
            Self::KilledServer(_) | Self::LostQuorum(_) | Self::AllServersKilled => {
                self.victims().1.into_iter().for_each(|n| cluster.servers[n].kill());
            }
            Self::CutOff(n) => cluster.network().cut_off(n),
            Self::OneWayLoss(from, to) => cluster.network().drop_packets(from, to),
        }
    }

    async fn end(self, cluster: &mut Cluster) {
        match self {
            Self::KilledHub(n) | Self::StoppedHub(n) => cluster.hubs[n].restart().await,
            Self::FrozenHub(n) => cluster.hubs[n].thaw(),
            Self::FrozenServer(n) => cluster.servers[n].thaw(),
            Self::KilledServer(_) | Self::LostQuorum(_) | Self::AllServersKilled => {
                self.victims().1.into_iter().for_each(|n| Server::start(&mut cluster.servers[n]));
            }
            Self::CutOff(_) | Self::OneWayLoss(..) => cluster.network().heal(),
        }
    }
}

/// Waits until each publisher has got further acknowledgements.
pub async fn wait_for_progress(load: &Load, cluster: &Cluster, after: &str) {
    let counts = || load.acknowledged.each_ref().map(|count| count.load(Ordering::Relaxed));
    let (before, began) = (counts(), Instant::now());
    while counts().iter().zip(before).any(|(now, before)| *now < before + 2) {
        let logs = || cluster.hubs.iter().map(Hub::log).collect::<Vec<_>>().join("\n\n");
        assert!(
            began.elapsed() < TEST_TIMEOUT,
            "no progress after {after}: {:?}\n{}",
            counts(),
            logs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the events of all streams that a hub has.
async fn stored(hub: &Hub) -> Vec<Seen> {
    let path = "/events?stream=s.*&from=start&follow=false&control=off";
    let events = hub.subscribe(path).await.rest().await;
    events.into_iter().map(|event| (event.id, event.data)).collect()
}

/// Causes `left` faults, alone or in pairs, and waits after each until all publishers go on.
async fn cause_faults(cluster: &mut Cluster, load: &Load, rng: &mut StdRng, mut left: usize) {
    while left > 0 {
        let first = Fault::random(rng);
        let second = Fault::random(rng);
        let (hubs, servers) = first.victims();
        let (others, other_servers) = second.victims();
        let is_apart = hubs.iter().all(|n| !others.contains(n))
            && servers.iter().all(|n| !other_servers.contains(n));
        let faults = if left > 1 && is_apart { vec![first, second] } else { vec![first] };
        println!("{faults:?}");
        for fault in &faults {
            fault.begin(cluster).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
        }
        // The servers that a hub needs for its start come first.
        let mut ends = faults.clone();
        ends.sort_by_key(|fault| fault.victims().1.is_empty());
        for fault in ends {
            fault.end(cluster).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
        }
        wait_for_progress(load, cluster, &format!("{faults:?}")).await;
        left -= faults.len();
    }
}

/// Waits until all hubs have all acknowledged events, and returns them. Each event must be there once, with
/// the id of its receipt, and after the earlier ones of its publisher.
async fn checked_history(cluster: &Cluster, acknowledged: &[Vec<String>]) -> Vec<Seen> {
    let count: usize = acknowledged.iter().map(Vec::len).sum();
    let began = Instant::now();
    let history = loop {
        let mut histories = Vec::new();
        for hub in &cluster.hubs {
            histories.push(stored(hub).await);
        }
        if histories.iter().all(|history| history.len() >= count && *history == histories[0]) {
            break histories.remove(0);
        }
        let counts: Vec<_> = histories.iter().map(Vec::len).collect();
        assert!(began.elapsed() < TEST_TIMEOUT, "{counts:?} of {count} events");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(history.len(), count, "each event once");
    let by_id: BTreeMap<_, _> = history.iter().cloned().collect();
    assert_eq!(by_id.len(), count, "each id once");
    for (publisher, ids) in acknowledged.iter().enumerate() {
        let own = |data: &&Seen| data.1.starts_with(&format!("{publisher} "));
        let in_order: Vec<_> = history.iter().filter(own).cloned().collect();
        let expected: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| (id.clone(), format!("{publisher} {n}")))
            .collect();
        assert_eq!(in_order, expected, "of publisher {publisher}");
    }
    history
}

/// Starts nginx with the configuration of `deploy/cluster`.
fn start_balancer(cluster: &Cluster) -> Nginx {
    let mut site = std::fs::read_to_string(deployed("nginx.conf")).unwrap();
    for (n, hub) in cluster.hubs.iter().enumerate() {
        site = site.replace(&format!("fanfare-{}:8080", n + 1), &hub.address);
    }
    let address = free_addresses().remove(0);
    let site = site.replace("listen 8080;", &format!("listen {address};"));
    Nginx::start(address, &site)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server and nginx"]
async fn clients_behind_a_load_balancer_without_affinity_miss_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.hubs.iter_mut().for_each(Hub::keep_address);
    let balancer = start_balancer(&cluster);
    let clients = Clients::start(vec![balancer.address.clone()], &mut rand::rng());
    wait_for_progress(&clients.load, &cluster, "the start").await;
    for n in 0..NODES {
        cluster.hubs[n].kill();
        wait_for_progress(&clients.load, &cluster, "a killed hub").await;
        cluster.hubs[n].restart().await;
        cluster.hubs[n].wait_until_ready().await;
    }
    clients.finish(&cluster).await;
}

#[test]
#[ignore = "needs root for network namespaces, and nats-server"]
fn random_faults_lose_double_and_reorder_nothing() {
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("SEED={seed}");
    with_network(&[], async move |mut cluster: Cluster| {
        let mut rng = StdRng::seed_from_u64(seed);
        let addresses = cluster.hubs.iter().map(|hub| hub.address.clone()).collect();
        let clients = Clients::start(addresses, &mut rng);
        wait_for_progress(&clients.load, &cluster, "the start").await;
        let count = if is_full_run() { 200 } else { 10 };
        cause_faults(&mut cluster, &clients.load, &mut rng, count).await;
        let history = clients.finish(&cluster).await;
        println!("{} events", history.len());
    });
}
