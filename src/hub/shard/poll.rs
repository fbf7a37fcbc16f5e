//! Polling a session for its next bytes.

use super::close::CloseSchedule;
use super::delivery::Delivery;
use super::flush_scheduler::FlushScheduler;
use super::members::Members;
use super::page::{Page, PageRequest};
use super::session::Mode;
use super::settings::ShardSettings;
use crate::event::{Position, Timestamp};
use crate::hub::ids::SessionKey;
use crate::journal::JournalError;
use crate::telemetry::{BoundHit, CloseReason};
use crate::wire;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Result of one step of a session.
enum Step {
    /// Bytes to send.
    Yield(Bytes),
    /// The state has changed; continue with the next step.
    Again,
    /// More is ready; other connections run first.
    Later,
    /// No bytes are ready; wait until the session is woken.
    Wait,
}

/// Parts of a shard that polling a session uses.
pub(in crate::hub) struct Polling<'a> {
    pub(in crate::hub) members: &'a mut Members,
    pub(in crate::hub) flushes: &'a mut FlushScheduler,
    pub(in crate::hub) delivery: &'a mut Delivery,
    pub(in crate::hub) closes: &'a mut CloseSchedule,
    pub(in crate::hub) settings: &'a ShardSettings,
    /// Position up to which everything is in the queues.
    pub(in crate::hub) dispatched: Position,
    /// Current second of the shard's clock.
    pub(in crate::hub) now: u64,
}

impl Polling<'_> {
    /// Returns the next bytes of a session; `None` once it has ended.
    pub(in crate::hub) fn poll(
        &mut self,
        key: SessionKey,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let now = self.now;
        loop {
            let Some(session) = self.members.session_mut(key) else { return Poll::Ready(None) };
            if let Some(block) = session.first_block.take() {
                return self.yielded(key, now, block);
            }
            if let Some(block) = session.close_block.take()
                && !block.is_empty()
            {
                return self.yielded(key, now, block);
            }
            if session.closing.is_some() {
                return Poll::Ready(None);
            }
            let step = match &session.mode {
                Mode::Live { .. } => self.step_live(key),
                Mode::CatchingUp(_) => self.step_catching_up(key, cx),
                Mode::Registering(_) | Mode::Registered => Step::Wait,
            };
            match step {
                Step::Yield(bytes) => return self.yielded(key, now, bytes),
                Step::Again => {}
                Step::Later => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Wait => break,
            }
        }
        let Some(session) = self.members.session_mut(key) else { return Poll::Ready(None) };
        if std::mem::take(&mut session.heartbeat_due) {
            let mut heartbeat = Vec::new();
            wire::heartbeat(&mut heartbeat, &session.view, session.heartbeat.as_event, now_ms());
            if !heartbeat.is_empty() {
                return self.yielded(key, now, heartbeat.into());
            }
        }
        session.stalled_since = None;
        session.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn yielded(&mut self, key: SessionKey, now: u64, bytes: Bytes) -> Poll<Option<Bytes>> {
        if let Some(session) = self.members.session_mut(key) {
            session.last_sent = now;
            session.heartbeat_due = false;
            // Until the next poll, the socket has not taken these bytes.
            session.stalled_since = Some(now);
        }
        Poll::Ready(Some(bytes))
    }

    fn step_live(&mut self, key: SessionKey) -> Step {
        let Some((session, queue)) = self.members.with_queue(key) else { return Step::Wait };
        let Mode::Live { next, .. } = &mut session.mode else { return Step::Again };
        let Some(segment) = queue.peek(*next) else { return Step::Wait };
        let is_partly_read = segment.last > session.cursor && segment.first <= session.cursor;
        if is_partly_read || session.view.awaits_columns() {
            // The session resumed within this batch, or does not know its columns yet: it reads the
            // missing part from history.
            if self.members.fall_behind(key, self.dispatched, self.now) {
                self.settings.telemetry.catching_up(1);
            }
            return Step::Again;
        }
        let is_new = segment.last > session.cursor;
        if is_new
            && !segment.bytes.is_empty()
            && let Some(prefix) = session.prefix.take()
        {
            return Step::Yield(prefix);
        }
        let Some(segment) = queue.read(*next) else { return Step::Wait };
        *next += 1;
        if !is_new {
            return Step::Again;
        }
        session.cursor = segment.last;
        if session.sink.is_some() {
            session.unsent_since.get_or_insert(segment.at);
            self.delivery.note_unsent(key);
        }
        if !segment.ends.is_empty() {
            session.ended.extend(segment.ends);
            if session.is_finished(&self.settings.history) {
                session.closing = Some(CloseReason::Ended);
            }
        }
        session.sent_events += segment.events;
        self.delivery.metrics.delivered(segment.events, segment.bytes.len() as u64);
        if segment.bytes.is_empty() { Step::Again } else { Step::Yield(segment.bytes) }
    }

    fn step_catching_up(&mut self, key: SessionKey, cx: &mut Context<'_>) -> Step {
        let dispatched = self.dispatched;
        let Some(session) = self.members.session_mut(key) else { return Step::Wait };
        let Mode::CatchingUp(catch_up) = &mut session.mode else { return Step::Again };
        if let Some(job) = &mut catch_up.job {
            let result = match Pin::new(job).poll(cx) {
                Poll::Pending => return Step::Wait,
                Poll::Ready(result) => result,
            };
            catch_up.job = None;
            return match result {
                Ok(Ok(page)) => self.take_page(key, page),
                Ok(Err(error)) => self.history_failed(key, &error.to_string()),
                Err(error) => self.history_failed(key, &error.to_string()),
            };
        }
        if session.last.is_some_and(|last| session.cursor >= last) {
            session.closing = Some(CloseReason::Complete);
            return Step::Again;
        }
        // A session with an end reads everything from history, and nothing live.
        if session.last.is_none() && session.cursor >= catch_up.until {
            if catch_up.until < dispatched {
                catch_up.until = dispatched;
                return Step::Again;
            }
            return self.go_live(key);
        }
        let request = PageRequest {
            interest: session.interest.clone(),
            view: session.view.clone(),
            cursor: session.cursor,
            until: session.last.unwrap_or(catch_up.until),
            seen_removals: session.seen_removals,
        };
        if let Some(page) = request.read_recent(&self.settings.history) {
            return self.take_page(key, page);
        }
        let history = self.settings.history.clone();
        let readers = self.settings.disk_readers.clone();
        let telemetry = self.settings.telemetry.clone();
        catch_up.job = Some(tokio::task::spawn(async move {
            if readers.available_permits() == 0 {
                telemetry.bound_hit(BoundHit::DiskReads);
            }
            let permit = readers.acquire_owned().await.map_err(JournalError::unfinished)?;
            let read = tokio::task::spawn_blocking(move || {
                let page = request.read(&history);
                drop(permit);
                page
            });
            read.await.map_err(JournalError::unfinished)?
        }));
        Step::Again
    }

    fn take_page(&mut self, key: SessionKey, page: Page) -> Step {
        let Some(session) = self.members.session_mut(key) else { return Step::Wait };
        session.cursor = page.through;
        session.seen_removals = page.seen_removals;
        session.sent_events += page.events;
        session.ended.extend(page.ends);
        let prefix = session.prefix.take_if(|_| !page.bytes.is_empty());
        let session_ends_at_gap = session.view.ends_at_gap();
        if let Some(view) = page.learned_view.filter(|view| !view.awaits_columns())
            && self.members.change_view(key, view)
        {
            self.flushes.clear_coalesced();
        }
        let telemetry = &self.settings.telemetry;
        telemetry.replayed(page.source, page.events);
        if page.gap {
            telemetry.session_gap();
            if session_ends_at_gap {
                return self.end_at_gap(key);
            }
        }
        if page.bytes.is_empty() {
            return Step::Later;
        }
        match prefix {
            Some(prefix) => Step::Yield([&prefix[..], &page.bytes].concat().into()),
            None => Step::Yield(page.bytes.into()),
        }
    }

    /// Ends a session whose protocol cannot report a gap: the next request of its client gets the reason.
    fn end_at_gap(&mut self, key: SessionKey) -> Step {
        if let Some(session) = self.members.session_mut(key) {
            session.closing = Some(CloseReason::Overtaken);
        }
        Step::Again
    }

    /// Lets a session that has everything dispatched so far read its queue, or closes it if all its
    /// streams have ended.
    fn go_live(&mut self, key: SessionKey) -> Step {
        let Some(session) = self.members.session_mut(key) else { return Step::Wait };
        if session.is_finished(&self.settings.history) {
            session.closing = Some(CloseReason::Ended);
            return Step::Again;
        }
        if !self.members.go_live(key) {
            return Step::Wait;
        }
        self.settings.telemetry.catching_up(-1);
        Step::Again
    }

    fn history_failed(&mut self, key: SessionKey, error: &str) -> Step {
        // A disk that fails for one session fails for a thousand others as well.
        if self.settings.telemetry.may_log("history_failed") {
            let session = self.members.session(key).map(|session| session.id);
            let session = session.map(tracing::field::display);
            tracing::error!(session, error, "failed to read history for a session");
        }
        let pacer = &self.settings.retry_pacer;
        self.closes.close(self.members, pacer, self.now, key, CloseReason::Error);
        Step::Again
    }
}

fn now_ms() -> Timestamp {
    crate::journal::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Interest, Selector};
    use crate::hub::ids::GroupId;
    use crate::hub::probe;
    use crate::hub::shard::page::tests::publish;
    use crate::hub::shard::session::Session;
    use crate::journal::CommittedBatch;
    use crate::journal::memory_journal;
    use crate::telemetry::Telemetry;
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::time::Instant;

    /// A client can know a position within a batch before its shard has the batch. It must then get
    /// the rest of the batch, and not all of it.
    #[actix::test]
    async fn partly_seen_batch_delivers_only_its_rest() {
        let journal = memory_journal(1 << 20);
        let last = publish(&journal, 3).await;
        let telemetry = Telemetry::new().expect("metrics");
        let state = probe::shard(journal.history.clone(), telemetry);
        let mut state = state.borrow_mut();
        let selector = Selector::parse("s").expect("a selector");
        let interest = Arc::new(Interest::new(vec![selector], None).expect("ok"));
        let (sender, _registration) = tokio::sync::oneshot::channel();
        let session = Session::new(interest.clone(), wire::View::default(), probe::owner(), sender);
        let group = GroupId::of(1);
        let key =
            probe::register_session(&mut state, group, session).expect("the session is admitted");
        let first = Position::of(last.batch(), 0);
        let session = state.members.session_mut(key).expect("the session exists");
        session.cursor = first;
        session.mode = Mode::CatchingUp(crate::hub::shard::session::CatchUp::default());
        let waker = futures_util::task::noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(state.poll(key, &mut cx).is_pending(), "the shard has no batch yet");
        let mut entries = Vec::new();
        let mut copy = |entry: &crate::event::Entry| {
            entries.push(entry.clone());
            ControlFlow::Continue(())
        };
        journal.history.read(&interest, Position::ZERO, last, &mut copy).expect("reads");
        state.deliver(
            &CommittedBatch { first, last, at: Instant::now(), entries },
            &[(0, group), (1, group), (2, group)],
        );
        let Poll::Ready(Some(bytes)) = state.poll(key, &mut cx) else { panic!("nothing comes") };
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        assert_eq!(text.matches("\n\n").count(), 2, "{text}");
        assert!(!text.contains(&journal.history.id(first).to_string()), "{text}");
        assert!(state.poll(key, &mut cx).is_pending());
    }
}
