//! Benchmarks of the hot path, step by step: frame, match, shard push, round of writes, session
//! poll, journal append, resume read. `cargo bench` (or `cargo bench --bench hot -- NAME`).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare::event::{
    Body, Draft, Entry, EventType, Interest, Position, Selector, StreamName, Timestamp,
};
use fanfare::hub::probe::{FanOut, SelectorProbe};
use fanfare::journal::{
    CommittedBatch, Dispatch, Durability, Item, Journal, RetentionLimits, RetentionPolicy, Settings,
};
use fanfare::telemetry::Telemetry;
use fanfare::wire::{self, View};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SESSIONS: usize = 1_000;
const EVENTS: usize = 64;
const MISSED: usize = 100;

fn payload() -> String {
    format!("\"{}\"", "x".repeat(198))
}

fn stream(name: &str) -> StreamName {
    StreamName::parse(name).unwrap()
}

fn interest(selector: &str) -> Arc<Interest> {
    Arc::new(Interest::new(vec![Selector::parse(selector).unwrap()], None).unwrap())
}

fn draft() -> Draft {
    let now = Timestamp::from_ms(1);
    Draft::from_text(vec![stream("bench.0")], EventType::default(), &payload(), now).unwrap()
}

fn entry(position: Position) -> Entry {
    let draft = draft();
    let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
    let streams = draft.streams().into();
    Entry { position, time: Timestamp::from_ms(1), streams, body }
}

fn batch(number: u64) -> CommittedBatch {
    let entries: Vec<Entry> = (0..EVENTS).map(|i| entry(Position::of(number, i))).collect();
    let (first, last) = (Position::of(number, 0), Position::of(number, EVENTS - 1));
    CommittedBatch { first, last, at: Instant::now(), entries }
}

/// Opens a journal that answers publishers as soon as their batch is committed.
fn journal(data: &Path, durability: Durability, recent_bytes: usize) -> Journal {
    let (out, mut dispatched) = tokio::sync::mpsc::channel::<Dispatch>(64);
    std::thread::spawn(move || {
        while let Some(dispatch) = dispatched.blocking_recv() {
            dispatch.answer();
        }
    });
    let retention = RetentionPolicy {
        rules: Vec::new(),
        otherwise: RetentionLimits::default(),
        total_bytes: u64::MAX,
    };
    let settings = Settings {
        data_dir: data.to_owned(),
        durability,
        retention,
        limits: std::sync::Arc::default(),
        min_free_bytes: 0,
        recent_bytes,
        cluster: None,
        holder: "a benchmark".into(),
    };
    Journal::open(settings, Telemetry::new().unwrap(), out).unwrap()
}

fn publish(runtime: &tokio::runtime::Runtime, journal: &Journal, events: usize) -> Position {
    let items = vec![Item::Event(draft()); events];
    let receipts = runtime.block_on(journal.publisher.publish(items, events * 200)).unwrap();
    receipts.last().unwrap().id.position
}

fn frame(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), Durability::Memory, 1 << 20);
    let (id, entry) = (journal.history.id(Position::of(1, 0)), entry(Position::of(1, 0)));
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    for (name, envelope) in [("plain", false), ("envelope", true)] {
        let view = View { envelope, ..View::default() };
        let mut out = Vec::with_capacity(1024);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                wire::entry(&mut out, id, black_box(&entry), &view, None);
                black_box(out.len())
            });
        });
    }
}

fn matching(c: &mut Criterion) {
    let exact = (0..100_000).map(|n| format!("bench.{n}"));
    let patterns = (0..100).map(|n| format!("team{n}.**"));
    let selectors: Vec<Selector> =
        exact.chain(patterns).map(|s| Selector::parse(&s).unwrap()).collect();
    let index = SelectorProbe::of(&selectors);
    let mut group = c.benchmark_group("match");
    for name in ["bench.77777", "team42.builds.7", "nobody.reads.this"] {
        let stream = stream(name);
        group.bench_function(name, |b| b.iter(|| index.count(black_box(&stream))));
    }
}

/// Times the search for the subscribers of an update: among 100,000 with different exact topics, 10,000 with different
/// URL patterns of one host, and 100 with hostile ones.
#[cfg(feature = "mercure")]
fn topics(c: &mut Criterion) {
    use fanfare::event::topic::{MatcherKind, PublishedUpdate, TopicInterest, TopicMatcher};
    use fanfare::hub::probe::TopicProbe;

    let hub = url::Url::parse("https://hub.example/.well-known/mercure").unwrap();
    let interest = |kind: MatcherKind, text: String| {
        let matcher = TopicMatcher::parse("match", kind, &text, &hub).unwrap();
        Interest::in_updates(TopicInterest::new(vec![matcher], Vec::new()), Vec::new())
    };
    let exact = (0..100_000).map(|n| format!("https://example.com/exact/{n}"));
    let patterns = (0..10_000).map(|n| format!("https://example.com/users/{n}/:item"));
    let hostile = (0..100).map(|n| format!("https://example.com/h/(a+a+a+a+a+a+a+b{n})"));
    let sets = [
        ("100,000 exact topics", exact.map(|t| interest(MatcherKind::Exact, t)).collect()),
        ("10,000 URL patterns", patterns.map(|t| interest(MatcherKind::UrlPattern, t)).collect()),
        (
            "100 hostile URL patterns",
            hostile.map(|t| interest(MatcherKind::UrlPattern, t)).collect(),
        ),
    ];
    let long = format!("https://example.com/h/{}", "a".repeat(1_000));
    let topics = ["https://example.com/exact/77777", "https://example.com/users/7777/x", &long];
    let mut group = c.benchmark_group("topic");
    for ((name, interests), topic) in sets.into_iter().zip(topics) {
        let index = TopicProbe::of(interests);
        let published = PublishedUpdate {
            topics: vec![topic.to_owned()],
            data: payload(),
            ..PublishedUpdate::default()
        };
        let draft = published.into_draft(&hub, Timestamp::from_ms(1)).unwrap();
        let body = Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
        let (position, streams) = (Position::of(1, 0), draft.streams().into());
        let entry = Entry { position, time: Timestamp::from_ms(1), streams, body };
        group.bench_function(name, |b| b.iter(|| index.count(black_box(&entry))));
    }
}

#[cfg(not(feature = "mercure"))]
fn topics(_: &mut Criterion) {}

/// Times only `step`, with a new batch in each round.
fn time_steps(
    rounds: u64,
    mut next_batch: impl FnMut() -> CommittedBatch,
    mut step: impl FnMut(CommittedBatch) -> Duration,
) -> Duration {
    (0..rounds).map(|_| step(next_batch())).sum()
}

fn fan_out(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), Durability::Memory, 1 << 20);
    let telemetry = Telemetry::new().unwrap();
    let system = actix::System::new();
    system.block_on(async {
        let mut group = c.benchmark_group(format!("{EVENTS} events to {SESSIONS} sessions"));
        group.throughput(Throughput::Elements((EVENTS * SESSIONS) as u64));
        let mut number = 0;
        let mut next = move || {
            number += 1;
            batch(number)
        };
        let new_fan_out = |have_sockets| {
            let (history, telemetry) = (journal.history.clone(), telemetry.clone());
            FanOut::new(history, telemetry, &interest("bench.0"), SESSIONS, have_sockets)
        };
        let mut with_sockets = new_fan_out(true);
        group.bench_function("shard push", |b| {
            b.iter_custom(|rounds| {
                time_steps(rounds, &mut next, |batch| {
                    let start = Instant::now();
                    with_sockets.push(&batch);
                    let elapsed = start.elapsed();
                    with_sockets.flush();
                    elapsed
                })
            });
        });
        group.bench_function("round of writes, without the sockets", |b| {
            b.iter_custom(|rounds| {
                time_steps(rounds, &mut next, |batch| {
                    with_sockets.push(&batch);
                    let start = Instant::now();
                    with_sockets.flush();
                    start.elapsed()
                })
            });
        });
        let mut without_sockets = new_fan_out(false);
        group.bench_function("session poll", |b| {
            b.iter_custom(|rounds| {
                time_steps(rounds, &mut next, |batch| {
                    without_sockets.push(&batch);
                    without_sockets.flush();
                    let start = Instant::now();
                    assert!(without_sockets.poll() > 0);
                    start.elapsed()
                })
            });
        });
    });
    // The actors' timers cannot be dropped outside of their system.
    std::mem::forget(system);
}

fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group("journal append");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, durability) in
        [("memory", Durability::Memory), ("os", Durability::Os), ("sync", Durability::Sync)]
    {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder.path().join("data"), durability, 1 << 20);
        group.bench_function(format!("{EVENTS} events, {name}"), |b| {
            b.iter(|| publish(&runtime, &journal, EVENTS));
        });
        journal.close();
    }
}

fn resume(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group(format!("resume read of {MISSED} events"));
    group.throughput(Throughput::Elements(MISSED as u64));
    for (name, recent_bytes) in [("memory", 64 << 20), ("disk", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder.path().join("data"), Durability::Os, recent_bytes);
        let first = publish(&runtime, &journal, EVENTS);
        let last = publish(&runtime, &journal, MISSED);
        // Later events, so that the range does not end at the newest.
        publish(&runtime, &journal, EVENTS);
        let interest = interest("bench.0");
        group.bench_function(name, |b| {
            b.iter(|| {
                let (mut out, mut count) = (Vec::new(), 0);
                let mut take = |entry: &Entry| {
                    count += 1;
                    let id = journal.history.id(entry.position);
                    wire::entry(&mut out, id, entry, &View::default(), None);
                    ControlFlow::Continue(())
                };
                if recent_bytes == 1 {
                    journal.history.read(&interest, first, last, &mut take).unwrap();
                } else {
                    journal.history.read_recent(&interest, first, last, &mut take).unwrap();
                }
                assert_eq!(count, MISSED);
            });
        });
        journal.close();
    }
}

criterion_group! {
    name = hot;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = frame, matching, topics, fan_out, append, resume
}
criterion_main!(hot);
