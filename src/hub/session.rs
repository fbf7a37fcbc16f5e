//! A session: one subscriber's cursor over the journal.
//!
//! It is `Live` while it reads its group's queue, and `CatchingUp` while it reads history: when it
//! starts behind, when it fell behind, when its shard did. There is no third way.

use super::admission::Holder;
use super::outlet::Outlet;
use super::seat::{GroupId, Refusal};
use crate::access::Caller;
use crate::event::{Body, Interest, Position, StreamName, Timestamp};
use crate::journal::{History, JournalError};
use crate::telemetry::{Closed, Replayed};
use crate::wire::{self, Resume, View};
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A session's name within its shard; never used twice.
pub(super) type SessionKey = u64;

/// Bytes of frames that one read of history builds: large enough to be worth a disk read, small
/// enough that ten thousand of them fit in memory.
const PAGE_BYTES: usize = 32 * 1024;

/// How a session's heartbeats look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// After so many seconds without anything else.
    pub every_s: u64,
    /// As an event that a page can see, rather than as a comment.
    pub as_event: bool,
}

/// How a session begins to read.
pub struct Opening {
    /// The place it has everything up to.
    pub cursor: Position,
    /// The place it ends at, where it does not go on with what is to come.
    pub until: Option<Position>,
    /// The removals it has been told of.
    pub told: u64,
    /// Streams it names that are gone, as it knows.
    pub ended: Vec<StreamName>,
    /// Its first block.
    pub first_block: Option<Bytes>,
    /// Lines that go into the block of its first event.
    pub prefix: Option<Bytes>,
    /// Its heartbeats.
    pub beat: Beat,
    /// What became of its resume.
    pub resume: Resume,
    /// Its short way to its socket, where there is one.
    pub outlet: Option<Rc<dyn Outlet>>,
    /// Whose it is: it ends with their credential.
    pub caller: Arc<Caller>,
}

/// Where a session gets its next bytes.
pub(super) enum Mode {
    /// It waits for its seat.
    Seating(oneshot::Sender<Result<Position, Refusal>>),
    /// It has a seat and has not begun.
    Seated,
    /// It reads history.
    CatchingUp(CatchUp),
    /// It reads its group's queue: the next segment, and its place among the readers.
    Live { next: u64, place: usize },
}

/// A read of history in progress.
#[derive(Default)]
pub(super) struct CatchUp {
    /// How far to read before looking again whether that is level.
    pub(super) until: Position,
    /// A read that waits for the disk.
    pub(super) job: Option<JoinHandle<Result<Page, JournalError>>>,
}

impl Drop for CatchUp {
    /// A read that nobody waits for any more does not take its turn.
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.abort();
        }
    }
}

/// When a session began, and what became of its resume.
#[derive(Clone, Copy)]
pub(super) struct Began {
    pub(super) at: Timestamp,
    pub(super) resume: Resume,
}

/// One subscriber.
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) interest: Arc<Interest>,
    pub(super) view: View,
    /// Whom it is counted for.
    pub(super) holder: Arc<Holder>,
    /// How it began, once it has.
    pub(super) began: Option<Began>,
    /// Events that it was sent.
    pub(super) sent_events: u64,
    pub(super) group: Option<GroupId>,
    pub(super) mode: Mode,
    /// Everything wanted up to here has been yielded.
    pub(super) cursor: Position,
    /// The place it ends at, where there is one.
    pub(super) last: Option<Position>,
    pub(super) told: u64,
    /// Streams named that it was told the end of.
    pub(super) ended: HashSet<StreamName>,
    /// What it is told before anything else.
    pub(super) first_block: Option<Bytes>,
    pub(super) prefix: Option<Bytes>,
    pub(super) beat: Beat,
    pub(super) beat_due: bool,
    pub(super) last_sent: u64,
    /// Whose it is, once it has begun.
    pub(super) caller: Option<Arc<Caller>>,
    /// When it is told that its credential ends, and when that is.
    pub(super) expires: Option<(Timestamp, Timestamp)>,
    /// The last block, after which the session ends.
    pub(super) farewell: Option<Bytes>,
    pub(super) closing: Option<Closed>,
    pub(super) waker: Option<Waker>,
    pub(super) outlet: Option<Rc<dyn Outlet>>,
    /// Since when there has been something for a socket that takes nothing.
    pub(super) stalled_since: Option<u64>,
}

impl Session {
    pub(super) fn new(
        interest: Arc<Interest>,
        view: View,
        (holder, seat): (Arc<Holder>, oneshot::Sender<Result<Position, Refusal>>),
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            interest,
            view,
            holder,
            began: None,
            sent_events: 0,
            group: None,
            mode: Mode::Seating(seat),
            cursor: Position::ZERO,
            last: None,
            told: 0,
            ended: HashSet::new(),
            first_block: None,
            prefix: None,
            beat: Beat { every_s: u64::MAX, as_event: false },
            beat_due: false,
            last_sent: 0,
            caller: None,
            expires: None,
            farewell: None,
            closing: None,
            waker: None,
            outlet: None,
            stalled_since: None,
        }
    }

    /// Has the connection's task poll again.
    pub(super) fn wake(&mut self, now: u64) {
        if let Some(waker) = self.waker.take() {
            self.stalled_since.get_or_insert(now);
            waker.wake();
        }
    }

    /// Whether everything it names has ended by its cursor. A stream that was deleted and is there
    /// again has not.
    pub(super) fn has_nothing_to_wait_for(&self, history: &History) -> bool {
        let Some(names) = self.interest.exact_streams() else { return false };
        names.iter().all(|name| match history.has_history(name) {
            true => history.has_ended(name, self.cursor),
            false => self.ended.contains(*name),
        })
    }
}

/// Frames read from history.
pub(super) struct Page {
    pub(super) bytes: Vec<u8>,
    /// The place read up to.
    pub(super) through: Position,
    pub(super) events: u64,
    pub(super) source: Replayed,
    /// The removals its reader has now been told of.
    pub(super) told: u64,
    pub(super) gap: bool,
    /// Streams that ended.
    pub(super) ends: Vec<StreamName>,
}

/// What to read: `interest` after `cursor` and up to `until`.
#[derive(Clone)]
pub(super) struct PageRequest {
    pub(super) interest: Arc<Interest>,
    pub(super) view: View,
    pub(super) cursor: Position,
    pub(super) until: Position,
    pub(super) told: u64,
}

impl PageRequest {
    /// Reads from memory; `None` where that does not have it all or cannot tell of gaps.
    pub(super) fn read_recent(&self, history: &History) -> Option<Page> {
        let may_be_gap = || history.removed_after(self.cursor) && history.removals() > self.told;
        if may_be_gap() {
            return None;
        }
        let mut page = self.empty(Replayed::Memory);
        let range = (self.cursor, self.until);
        let through = history.read_recent(&self.interest, range, &mut |e| {
            page.add(e, history, (self.view, &self.interest))
        });
        page.through = through?;
        // What went while it was read may be missing from it.
        (!may_be_gap()).then_some(page)
    }

    /// Reads from wherever it is; may wait for the disk.
    pub(super) fn read(&self, history: &History) -> Result<Page, JournalError> {
        loop {
            let attempt = self.attempt(history)?;
            if let Some(page) = self.settled(history, attempt)? {
                return Ok(page);
            }
        }
    }

    fn attempt(&self, history: &History) -> Result<Attempt, JournalError> {
        let mut page = self.empty(Replayed::Disk);
        page.told = history.removals();
        let mut range = (self.cursor, self.until);
        if let Some(mut gap) = history.gap(&self.interest, self.cursor, self.told)? {
            let first = history.first(&self.interest, (self.cursor, history.head()))?;
            gap.first = first.found().map(|place| history.id(place));
            page.gap = true;
            if self.view.has_control() {
                let from = history.id(first.before());
                wire::hub_gap(&mut page.bytes, self.view.format, from, gap);
            }
            range.0 = first.before();
            range.1 = range.1.max(range.0);
        }
        let notice = page.bytes.len();
        page.through = history.read(&self.interest, range, &mut |e| {
            page.add(e, history, (self.view, &self.interest))
        })?;
        Ok(Attempt { page, from: range.0, notice })
    }

    /// The page, unless something that belongs to it may have gone while it was read: then it is
    /// to be read anew, or, with a gap told already, to end there, so that the next one tells of
    /// this.
    fn settled(&self, history: &History, attempt: Attempt) -> Result<Option<Page>, JournalError> {
        let Attempt { mut page, from, notice } = attempt;
        if history.gap(&self.interest, from, page.told)?.is_none() {
            return Ok(Some(page));
        }
        page.bytes.truncate(notice);
        page.ends.clear();
        Ok(page.gap.then_some(Page { through: from, events: 0, ..page }))
    }

    fn empty(&self, source: Replayed) -> Page {
        Page {
            bytes: Vec::new(),
            through: self.cursor,
            events: 0,
            source,
            told: self.told,
            gap: false,
            ends: Vec::new(),
        }
    }
}

/// A page that was read, with the place it was read from and the length of its notice.
struct Attempt {
    page: Page,
    from: Position,
    notice: usize,
}

impl Page {
    fn add(
        &mut self,
        entry: &crate::event::Entry,
        history: &History,
        (view, interest): (View, &Interest),
    ) -> ControlFlow<()> {
        wire::entry(&mut self.bytes, history.id(entry.position), entry, view, Some(interest));
        let is_end = matches!(entry.body, Body::End(_));
        self.events += u64::from(!is_end);
        if is_end {
            self.ends.extend(entry.streams.iter().cloned());
        }
        if self.bytes.len() < PAGE_BYTES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{Draft, EventType, Selector};
    use crate::journal::{Durability, Item, Journal, Kept, Retention, Settings};
    use crate::telemetry::Telemetry;

    /// A journal in memory whose streams keep ten events, and somebody who answers its publishers.
    pub(in crate::hub) fn journal(recent_bytes: usize) -> Journal {
        let (out, mut dispatched) = tokio::sync::mpsc::channel::<crate::journal::Dispatch>(16);
        tokio::spawn(async move {
            while let Some(dispatch) = dispatched.recv().await {
                dispatch.answer();
            }
        });
        let otherwise = Kept { max_events: Some(10), ..Kept::default() };
        let settings = Settings {
            data_dir: "none".into(),
            durability: Durability::Memory,
            retention: Retention { rules: Vec::new(), otherwise, total_bytes: u64::MAX },
            limits: Arc::default(),
            min_free_bytes: 0,
            recent_bytes,
            holder: String::new(),
        };
        Journal::open(settings, Telemetry::new().expect("metrics"), out).expect("opens")
    }

    pub(in crate::hub) async fn publish(journal: &Journal, count: usize) -> Position {
        let stream = StreamName::parse("s").expect("a name");
        let draft = Draft::from_text(vec![stream], EventType::default(), "x", Timestamp::default());
        let unit = vec![Item::Event(draft.expect("a draft")); count];
        let receipts = journal.publisher.publish(unit, 1).await.expect("published");
        receipts.last().expect("a receipt").id.position
    }

    fn request(history: &History, cursor: Position) -> PageRequest {
        let selector = Selector::parse("s").expect("a selector");
        PageRequest {
            interest: Arc::new(Interest::new(vec![selector], None).expect("ok")),
            view: View::default(),
            cursor,
            until: history.head(),
            told: history.removals(),
        }
    }

    #[tokio::test]
    async fn a_page_from_which_something_went_while_it_was_read_is_read_anew() {
        let journal = journal(1);
        let cursor = publish(&journal, 1).await;
        publish(&journal, 5).await;
        let request = request(&journal.history, cursor);
        let attempt = request.attempt(&journal.history).expect("reads");
        assert_eq!(attempt.page.events, 5);
        publish(&journal, 8).await;
        assert!(request.settled(&journal.history, attempt).expect("looks").is_none());
        let page = request.read(&journal.history).expect("reads");
        assert!(page.gap && page.bytes.starts_with(b"event: hub-gap\n"));
        assert!(request.read_recent(&journal.history).is_none(), "memory cannot tell of gaps");
    }

    #[tokio::test]
    async fn a_reader_overtaken_twice_is_told_twice_and_gets_on() {
        let journal = journal(1);
        let cursor = publish(&journal, 1).await;
        publish(&journal, 5).await;
        let request = request(&journal.history, cursor);
        publish(&journal, 12).await;
        let request = PageRequest { until: journal.history.head(), ..request };
        let attempt = request.attempt(&journal.history).expect("reads");
        assert!(attempt.page.gap && attempt.page.events > 0);
        publish(&journal, 12).await;
        let page = request.settled(&journal.history, attempt).expect("looks").expect("a notice");
        assert_eq!(page.events, 0);
        assert!(page.through > cursor, "it gets on");
        let next = PageRequest { cursor: page.through, told: page.told, ..request };
        assert!(next.read(&journal.history).expect("reads").gap, "and is told again");
    }
}
