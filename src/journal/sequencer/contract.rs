//! Contract tests for every implementation of [`Sequencer`].

use super::*;
use crate::event::StreamName;
use crate::journal::batch::Item;
use std::time::{Duration, Instant};

/// Creates sequencers that share one log; each continues after the given batch.
trait Fixture {
    type Sequencer: Sequencer;
    fn after(&self, applied: Option<&OrderedBatch>) -> Self::Sequencer;
}

struct Local;
impl Fixture for Local {
    type Sequencer = LocalSequencer;
    fn after(&self, applied: Option<&OrderedBatch>) -> LocalSequencer {
        LocalSequencer::after(applied.map_or(0, |batch| batch.number))
    }
}

fn proposal(ticket: Ticket) -> Proposal {
    let stream = StreamName::parse(&format!("s{ticket}")).expect("a name");
    let units = vec![vec![Item::End(stream)]];
    let (time, emptied) = (Timestamp::from_ms(ticket), Vec::new());
    Proposal { ticket, time, emptied, units, stream_limits: None }
}

/// Waits for the next batch.
fn next(sequencer: &mut impl Sequencer) -> (OrderedBatch, Option<Ticket>) {
    let began = Instant::now();
    loop {
        if let Some(next) = sequencer.next().expect("the order works") {
            return next;
        }
        assert!(began.elapsed() < Duration::from_secs(180), "nothing comes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn delivers_batches_once_in_order(fixture: &impl Fixture) {
    let mut sequencer = fixture.after(None);
    let mut delivered = Vec::new();
    for ticket in 1..=100 {
        while !sequencer.has_room() {
            let refused = sequencer.propose(proposal(0));
            assert!(matches!(refused, Err(SequencerError::Full(_))), "{refused:?}");
            delivered.push(next(&mut sequencer));
        }
        sequencer.propose(proposal(ticket)).expect("accepted");
    }
    while delivered.len() < 100 {
        delivered.push(next(&mut sequencer));
    }
    assert!(sequencer.next().expect("the order works").is_none(), "nothing comes that was refused");
    let tickets = delivered.iter().filter_map(|(_, ticket)| *ticket);
    assert_eq!(tickets.collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    for (ordered, ticket) in &delivered {
        let proposed = proposal(ticket.expect("a ticket"));
        assert_eq!(format!("{:?}", ordered.units), format!("{:?}", proposed.units));
    }
    assert!(delivered.windows(2).all(|pair| pair[0].0.number < pair[1].0.number));
}

fn no_number_comes_twice_over_a_restart(fixture: &impl Fixture) {
    let mut sequencer = fixture.after(None);
    sequencer.propose(proposal(1)).expect("accepted");
    // A log has those of earlier tests, too.
    let (applied, _) = std::iter::repeat_with(|| next(&mut sequencer))
        .find(|(_, ticket)| ticket.is_some())
        .expect("its batch comes");
    drop(sequencer);
    let mut sequencer = fixture.after(Some(&applied));
    sequencer.propose(proposal(1)).expect("accepted");
    let (next, ticket) = next(&mut sequencer);
    assert_eq!(ticket, Some(1), "it continues after the applied batch");
    assert!(next.number > applied.number);
}

#[test]
fn local_sequencer_fulfills_the_contract() {
    delivers_batches_once_in_order(&Local);
    no_number_comes_twice_over_a_restart(&Local);
}

#[cfg(feature = "cluster")]
mod replicated {
    use super::*;
    use crate::cluster::{ClusterSettings, Log, LogCredentials, LogTls};
    use crate::journal::store::LogProgress;
    use std::process::{Child, Command, Stdio};
    use tempfile::TempDir;

    /// A NATS server with a log.
    struct Server {
        folder: TempDir,
        child: Child,
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.child.kill().and_then(|()| self.child.wait()).expect("the server ends");
        }
    }

    impl Server {
        fn start() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let config = folder.path().join("config");
            let store = folder.path().join("store");
            let text = format!(
                "listen: 127.0.0.1:-1\nmax_payload: 8MB\nports_file_dir: {:?}\njetstream {{ store_dir: {store:?} }}\n",
                folder.path()
            );
            std::fs::write(&config, text).expect("writes");
            let installed =
                concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/venv/bin/nats-server");
            let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| installed.to_owned());
            let mut command = Command::new(program);
            let command = command.arg("-c").arg(config).stderr(Stdio::null());
            let child = command.spawn().expect("the server starts");
            Self { folder, child }
        }

        /// Returns the address, once the server has written it to a file.
        fn url(&self) -> String {
            let began = Instant::now();
            loop {
                let files = std::fs::read_dir(self.folder.path()).expect("a folder");
                let paths = files.map(|file| file.expect("a file").path());
                let mut ports =
                    paths.filter(|path| path.extension().is_some_and(|end| end == "ports"));
                let ports = ports.next().and_then(|path| std::fs::read(path).ok());
                let ports =
                    ports.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
                if let Some(ports) = ports {
                    return ports["nats"][0].as_str().expect("an address").to_owned();
                }
                assert!(began.elapsed() < Duration::from_secs(180), "no address");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    struct Replicated {
        _server: Server,
        url: String,
    }

    impl Replicated {
        fn start() -> Self {
            let server = Server::start();
            let url = server.url();
            Self { _server: server, url }
        }
    }

    impl Fixture for Replicated {
        type Sequencer = ReplicatedSequencer;
        fn after(&self, applied: Option<&OrderedBatch>) -> ReplicatedSequencer {
            let settings = ClusterSettings {
                urls: vec![self.url.clone()],
                credentials: LogCredentials::None,
                tls: LogTls::default(),
                name: "contract".to_owned(),
                node: "n1".to_owned(),
                replicas: 1,
                log_max_age: Duration::from_secs(3600),
                log_max_bytes: 1 << 30,
                isolation_timeout: Duration::from_secs(30),
            };
            let mut progress = LogProgress::default();
            if let Some(step) = applied.and_then(|applied| applied.log_step.as_ref()) {
                progress.link = step.link;
            }
            let log = Log::open(settings, applied.is_some()).expect("the log opens");
            ReplicatedSequencer::start(log, progress, || {})
        }
    }

    #[test]
    #[ignore = "needs nats-server"]
    fn replicated_sequencer_fulfills_the_contract() {
        let fixture = Replicated::start();
        delivers_batches_once_in_order(&fixture);
        no_number_comes_twice_over_a_restart(&fixture);
    }

    #[test]
    #[ignore = "needs nats-server"]
    fn two_proposers_get_one_order_and_know_their_own_batches() {
        let fixture = Replicated::start();
        let mut sequencers = [fixture.after(None), fixture.after(None)];
        for ticket in 1..=20 {
            for sequencer in &mut sequencers {
                sequencer.propose(proposal(ticket)).expect("accepted");
            }
            for sequencer in &mut sequencers {
                while !sequencer.has_room() {
                    next(sequencer);
                }
            }
        }
        let mut first = fixture.after(None);
        let mut second = fixture.after(None);
        for _ in 0..40 {
            let (one, other) = (next(&mut first), next(&mut second));
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
            assert_eq!(one.1, None, "batches of earlier processes have no ticket");
        }
    }
}
