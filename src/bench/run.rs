//! Runs a scenario from the first connection to the report.

use super::endpoint::Requests;
use super::plan::Plan;
use super::process::{CpuTime, Process};
use super::publishers::{Published, Schedule, publish};
use super::readers::{Readers, Seen};
use super::repeated::Repeated;
use super::report::{Churn, Deliveries, Publishes, Quantiles, Report, Storm, Used};
use super::scenario::Scenario;
use super::server::Server;
use super::slow::SlowClients;
use super::tally::Tally;
use super::{scrape, search};
use crate::platform;
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Interval at which the progress is checked.
const PROGRESS_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time without any event after which missing ones count as lost.
const QUIET: Duration = Duration::from_secs(5);
/// Maximum time without progress while connections are opened.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// Time for the slow clients to connect.
const SLOW_CLIENTS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Open files other than connections.
const OTHER_FILES: u64 = 100;

/// Runs `plan`; `max_files` is the open file limit of this process.
pub fn run(plan: &Plan, max_files: u64) -> anyhow::Result<Report> {
    let needed = (plan.subscribers + plan.slow + plan.layout.publishers) as u64 + OTHER_FILES;
    if needed > max_files {
        bail!(
            "{needed} open files are needed, but {max_files} are allowed (ulimit -n); use at most \
             {} subscribers",
            max_files.saturating_sub(plan.layout.publishers as u64 + OTHER_FILES)
        );
    }
    let server = Server::start(&plan.target)?;
    let requests = Arc::new(Requests {
        subscribe: server.subscribe.clone(),
        publish: server.publish.clone(),
        body: plan.body.clone(),
        headers: plan.headers.clone(),
        size: plan.size,
        layout: plan.layout,
    });
    let tally = Arc::new(Tally::new());
    let readers = Readers::start(plan, &requests, &tally)?;
    let sockets = platform::socket_bytes();
    let run = Run {
        plan,
        requests,
        tally,
        process: server.process,
        bar: progress_bar(),
        sockets_before: sockets,
        sockets_peak: sockets,
        pss_before: None,
    };
    run.run(readers, server.name.clone())
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Values that are read before and after the measurement.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: CpuTime,
}

/// Results of a bench, for its report.
struct Measured {
    before: Mark,
    after: Mark,
    pss: Option<u64>,
    published: Option<Published>,
    seen: Seen,
    storm: Option<Storm>,
}

struct Run<'a> {
    plan: &'a Plan,
    requests: Arc<Requests>,
    tally: Arc<Tally>,
    process: Option<Process>,
    bar: ProgressBar,
    sockets_before: u64,
    sockets_peak: u64,
    pss_before: Option<u64>,
}

impl Run<'_> {
    fn run(mut self, readers: Readers, server: String) -> anyhow::Result<Report> {
        sleep(self.plan.settle);
        self.pss_before = self.process.and_then(Process::pss_bytes);
        self.connect(&readers)?;
        let slow = SlowClients::start(&self.requests, self.plan.slow)?;
        if slow.is_some() {
            // All of them connect before the measurement.
            self.wait("slow clients", SLOW_CLIENTS_CONNECT_TIMEOUT);
        }
        let searches = search::start(&self.requests, self.plan.history)?;
        let scrapes = scrape::start(&self.requests, self.plan.scrape)?;
        sleep(self.plan.settle);
        let pss = self.process.and_then(Process::pss_bytes);
        let before = self.mark();
        let mut storm = None;
        let published = match self.plan.scenario {
            Scenario::Idle => {
                self.wait("idle", self.plan.duration);
                None
            }
            Scenario::Storm => {
                let (published, found) = self.storm(&readers)?;
                storm = Some(found);
                Some(published)
            }
            _ => Some(self.events(&readers)?),
        };
        let after = self.mark();
        self.bar.finish_and_clear();
        let slow_closed = slow.map(SlowClients::stop);
        let scraped = scrapes.map(Repeated::stop).transpose()?;
        let scrape_ms = scraped.as_ref().and_then(Quantiles::of);
        let searched = searches.map(Repeated::stop).transpose()?;
        let search_ms = searched.as_ref().and_then(Quantiles::of);
        let sent = published.as_ref().map(|p| p.sent.clone()).unwrap_or_default();
        let seen = readers.finish(sent)?;
        let measured = Measured { before, after, pss, published, seen, storm };
        Ok(Report { slow_closed, scrape_ms, search_ms, ..self.report(server, measured) })
    }

    fn mark(&self) -> Mark {
        Mark { at: Instant::now(), cpu: self.process.map(Process::cpu).unwrap_or_default() }
    }

    /// Watches the progress until it is complete (true) or has not moved for `timeout` (false).
    fn watch(
        &mut self,
        label: &'static str,
        timeout: Duration,
        mut progress: impl FnMut(&Tally) -> (u64, u64),
    ) -> bool {
        self.bar.set_prefix(label);
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let (done, total) = progress(&self.tally);
            self.sockets_peak = self.sockets_peak.max(platform::socket_bytes());
            self.bar.set_length(total.max(1));
            self.bar.set_position(done);
            self.bar.set_message(format!("{done} of {total}"));
            if done >= total {
                return true;
            }
            if done != last {
                (last, moved) = (done, Instant::now());
            } else if moved.elapsed() > timeout {
                return false;
            }
            sleep(PROGRESS_POLL_INTERVAL);
        }
    }

    fn wait(&mut self, label: &'static str, time: Duration) {
        let started = Instant::now();
        let seconds = time.as_secs();
        self.watch(label, time * 2, |_| {
            if started.elapsed() >= time {
                (seconds, seconds)
            } else {
                (started.elapsed().as_secs().min(seconds.saturating_sub(1)), seconds.max(1))
            }
        });
    }

    fn connect(&mut self, readers: &Readers) -> anyhow::Result<()> {
        let total = self.plan.subscribers as u64;
        let (connected, refused) = (self.tally.connected.get(), self.tally.refused.get());
        readers.open()?;
        let progress = |tally: &Tally| {
            (tally.connected.get() - connected + tally.refused.get() - refused, total)
        };
        if !self.watch("connecting", CONNECT_WITHIN, progress) {
            bail!("only {} of {total} subscribers got a response", progress(&self.tally).0);
        }
        if total > 0 && self.tally.connected.get() == connected {
            let why = self.tally.first_refusal.get().map_or("unknown reason", String::as_str);
            bail!("no subscriber was admitted: {why}");
        }
        Ok(())
    }

    /// Returns the number of deliveries due to all subscribers after each publisher sent `sent`
    /// events.
    fn expected(&self, sent: &[u64]) -> u64 {
        let layout = self.plan.layout;
        let deliveries = |subscriber| -> u64 {
            (0..layout.lines())
                .map(|line| u64::from(layout.published(subscriber, line, sent)))
                .sum()
        };
        (self.plan.stuck..self.plan.subscribers).map(deliveries).sum()
    }

    fn start_publishing(
        &self,
        schedule: Schedule,
        sent: Vec<u64>,
    ) -> anyhow::Result<JoinHandle<std::io::Result<Published>>> {
        let (requests, tally) = (self.requests.clone(), self.tally.clone());
        let thread = std::thread::Builder::new().name("bench-publisher".into());
        Ok(thread.spawn(move || publish(&requests, &tally, schedule, sent))?)
    }

    /// Publishes as planned and waits until all events are received, or no more arrive.
    fn events(&mut self, readers: &Readers) -> anyhow::Result<Published> {
        let schedule = Schedule {
            every_ns: self.plan.rate.map_or(0, |rate| (1e9 / rate) as u64),
            events: self.plan.events.unwrap_or(u64::MAX),
            for_ns: self.plan.duration.as_nanos() as u64,
        };
        let thread = self.start_publishing(schedule, Vec::new())?;
        let (started, seconds) = (Instant::now(), self.plan.duration.as_secs().max(1));
        let timeout = self.plan.duration + CONNECT_WITHIN;
        self.watch("publishing", timeout, |_| {
            if thread.is_finished() {
                (seconds, seconds)
            } else {
                (started.elapsed().as_secs().min(seconds - 1), seconds)
            }
        });
        let published = joined(thread)?;
        if self.plan.scenario == Scenario::Churn {
            readers.leave()?;
            // Subscribers that still wait for their next event have lost nothing.
            sleep(self.plan.settle);
            return Ok(published);
        }
        let expected = self.expected(&published.sent);
        self.watch("receiving", QUIET, |tally| (tally.received.get(), expected));
        Ok(published)
    }

    /// Lets all subscribers receive an id, drop, miss events, and resume.
    fn storm(&mut self, readers: &Readers) -> anyhow::Result<(Published, Storm)> {
        let missed = self.plan.missed;
        let for_ns = self.plan.duration.as_nanos() as u64;
        let single = Schedule { every_ns: 0, events: 1, for_ns };
        let first = joined(self.start_publishing(single, Vec::new())?)?;
        let expected = self.expected(&first.sent);
        if !self.watch("first event", QUIET, |tally| (tally.received.get(), expected)) {
            bail!("not every subscriber received the first event");
        }
        readers.close()?;
        sleep(self.plan.settle.max(Duration::from_secs(1)));
        let rest = Schedule { events: missed, ..single };
        let published = joined(self.start_publishing(rest, first.sent)?)?;
        let expected = self.expected(&published.sent);
        let started_ns = self.tally.now_ns();
        self.connect(readers)?;
        self.watch("resuming", QUIET, |tally| (tally.received.get(), expected));
        let caught_up_ns = self.tally.last_received_ns.get().saturating_sub(started_ns);
        Ok((published, Storm { missed, level_after_ms: caught_up_ns as f64 / 1e6 }))
    }

    fn report(&self, server: String, measured: Measured) -> Report {
        let plan = self.plan;
        let Measured { before, after, pss, published, seen, storm } = measured;
        let counts = seen.counts;
        let began_ns = published.as_ref().map_or(0, |p| p.began_ns);
        let receiving = self.tally.last_received_ns.get().saturating_sub(began_ns) as f64 / 1e9;
        let per =
            |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let measured_s = (after.at - before.at).as_secs_f64();
        let visits = self.tally.visits.get();
        let used = self.process.map(|_| self.used(before, after, &published, counts.received, pss));
        let churns = plan.scenario == Scenario::Churn && visits > 0;
        Report {
            scenario: plan.scenario,
            server,
            subscribers: plan.subscribers,
            stuck: plan.stuck,
            slow: plan.slow,
            slow_closed: None,
            scrape_ms: None,
            search_ms: None,
            streams: plan.layout.streams,
            publishers: plan.layout.publishers,
            size_bytes: plan.size,
            refused: self.tally.refused.get(),
            dropped: self.tally.dropped.get(),
            connect_ms: Quantiles::of(&seen.connect),
            churn: churns.then(|| Churn {
                visits,
                per_second: per(visits, measured_s),
                cpu_us_per_visit: used.as_ref().map(|u| u.cpu_s * 1e6 / visits as f64),
            }),
            publish: published.map(|p| Publishes {
                acknowledged: p.acknowledged,
                refused: p.refused,
                failed: p.failed,
                per_second: per(p.acknowledged, (p.ended_ns - p.began_ns) as f64 / 1e9),
                answer_ms: Quantiles::of(&p.answer).unwrap_or(NONE),
            }),
            deliveries: Deliveries {
                received: counts.received,
                lost: counts.lost,
                duplicated: counts.duplicated,
                reordered: counts.reordered,
                per_second: per(counts.received, receiving),
            },
            latency_ms: Quantiles::of(&seen.latency).filter(|_| storm.is_none()),
            storm,
            used,
            socket_bytes: self.sockets_peak - self.sockets_before,
        }
    }

    fn used(
        &self,
        before: Mark,
        after: Mark,
        published: &Option<Published>,
        received: u64,
        pss: Option<u64>,
    ) -> Used {
        let cpu = after.cpu.since(before.cpu);
        let measured_s = (after.at - before.at).as_secs_f64();
        let us_per = |count: u64| (count > 0).then(|| cpu.total_s() * 1e6 / count as f64);
        let growth = pss.zip(self.pss_before).map(|(pss, before)| pss as f64 - before as f64);
        let subscribers = self.plan.subscribers as f64;
        Used {
            cpu_s: cpu.total_s(),
            cpu_system_s: cpu.system_s,
            measured_s,
            cpu_percent: 100.0 * cpu.total_s() / measured_s,
            cpu_us_per_delivery: us_per(received),
            cpu_us_per_publish: us_per(published.as_ref().map_or(0, |p| p.acknowledged)),
            pss_bytes: pss,
            pss_bytes_per_connection: growth.filter(|_| subscribers > 0.0).map(|b| b / subscribers),
        }
    }
}

/// Quantiles if there are no answers.
const NONE: Quantiles = Quantiles { p50: 0.0, p99: 0.0, p999: 0.0, max: 0.0 };

fn joined(thread: JoinHandle<std::io::Result<Published>>) -> anyhow::Result<Published> {
    thread.join().ok().context("the publisher panicked")?.context("publishing failed")
}
