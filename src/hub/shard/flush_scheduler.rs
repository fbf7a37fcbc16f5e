//! Flushes: new events of a shard's groups are written to the sockets of their sessions.
//!
//! A flush writes to the live sessions of a group in slices and lets the thread do other work in
//! between, above all accept publishes. Their events are joined to the writes that are still to
//! come: the busier a hub is, the more events one write carries.
//! Never: waits for a socket.

use super::delivery::Delivery;
use super::direct_sink::{DirectSink, WriteOutcome};
use super::flush_delay::DelayedFlushes;
use super::members::Members;
use super::session::{Mode, Session};
use super::shared_queue::SharedQueue;
use crate::hub::ids::{GroupKey, SessionKey};
use crate::wire;
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Notify;

/// Maximum number of sessions in a slice: some hundred microseconds of work.
pub(in crate::hub) const SLICE_SESSIONS: usize = 64;
/// The same while events keep arriving: the sooner a publish is accepted, the more is joined.
const BUSY_SLICE_SESSIONS: usize = 16;
/// Maximum number of bytes in a slice.
const SLICE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that arrived for a group since its flush began, beyond which slices are longer: publishers
/// run between slices and must not outrun the readers.
const BACKLOG_BYTES: u64 = 64 * 1024;
/// Factor by which a slice grows with a backlog.
const BACKLOG_FACTOR: usize = 8;
/// Maximum number of bytes in a joined write, unless its first segment has more.
const COALESCED_BYTES: usize = 64 * 1024;
/// Number of joined writes that are kept for the next session; the sessions of a group are nearly
/// always at the same segment.
const MAX_COALESCED: usize = 4;

/// Flushes of one shard.
pub(in crate::hub) struct FlushScheduler {
    due: VecDeque<GroupKey>,
    current: Option<CurrentFlush>,
    /// True if the queue of the last flush received more meanwhile.
    is_busy: bool,
    coalesced: VecDeque<CoalescedWrite>,
    scheduled: Rc<Notify>,
    /// Commit times of the batches in the current flush.
    current_batches: Vec<Rc<Instant>>,
    /// Commit times of the batches in finished flushes, until their fan-out is measured.
    flushed_batches: Vec<Rc<Instant>>,
}

/// The current flush.
#[derive(Clone, Copy)]
struct CurrentFlush {
    key: GroupKey,
    /// Number of sessions left to write to: the first ones of the queue's list, because the list
    /// fills gaps from its end.
    remaining: usize,
    /// End of the group's queue when the flush began, in bytes.
    began_at: u64,
}

/// Segments of a queue, joined into one HTTP chunk.
struct CoalescedWrite {
    next: u64,
    end: u64,
    piece: Bytes,
    events: u64,
    bytes: u64,
    /// True if nothing may be added, so that the write stays valid when more segments arrive.
    is_closed: bool,
}

impl FlushScheduler {
    pub(in crate::hub) fn new() -> Self {
        Self {
            due: VecDeque::new(),
            current: None,
            is_busy: false,
            coalesced: VecDeque::new(),
            scheduled: Rc::default(),
            current_batches: Vec::new(),
            flushed_batches: Vec::new(),
        }
    }

    /// Schedules a flush of a group that has new events.
    pub(in crate::hub) fn schedule(&mut self, key: GroupKey, queue: &mut SharedQueue) {
        if !std::mem::replace(&mut queue.is_flush_due, true) {
            self.due.push_back(key);
            self.scheduled.notify_one();
        }
    }

    /// Ends the current flush.
    fn end(&mut self) {
        self.current = None;
        self.flushed_batches.append(&mut self.current_batches);
    }

    /// Drops the joined writes, which belong to one group and must not outlive it.
    pub(in crate::hub) fn clear_coalesced(&mut self) {
        self.coalesced.clear();
    }
}

impl FlushScheduler {
    /// Returns the `Notify` that is signalled when a flush is scheduled.
    pub(in crate::hub) fn scheduled(&self) -> Rc<Notify> {
        self.scheduled.clone()
    }

    /// Writes to some sessions; returns true if there are more. `now` is the current second of the
    /// shard's clock.
    pub(in crate::hub) fn write_slice(
        &mut self,
        members: &mut Members,
        delayed: &mut DelayedFlushes,
        delivery: &mut Delivery,
        now: u64,
    ) -> bool {
        let (mut sessions, mut bytes) = (0, 0);
        loop {
            let Some(CurrentFlush { key, remaining, began_at }) = self.current_flush(members)
            else {
                return false;
            };
            let Some(queue) = members.queue(key) else {
                self.end();
                continue;
            };
            let arrived_bytes = queue.end_offset().saturating_sub(began_at);
            let factor = if arrived_bytes > BACKLOG_BYTES { BACKLOG_FACTOR } else { 1 };
            let is_busy = arrived_bytes > 0 || self.is_busy;
            let slice = if is_busy { BUSY_SLICE_SESSIONS } else { SLICE_SESSIONS };
            if sessions >= slice * factor || bytes >= SLICE_BYTES * factor as u64 {
                return true;
            }
            // Sessions may have left since.
            let Some(index) = remaining.min(queue.live().len()).checked_sub(1) else {
                self.is_busy = arrived_bytes > 0;
                self.end();
                continue;
            };
            self.current = Some(CurrentFlush { key, remaining: index, began_at });
            sessions += 1;
            let session = queue.live()[index];
            if !is_delayed(members, delayed, session) {
                bytes += self.write_now(members, delivery, session, now);
            }
        }
    }

    /// Returns the current flush, or begins the next one that is due.
    fn current_flush(&mut self, members: &mut Members) -> Option<CurrentFlush> {
        if self.current.is_none() {
            self.clear_coalesced();
            let key = self.due.pop_front()?;
            let began_at = members.queue_mut(key).map_or(0, |queue| {
                queue.is_flush_due = false;
                std::mem::swap(&mut self.current_batches, &mut queue.unmeasured_batches);
                queue.end_offset()
            });
            self.current = Some(CurrentFlush { key, remaining: usize::MAX, began_at });
        }
        self.current
    }

    /// Records how long batches took to reach the sockets of all their sessions.
    pub(in crate::hub) fn measure_fan_out(&mut self, delivery: &mut Delivery) {
        if self.flushed_batches.is_empty() {
            return;
        }
        let now = Instant::now();
        // The other batches are still to be written to another group.
        for at in self.flushed_batches.drain(..).filter_map(Rc::into_inner) {
            delivery.metrics.fanned_out(now.saturating_duration_since(at));
        }
    }

    /// Writes all unread segments of a live session, or wakes its connection to ask for them;
    /// returns the number of bytes of events that were written.
    pub(in crate::hub) fn write_now(
        &mut self,
        members: &mut Members,
        delivery: &mut Delivery,
        key: SessionKey,
        now: u64,
    ) -> u64 {
        let Some((session, queue)) = members.with_queue(key) else { return 0 };
        session.flush_delay.clear();
        let (mut events, mut bytes) = (0, 0);
        while let Some((sink, next)) = direct_target(session, queue) {
            let Some(joined) = self.coalesce(queue, next) else { break };
            let committed_at = queue.peek(next).map(|segment| segment.at);
            let outcome = sink.write(&joined.piece);
            if matches!(outcome, WriteOutcome::Refused | WriteOutcome::Failed) {
                break;
            }
            events += joined.events;
            bytes += joined.bytes;
            let end = joined.end;
            if let Some(last) = queue.skip(next, end) {
                session.cursor = last;
            }
            if let Mode::Live { next, .. } = &mut session.mode {
                *next = end;
            }
            session.last_sent = now;
            session.heartbeat_due = false;
            if outcome == WriteOutcome::Kept {
                session.unsent_since = committed_at;
                delivery.note_unsent(key);
                session.wake(now);
                break;
            }
        }
        delivery.metrics.delivered(events, bytes);
        session.sent_events += events;
        let is_caught_up = match &session.mode {
            Mode::Live { next, .. } => queue.peek(*next).is_none(),
            _ => true,
        };
        if !is_caught_up {
            session.wake(now);
        }
        bytes
    }
}

/// Returns true if the unread bytes of a live session must wait for more.
fn is_delayed(members: &mut Members, delayed: &mut DelayedFlushes, key: SessionKey) -> bool {
    if !members.session(key).is_some_and(|session| session.flush_delay.is_enabled()) {
        return false;
    }
    let Some((session, queue)) = members.with_queue(key) else { return false };
    let Mode::Live { next, .. } = session.mode else { return false };
    delayed.should_delay(&mut session.flush_delay, key, queue.unread_bytes(next))
}

/// Returns the sink and the next segment of a session, if only segments must be written to it.
fn direct_target(session: &Session, queue: &SharedQueue) -> Option<(Rc<dyn DirectSink>, u64)> {
    let Mode::Live { next, .. } = session.mode else { return None };
    let sink = session.sink.as_ref()?;
    // Without a waker, the connection has yet to poll and will get everything then.
    session.waker.as_ref()?;
    let has_other_bytes = session.first_block.is_some()
        || session.prefix.is_some()
        || session.close_block.is_some()
        || session.closing.is_some();
    let segment = queue.peek(next)?;
    (!has_other_bytes && segment.first > session.cursor).then(|| (sink.clone(), next))
}

impl FlushScheduler {
    /// Returns the write for a session at `next`; `None` if its next segment ends a stream or there
    /// are no bytes to write.
    fn coalesce(&mut self, queue: &SharedQueue, next: u64) -> Option<&CoalescedWrite> {
        let queue_end = queue.end();
        let is_current = |joined: &CoalescedWrite| {
            joined.next == next && (joined.is_closed || joined.end == queue_end)
        };
        if let Some(index) = self.coalesced.iter().position(is_current) {
            return self.coalesced.get(index);
        }
        let (mut frames, mut events, mut end, mut is_closed) = (Vec::new(), 0, next, false);
        while let Some(segment) = queue.peek(end) {
            let fits = frames.is_empty() || frames.len() + segment.bytes.len() <= COALESCED_BYTES;
            if !segment.ends.is_empty() || !fits {
                is_closed = true;
                break;
            }
            frames.extend_from_slice(&segment.bytes);
            events += segment.events;
            end += 1;
        }
        if frames.is_empty() {
            return None;
        }
        if self.coalesced.len() == MAX_COALESCED {
            self.coalesced.pop_front();
        }
        let bytes = frames.len() as u64;
        let piece = wire::chunk(&frames).into();
        self.coalesced.push_back(CoalescedWrite { next, end, piece, events, bytes, is_closed });
        self.coalesced.back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Body, Draft, EndReason, Entry, EventType, Interest, Position, Selector, StreamName,
        Timestamp,
    };
    use crate::hub::ids::GroupId;
    use crate::hub::probe;
    use crate::hub::shard::session::CatchUp;
    use crate::hub::shard::state::ShardState;
    use crate::journal::memory_journal;
    use crate::journal::{CommittedBatch, Journal};
    use crate::telemetry::Telemetry;
    use crate::wire::View;
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;
    use std::task::{Context, Poll};

    const GROUP: GroupId = GroupId::of(1);

    /// A socket that takes `capacity` pieces and records them.
    struct RecordingSink {
        pieces: RefCell<Vec<Bytes>>,
        capacity: Cell<usize>,
        is_blocked: Cell<bool>,
    }

    impl DirectSink for RecordingSink {
        fn abort(&self) {}

        fn unsent_bytes(&self) -> usize {
            0
        }

        fn write(&self, piece: &Bytes) -> WriteOutcome {
            if self.is_blocked.get() {
                return WriteOutcome::Refused;
            }
            self.pieces.borrow_mut().push(piece.clone());
            self.capacity.set(self.capacity.get() - 1);
            self.is_blocked.set(self.capacity.get() == 0);
            if self.is_blocked.get() { WriteOutcome::Kept } else { WriteOutcome::All }
        }
    }

    impl RecordingSink {
        fn taking(pieces: usize) -> Rc<Self> {
            let is_blocked = Cell::new(false);
            Rc::new(Self { pieces: RefCell::default(), capacity: Cell::new(pieces), is_blocked })
        }

        /// Returns the text of the recorded events, without the framing of chunks.
        fn events(&self) -> Vec<String> {
            let mut body = Vec::new();
            for piece in self.pieces.borrow().iter() {
                let text = std::str::from_utf8(piece).expect("UTF-8");
                let (length, rest) = text.split_once("\r\n").expect("a length");
                let length = usize::from_str_radix(length, 16).expect("hexadecimal");
                assert_eq!(&rest[length..], "\r\n", "one whole chunk");
                body.extend_from_slice(&rest.as_bytes()[..length]);
            }
            let text = String::from_utf8(body).expect("UTF-8");
            text.lines().filter_map(|l| l.strip_prefix("data: ").map(str::to_owned)).collect()
        }
    }

    /// Adds a live session whose connection waits for it.
    fn join(state: &mut ShardState, sink: Option<Rc<RecordingSink>>) -> SessionKey {
        let selector = Selector::parse("s").expect("a selector");
        let interest = Arc::new(Interest::new(vec![selector], None).expect("ok"));
        let (sender, _registration) = tokio::sync::oneshot::channel();
        let session = Session::new(interest, View::default(), probe::owner(), sender);
        let key = probe::register_session(state, GROUP, session).expect("the session is admitted");
        let dispatched = state.dispatched_watermark;
        let session = state.members.session_mut(key).expect("the session exists");
        session.cursor = dispatched;
        session.mode = Mode::CatchingUp(CatchUp { until: dispatched, job: None });
        session.sink = sink.map(|sink| sink as Rc<dyn DirectSink>);
        state.settings.telemetry.catching_up(1);
        let bytes = poll(state, key);
        assert!(bytes.is_none(), "there is nothing yet");
        key
    }

    fn poll(state: &mut ShardState, key: SessionKey) -> Option<Bytes> {
        let waker = futures_util::task::noop_waker();
        match state.poll(key, &mut Context::from_waker(&waker)) {
            Poll::Ready(bytes) => bytes,
            Poll::Pending => None,
        }
    }

    fn deliver(state: &mut ShardState, number: u64, texts: &[&str]) {
        let stream = StreamName::parse("s").expect("a name");
        let entries: Vec<Entry> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let time = Timestamp::default();
                let draft =
                    Draft::from_text(vec![stream.clone()], EventType::default(), text, time)
                        .expect("a draft");
                let body =
                    Body::Event { kind: draft.kind().clone(), payload: draft.payload().clone() };
                let position = Position::of(number, index);
                Entry { position, time, streams: [stream.clone()].into(), body }
            })
            .collect();
        let (first, last) = (Position::of(number, 0), Position::of(number, texts.len() - 1));
        let recipients: Vec<(u32, GroupId)> = (0..texts.len() as u32).map(|i| (i, GROUP)).collect();
        state.deliver(&CommittedBatch { first, last, at: Instant::now(), entries }, &recipients);
    }

    fn with_shard(test: impl FnOnce(&mut ShardState, &Journal)) {
        actix::System::new().block_on(async {
            let journal = memory_journal(1 << 20);
            let telemetry = Telemetry::new().expect("metrics");
            let state = probe::shard(journal.history.clone(), telemetry);
            test(&mut state.borrow_mut(), &journal);
        });
    }

    fn session(state: &ShardState, key: SessionKey) -> &Session {
        state.members.session(key).expect("the session exists")
    }

    fn is_awaited(state: &ShardState, key: SessionKey) -> bool {
        session(state, key).waker.is_some()
    }

    #[test]
    fn new_events_are_written_in_one_piece_without_waking_the_connection() {
        with_shard(|state, _| {
            let (sink, other) = (RecordingSink::taking(9), RecordingSink::taking(9));
            let key = join(state, Some(sink.clone()));
            join(state, Some(other.clone()));
            let without_sink = join(state, None);
            deliver(state, 1, &["a", "b"]);
            deliver(state, 2, &["c"]);
            assert!(!state.write_slice());
            assert_eq!(sink.events(), ["a", "b", "c"]);
            assert_eq!((sink.pieces.borrow().len(), other.pieces.borrow().len()), (1, 1));
            assert_eq!(sink.pieces.borrow()[0].as_ptr(), other.pieces.borrow()[0].as_ptr());
            assert!(is_awaited(state, key));
            assert!(!is_awaited(state, without_sink), "a session without a sink is woken");
            let bytes = poll(state, without_sink).expect("bytes");
            assert!(bytes.windows(7).any(|w| w == b"data: a"));
            deliver(state, 3, &["d"]);
            state.write_slice();
            assert_eq!(sink.events(), ["a", "b", "c", "d"]);
            assert_eq!(state.delivery.metrics.deliveries(), 4 + 4 + 2);
        });
    }

    #[test]
    fn full_socket_delays_its_session_and_loses_nothing() {
        with_shard(|state, _| {
            let sink = RecordingSink::taking(1);
            let key = join(state, Some(sink.clone()));
            deliver(state, 1, &["a"]);
            state.write_slice();
            assert!(!is_awaited(state, key), "its connection must wait for the socket");
            assert_eq!(session(state, key).stalled_since, Some(state.heartbeats.now()));
            for number in 2..5 {
                deliver(state, number, &["b"]);
                state.write_slice();
            }
            assert_eq!(sink.events(), ["a"], "later events wait behind it");
            sink.is_blocked.set(false);
            sink.capacity.set(9);
            let mut rest = Vec::new();
            while let Some(bytes) = poll(state, key) {
                rest.extend_from_slice(&bytes);
            }
            assert_eq!(rest.windows(7).filter(|w| *w == b"data: b").count(), 3);
            deliver(state, 5, &["c"]);
            state.write_slice();
            assert_eq!(sink.events(), ["a", "c"]);
        });
    }

    #[test]
    fn direct_writes_need_the_next_events_and_a_ready_socket() {
        type Change = fn(&mut Session, &RecordingSink);
        let cases: [(&str, Change); 4] = [
            ("has something else to send first", |session, _| {
                session.prefix = Some(Bytes::from_static(b": so\n"));
            }),
            ("has seen it", |session, _| session.cursor = Position::of(1, 0)),
            ("is being asked by its connection", |session, _| session.waker = None),
            ("has a full socket", |_, sink| sink.is_blocked.set(true)),
        ];
        for (reason, change) in cases {
            with_shard(|state, _| {
                let sink = RecordingSink::taking(9);
                let key = join(state, Some(sink.clone()));
                change(state.members.session_mut(key).expect("the session exists"), &sink);
                let cursor = session(state, key).cursor;
                deliver(state, 1, &["a"]);
                state.write_slice();
                assert!(sink.pieces.borrow().is_empty(), "{reason}");
                assert_eq!(session(state, key).cursor, cursor, "{reason}");
                assert!(!is_awaited(state, key), "{reason}: its connection is woken");
            });
        }
    }

    #[test]
    fn end_of_stream_is_sent_by_the_connection_which_then_closes() {
        with_shard(|state, _| {
            let sink = RecordingSink::taking(9);
            let key = join(state, Some(sink.clone()));
            let (position, time) = (Position::of(1, 0), Timestamp::default());
            let streams = [StreamName::parse("s").expect("a name")].into();
            let end = Entry { position, time, streams, body: Body::End(EndReason::Ended) };
            let batch = CommittedBatch {
                first: position,
                last: position,
                at: Instant::now(),
                entries: vec![end],
            };
            state.deliver(&batch, &[(0, GROUP)]);
            state.write_slice();
            assert!(sink.pieces.borrow().is_empty() && !is_awaited(state, key));
            let bytes = poll(state, key).expect("bytes");
            assert!(bytes.starts_with(b"event: hub-end"));
        });
    }

    #[test]
    fn written_event_replaces_a_due_heartbeat() {
        with_shard(|state, _| {
            let key = join(state, Some(RecordingSink::taking(9)));
            state.members.session_mut(key).expect("the session exists").heartbeat_due = true;
            deliver(state, 1, &["a"]);
            state.write_slice();
            assert!(!session(state, key).heartbeat_due);
        });
    }

    #[test]
    fn sessions_may_join_and_leave_during_a_flush() {
        with_shard(|state, _| {
            let sinks: Vec<Rc<RecordingSink>> =
                (0..300).map(|_| RecordingSink::taking(99)).collect();
            let keys: Vec<SessionKey> =
                sinks.iter().map(|sink| join(state, Some(sink.clone()))).collect();
            deliver(state, 1, &["a"]);
            assert!(state.write_slice(), "more than one slice is needed");
            let has_left = |at: usize| at.is_multiple_of(3);
            for (at, key) in keys.iter().enumerate() {
                if has_left(at) {
                    state.leave(*key);
                }
            }
            deliver(state, 2, &["b"]);
            let late_sink = RecordingSink::taking(99);
            join(state, Some(late_sink.clone()));
            while state.write_slice() {}
            for (at, sink) in sinks.iter().enumerate().filter(|(at, _)| !has_left(*at)) {
                assert_eq!(sink.events(), ["a", "b"], "session {at}");
            }
            assert!(late_sink.events().is_empty(), "it joined after all events");
        });
    }

    /// Returns the number of sessions that each of the next slices writes to.
    fn slices(state: &mut ShardState, sinks: &[Rc<RecordingSink>], count: usize) -> Vec<usize> {
        let written = || sinks.iter().map(|sink| sink.pieces.borrow().len()).sum::<usize>();
        let mut before = written();
        let mut slice = || {
            state.write_slice();
            let written_pieces = written() - before;
            before += written_pieces;
            written_pieces
        };
        (0..count).map(|_| slice()).collect()
    }

    #[test]
    fn slices_are_short_while_events_arrive_and_long_with_a_backlog() {
        with_shard(|state, _| {
            let sinks: Vec<Rc<RecordingSink>> =
                (0..400).map(|_| RecordingSink::taking(99)).collect();
            for sink in &sinks {
                join(state, Some(sink.clone()));
            }
            deliver(state, 1, &["a"]);
            assert_eq!(slices(state, &sinks, 2), [SLICE_SESSIONS; 2]);
            deliver(state, 2, &["b"]);
            assert_eq!(slices(state, &sinks, 2), [BUSY_SLICE_SESSIONS; 2]);
            deliver(state, 3, &[&"c".repeat(BACKLOG_BYTES as usize)]);
            let backlog_slice = BUSY_SLICE_SESSIONS * BACKLOG_FACTOR;
            // Two pieces each: the joined segments, and the one that is too long to join.
            assert_eq!(slices(state, &sinks, 1), [2 * backlog_slice]);
            while state.write_slice() {}
            assert!(sinks.iter().all(|sink| sink.events().len() == 3));
            let large = "d".repeat(200 * 1024);
            deliver(state, 4, &[&large]);
            let max_sessions = (SLICE_BYTES as usize).div_ceil(large.len());
            assert_eq!(slices(state, &sinks, 2), [max_sessions; 2], "bytes bound a slice");
        });
    }

    #[test]
    fn long_queue_is_written_in_bounded_pieces_that_sessions_share() {
        with_shard(|state, _| {
            let sinks = [RecordingSink::taking(99), RecordingSink::taking(99)];
            for sink in &sinks {
                join(state, Some(sink.clone()));
            }
            let large = "x".repeat(COALESCED_BYTES / 3);
            for number in 1..=7 {
                deliver(state, number, &[&large]);
            }
            while state.write_slice() {}
            let pieces = sinks.each_ref().map(|p| p.pieces.borrow().clone());
            assert_eq!(
                pieces[0].len(),
                4,
                "two events in each piece: three do not fit with their ids"
            );
            assert!(pieces[0].iter().all(|piece| piece.len() < COALESCED_BYTES + 100));
            assert!(pieces[0].iter().zip(&pieces[1]).all(|(a, b)| a.as_ptr() == b.as_ptr()));
            assert_eq!(sinks[1].events().len(), 7);
        });
    }

    /// The age of undelivered bytes includes those between a queue and its socket.
    #[test]
    fn age_of_unsent_bytes_is_forgotten_once_the_socket_has_taken_them() {
        actix::System::new().block_on(async {
            let journal = memory_journal(1 << 20);
            let state = probe::shard(journal.history.clone(), Telemetry::new().expect("metrics"));
            let sink = RecordingSink::taking(1);
            let key = join(&mut state.borrow_mut(), Some(sink.clone()));
            let subscription = crate::hub::Subscription::of(state.clone(), key);
            let unsent_since = || session(&state.borrow(), key).unsent_since;
            assert_eq!(unsent_since(), None);
            let before = Instant::now();
            deliver(&mut state.borrow_mut(), 1, &["a"]);
            while state.borrow_mut().write_slice() {}
            let first = unsent_since().expect("the socket did not take all of it");
            assert!(first >= before);
            subscription.resume_after_socket();
            assert_eq!(unsent_since(), None);
            let between = Instant::now();
            deliver(&mut state.borrow_mut(), 2, &["b"]);
            while state.borrow_mut().write_slice() {}
            assert!(poll(&mut state.borrow_mut(), key).is_some(), "the connection polls it");
            assert!(
                unsent_since().is_some_and(|at| at >= between),
                "the age is that of the second batch"
            );
        });
    }
}
