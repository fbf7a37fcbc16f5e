//! Publishers of a bench: one thread drives all publishing connections.
//!
//! At a fixed rate each event has a scheduled time. If a connection was free at that time, the
//! event carries the actual send time, because only this tool was late. If every connection was
//! waiting for the server, it carries the scheduled time, so that a server that delays publishers
//! cannot hide the delay (coordinated omission).

use super::endpoint::{Requests, Url};
use super::layout::Layout;
use super::mark::Mark;
use super::publisher::{Progress, Publisher};
use super::tally::{Tally, histogram};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const BUFFER_BYTES: usize = 16 * 1024;
const EVENTS_AT_ONCE: usize = 256;
/// Maximum time between two checks of the clock.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Refusals, or failures, without any acknowledged publish, after which the bench gives up.
const MAX_INITIAL_FAILURES: u64 = 50;
/// Maximum time for outstanding answers at the end.
const LAST_ANSWERS_TIMEOUT_NS: u64 = 30_000_000_000;

/// Number, rate and duration of publishes.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Nanoseconds between two events; 0 to publish as fast as the server answers.
    pub every_ns: u64,
    /// Maximum number of events.
    pub events: u64,
    /// Maximum duration.
    pub for_ns: u64,
}

/// Result of the publishes.
pub struct Published {
    /// Events sent by each publisher, including those sent before this call.
    pub sent: Vec<u64>,
    /// Publishes that were acknowledged.
    pub acknowledged: u64,
    /// Publishes that were refused and retried.
    pub refused: u64,
    /// Publishes whose connection failed, so that their outcome is unknown.
    pub failed: u64,
    /// Time from sending a publish to its answer.
    pub answer: Histogram<u64>,
    /// Time of the first publish and of the last answer.
    pub began_ns: u64,
    pub ended_ns: u64,
}

/// Publishes according to `schedule`. `sent` is the number of events that each publisher sent
/// before.
pub fn publish(
    requests: &Arc<Requests>,
    tally: &Arc<Tally>,
    schedule: Schedule,
    sent: Vec<u64>,
) -> io::Result<Published> {
    let url = requests.publish.clone().ok_or_else(|| io::Error::other("no publish URL"))?;
    let mut run = Run::new(requests.clone(), tally.clone(), schedule, url)?;
    run.connect_all(sent)?;
    run.run()
}

struct Run {
    poll: Poll,
    requests: Arc<Requests>,
    tally: Arc<Tally>,
    layout: Layout,
    schedule: Schedule,
    url: Url,
    publishers: Vec<Publisher>,
    /// Idle publishers; the one that has been idle longest is last.
    idle: Vec<usize>,
    /// Events assigned to publishers so far.
    assigned: u64,
    buffer: Vec<u8>,
    result: Published,
}

impl Run {
    fn new(
        requests: Arc<Requests>,
        tally: Arc<Tally>,
        schedule: Schedule,
        url: Url,
    ) -> io::Result<Self> {
        let began_ns = tally.now_ns();
        Ok(Self {
            poll: Poll::new()?,
            layout: requests.layout,
            requests,
            tally,
            schedule,
            url,
            publishers: Vec::new(),
            idle: Vec::new(),
            assigned: 0,
            buffer: vec![0; BUFFER_BYTES],
            result: Published {
                sent: Vec::new(),
                acknowledged: 0,
                refused: 0,
                failed: 0,
                answer: histogram(),
                began_ns,
                ended_ns: began_ns,
            },
        })
    }

    fn connect_all(&mut self, sent: Vec<u64>) -> io::Result<()> {
        for at in 0..self.layout.publishers {
            let publisher = self.connect(at, sent.get(at).copied().unwrap_or(0), 0)?;
            self.publishers.push(publisher);
            self.idle.push(at);
        }
        Ok(())
    }

    /// Connects a publisher that continues after `sent` events and has been idle since a time.
    fn connect(&self, at: usize, sent: u64, idle_since_ns: u64) -> io::Result<Publisher> {
        let mut publisher = Publisher::connect(self.url.address, self.url.protocol)?;
        (publisher.sent, publisher.idle_since_ns) = (sent, idle_since_ns);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut publisher.socket, Token(at), interest)?;
        Ok(publisher)
    }

    fn run(mut self) -> io::Result<Published> {
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        let deadline = self.result.began_ns.saturating_add(self.schedule.for_ns);
        loop {
            let now = self.tally.now_ns();
            let is_done = self.assigned >= self.schedule.events || now >= deadline;
            if !is_done {
                self.send_due(now)?;
            }
            let all_answered = self.idle.len() == self.publishers.len();
            if is_done && (all_answered || now >= deadline.saturating_add(LAST_ANSWERS_TIMEOUT_NS))
            {
                break;
            }
            match self.poll.poll(&mut events, Some(self.wait(now))) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                self.ready(event.token().0)?;
            }
        }
        self.result.failed += (self.publishers.len() - self.idle.len()) as u64;
        self.result.sent = self.publishers.iter().map(|p| p.sent).collect();
        Ok(self.result)
    }

    /// Returns the time of the next event.
    fn due_ns(&self) -> u64 {
        self.result.began_ns + self.assigned * self.schedule.every_ns
    }

    fn wait(&self, now: u64) -> Duration {
        let is_paced = self.schedule.every_ns > 0 && !self.idle.is_empty();
        if is_paced && self.assigned < self.schedule.events {
            POLL_INTERVAL.min(Duration::from_nanos(self.due_ns().saturating_sub(now)))
        } else {
            POLL_INTERVAL
        }
    }

    /// Sends the events that are due through idle publishers.
    fn send_due(&mut self, now: u64) -> io::Result<()> {
        let is_paced = self.schedule.every_ns > 0;
        while self.assigned < self.schedule.events && (!is_paced || self.due_ns() <= now) {
            let Some(at) = self.idle.pop() else { return Ok(()) };
            let due_ns = self.due_ns();
            self.assigned += 1;
            self.send(at, is_paced.then_some(due_ns))?;
        }
        Ok(())
    }

    fn send(&mut self, at: usize, due_ns: Option<u64>) -> io::Result<()> {
        let publisher = &mut self.publishers[at];
        let now = self.tally.now_ns();
        let sent_ns = due_ns.filter(|due_ns| publisher.idle_since_ns > *due_ns).unwrap_or(now);
        let (stream, sequence) = self.layout.locate(at, publisher.sent);
        let mark = Mark { stream, publisher: at as u16, sequence, sent_ns };
        let (requests, url) = (&self.requests, &self.url);
        publisher
            .publish(sent_ns, |out| requests.publication(url, mark, out))
            .or_else(|error| self.reconnect(at, &error))
    }

    fn ready(&mut self, at: usize) -> io::Result<()> {
        if let Err(error) = self.publishers[at].send() {
            return self.reconnect(at, &error);
        }
        loop {
            let publisher = &mut self.publishers[at];
            let progress = match publisher.receive(&mut self.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(progress)) => progress,
                Err(error) => return self.reconnect(at, &error),
            };
            let now = self.tally.now_ns();
            match progress {
                Progress::More => continue,
                Progress::Taken => {
                    let sent_ns = publisher.sent_ns.unwrap_or(now);
                    publisher.sent += 1;
                    self.result.acknowledged += 1;
                    self.result.ended_ns = now;
                    self.result.answer.saturating_record(now.saturating_sub(sent_ns));
                    self.tally.published.add(1);
                }
                Progress::Refused(why) => self.count_refusal(&why)?,
            }
            self.make_idle(at, now)?;
        }
    }

    /// Counts a refusal; the next event reuses its number.
    fn count_refusal(&mut self, why: &str) -> io::Result<()> {
        self.result.refused += 1;
        if self.result.acknowledged == 0 && self.result.refused >= MAX_INITIAL_FAILURES {
            return Err(io::Error::other(format!("every publish was refused: {why}")));
        }
        Ok(())
    }

    fn make_idle(&mut self, at: usize, now: u64) -> io::Result<()> {
        let is_over = self.publishers[at].is_over();
        self.publishers[at].finish_request(now);
        if is_over {
            self.publishers[at] = self.connect(at, self.publishers[at].sent, now)?;
        }
        self.idle.insert(0, at);
        // Without a rate the next event is sent immediately.
        if self.schedule.every_ns == 0 {
            let deadline = self.result.began_ns.saturating_add(self.schedule.for_ns);
            if now < deadline {
                self.send_due(now)?;
            }
        }
        Ok(())
    }

    /// Reconnects after a failure; the server may have accepted the event in flight.
    fn reconnect(&mut self, at: usize, error: &io::Error) -> io::Result<()> {
        let was_busy = self.publishers[at].sent_ns.is_some();
        let sent = self.publishers[at].sent + u64::from(was_busy);
        if was_busy {
            self.result.failed += 1;
            if self.result.acknowledged == 0 && self.result.failed >= MAX_INITIAL_FAILURES {
                return Err(io::Error::other(format!("no publish succeeded: {error}")));
            }
        }
        let now = self.tally.now_ns();
        self.publishers[at] = self.connect(at, sent, now)?;
        if was_busy {
            self.idle.insert(0, at);
        }
        Ok(())
    }
}
