//! Subscribers of a bench: a few threads, each with its own epoll instance and connections.
//!
//! A thread reads into one large buffer, parses in place and keeps nothing, so that it costs far
//! less than the measured server.

use super::endpoint::Requests;
use super::ledger::{Counts, Ledger};
use super::plan::Plan;
use super::scenario::Scenario;
use super::subscriber::{Stage, Subscriber};
use super::tally::{Tally, histogram};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);
const BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_AT_ONCE: usize = 1_024;
/// Maximum time between two checks of commands and of subscribers that wait to connect.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(50);

enum Command {
    Open,
    Close,
    Leave,
    Finish { sent: Arc<Vec<u64>> },
}

/// Result of the subscribers.
pub struct Seen {
    /// Sum over all ledgers.
    pub counts: Counts,
    /// Time from sending a publish to receiving the event.
    pub latency: Histogram<u64>,
    /// Time from the start of the connection to the head of the response.
    pub connect: Histogram<u64>,
}

/// Handles of all reader threads.
pub struct Readers {
    threads: Vec<Handle>,
}

struct Handle {
    commands: SyncSender<Command>,
    waker: Waker,
    thread: JoinHandle<io::Result<Seen>>,
}

impl Readers {
    /// Starts the threads without connecting.
    pub fn start(plan: &Plan, requests: &Arc<Requests>, tally: &Arc<Tally>) -> io::Result<Self> {
        let threads = (0..plan.threads.min(plan.subscribers.max(1)))
            .map(|index| {
                let poll = Poll::new()?;
                let waker = Waker::new(poll.registry(), WAKER)?;
                let (commands, receiver) = sync_channel(4);
                let reader = Reader::new(plan, index, poll, requests.clone(), tally.clone());
                let thread = std::thread::Builder::new()
                    .name(format!("bench-reader-{index}"))
                    .spawn(move || reader.run(&receiver))?;
                Ok(Handle { commands, waker, thread })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// Connects every subscriber that is not connected.
    pub fn open(&self) -> io::Result<()> {
        self.send_to_all(|| Command::Open)
    }

    /// Drops all connections.
    pub fn close(&self) -> io::Result<()> {
        self.send_to_all(|| Command::Close)
    }

    /// Stops visitors from reconnecting after their visit.
    pub fn leave(&self) -> io::Result<()> {
        self.send_to_all(|| Command::Leave)
    }

    /// Ends the threads; `sent` is the number of events that each publisher has sent.
    pub fn finish(self, sent: Vec<u64>) -> io::Result<Seen> {
        let sent = Arc::new(sent);
        self.send_to_all(|| Command::Finish { sent: sent.clone() })?;
        let mut total =
            Seen { counts: Counts::default(), latency: histogram(), connect: histogram() };
        for handle in self.threads {
            let seen =
                handle.thread.join().map_err(|_| io::Error::other("a reader panicked"))??;
            total.counts.add(seen.counts);
            // Cannot fail: both have the same bounds.
            let _ = total.latency.add(&seen.latency);
            let _ = total.connect.add(&seen.connect);
        }
        Ok(total)
    }

    fn send_to_all(&self, command: impl Fn() -> Command) -> io::Result<()> {
        for handle in &self.threads {
            // A thread that has ended reports its error when it is joined.
            let _ = handle.commands.send(command());
            handle.waker.wake()?;
        }
        Ok(())
    }
}

struct Reader {
    poll: Poll,
    requests: Arc<Requests>,
    tally: Arc<Tally>,
    /// Subscribers of this thread: every `threads`-th, beginning with `first_index`.
    subscribers: Vec<Subscriber>,
    /// Subscribers with an index below this never read.
    stuck: usize,
    /// Subscribers that wait to connect; the number of those connecting, and its maximum.
    waiting: VecDeque<usize>,
    opening: usize,
    at_once: usize,
    /// Events of a visit, in `churn`; true while visitors reconnect.
    visit: Option<u64>,
    reconnects: bool,
    buffer: Box<[u8]>,
    latency: Histogram<u64>,
    connect: Histogram<u64>,
    finished_visits: Counts,
}

impl Reader {
    fn new(
        plan: &Plan,
        first_index: usize,
        poll: Poll,
        requests: Arc<Requests>,
        tally: Arc<Tally>,
    ) -> Self {
        let churns = plan.scenario == Scenario::Churn;
        let keep_ids = plan.scenario == Scenario::Storm;
        let threads = plan.threads.min(plan.subscribers.max(1));
        let lines = plan.layout.lines();
        let subscribers = (first_index..plan.subscribers)
            .step_by(threads)
            .map(|index| Subscriber::new(index, Ledger::new(lines, churns), keep_ids))
            .collect();
        Self {
            poll,
            requests,
            tally,
            subscribers,
            stuck: plan.stuck,
            waiting: VecDeque::new(),
            opening: 0,
            at_once: plan.connecting.div_ceil(threads),
            visit: churns.then_some(plan.visit),
            reconnects: true,
            buffer: vec![0; BUFFER_BYTES].into(),
            latency: histogram(),
            connect: histogram(),
            finished_visits: Counts::default(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) -> io::Result<Seen> {
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        loop {
            match self.poll.poll(&mut events, Some(MAX_POLL_INTERVAL)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() != WAKER {
                    self.ready(event.token().0);
                }
            }
            while let Ok(command) = commands.try_recv() {
                match command {
                    Command::Open => self.waiting.extend(0..self.subscribers.len()),
                    Command::Close => self.subscribers.iter_mut().for_each(Subscriber::close),
                    Command::Leave => self.reconnects = false,
                    Command::Finish { sent } => return Ok(self.finish(&sent)),
                }
            }
            self.open_waiting();
        }
    }

    fn open_waiting(&mut self) {
        while self.opening < self.at_once {
            let Some(at) = self.waiting.pop_front() else { return };
            if let Err(error) = self.open(at) {
                self.failed(at, &error.to_string());
            }
        }
    }

    fn open(&mut self, at: usize) -> io::Result<()> {
        let subscriber = &mut self.subscribers[at];
        let Some(url) = &self.requests.subscribe else { return Ok(()) };
        if subscriber.stage != Stage::Closed {
            return Ok(());
        }
        let request =
            self.requests.subscription(url, subscriber.index, subscriber.scanner.last_id());
        subscriber.opened_ns = self.tally.now_ns();
        subscriber.open(url.address, request, subscriber.index < self.stuck)?;
        self.opening += 1;
        if let Some(socket) = &mut subscriber.socket {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(socket, Token(at), interest)?;
        }
        Ok(())
    }

    /// Reads a ready socket until it is empty, because epoll is edge-triggered.
    fn ready(&mut self, at: usize) {
        if let Err(error) = self.subscribers[at].send() {
            return self.failed(at, &error.to_string());
        }
        loop {
            let subscriber = &mut self.subscribers[at];
            if matches!(subscriber.stage, Stage::Closed | Stage::Stuck) {
                return;
            }
            match subscriber.receive(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(0)) => return self.failed(at, "the server closed the connection"),
                Ok(Some(read)) => {
                    if let Err(error) = self.take(at, read) {
                        return self.failed(at, &format!("{error:#}"));
                    }
                    if read < self.buffer.len() {
                        return;
                    }
                }
                Err(error) => return self.failed(at, &error.to_string()),
            }
        }
    }

    fn take(&mut self, at: usize, read: usize) -> anyhow::Result<()> {
        let now = self.tally.now_ns();
        let subscriber = &mut self.subscribers[at];
        let Subscriber { decoder, scanner, ledger, index, .. } = subscriber;
        let (layout, latency, mut received) = (self.requests.layout, &mut self.latency, 0);
        let mut seen = 0;
        let mut event = |mark: super::mark::Mark| {
            seen += 1;
            if ledger.record(layout.line(*index, mark.stream, mark.publisher), mark.sequence) {
                received += 1;
                latency.saturating_record(now.saturating_sub(mark.sent_ns));
            }
        };
        let result = decoder.feed(&self.buffer[..read], |body| scanner.feed(body, &mut event));
        result?;
        subscriber.seen += seen;
        if received > 0 {
            self.tally.received.add(received);
            self.tally.last_received_ns.raise(now);
        }
        if subscriber.stage == Stage::Opening
            && let Some(status) = subscriber.decoder.status()
        {
            if status != 200 {
                anyhow::bail!("the server responded with status {status}");
            }
            self.mark_open(at, now);
        }
        let subscriber = &self.subscribers[at];
        if subscriber.decoder.is_complete() {
            anyhow::bail!("the server ended the stream");
        }
        if self.visit.is_some_and(|visit| subscriber.seen >= visit) {
            self.end_visit(at);
        }
        Ok(())
    }

    fn mark_open(&mut self, at: usize, now: u64) {
        let subscriber = &mut self.subscribers[at];
        let stuck = subscriber.index < self.stuck;
        subscriber.stage = if stuck { Stage::Stuck } else { Stage::Reading };
        self.opening -= 1;
        self.tally.connected.add(1);
        self.connect.saturating_record(now - subscriber.opened_ns);
    }

    fn end_visit(&mut self, at: usize) {
        let subscriber = &mut self.subscribers[at];
        subscriber.close();
        let fresh = Ledger::new(self.requests.layout.lines(), true);
        self.finished_visits.add(std::mem::replace(&mut subscriber.ledger, fresh).close_early());
        self.tally.visits.add(1);
        if self.reconnects {
            self.waiting.push_back(at);
        }
    }

    fn failed(&mut self, at: usize, why: &str) {
        let subscriber = &mut self.subscribers[at];
        let previous = std::mem::replace(&mut subscriber.stage, Stage::Closed);
        subscriber.close();
        tracing::debug!(subscriber = subscriber.index, stage = ?previous, why, "subscriber failed");
        if matches!(previous, Stage::Reading | Stage::Stuck) {
            return self.tally.dropped.add(1);
        }
        if previous == Stage::Opening {
            self.opening -= 1;
        }
        self.tally.refused.add(1);
        if self.tally.first_refusal.set(why.to_owned()).is_ok() {
            tracing::warn!(subscriber = subscriber.index, why, "subscriber was not admitted");
        }
    }

    fn finish(self, sent: &[u64]) -> Seen {
        let mut counts = self.finished_visits;
        let churns = self.visit.is_some();
        for subscriber in self.subscribers {
            let index = subscriber.index;
            if index < self.stuck {
                continue;
            }
            counts.add(if churns {
                subscriber.ledger.close_early()
            } else {
                let layout = self.requests.layout;
                subscriber.ledger.finish(|line| layout.published(index, line, sent))
            });
        }
        Seen { counts, latency: self.latency, connect: self.connect }
    }
}
