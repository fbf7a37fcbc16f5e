//! Pages: single reads of history by a session that catches up.
//!
//! A page is framed in the view of its reader and has the position at which it ends. Entries that
//! are removed during the read are reported as a gap and never left out silently.

use super::frames::frame;
use crate::event::{Body, Entry, Interest, Position, StreamName};
use crate::journal::{History, JournalError};
use crate::telemetry::ReplaySource;
use crate::wire::{self, View};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of frames that one read of history builds: large enough to be worth a disk read, small
/// enough that ten thousand of them fit in memory.
const PAGE_BYTES: usize = 32 * 1024;

/// Frames read from history.
pub(in crate::hub) struct Page {
    pub(in crate::hub) bytes: Vec<u8>,
    /// Position up to which history was read.
    pub(in crate::hub) through: Position,
    pub(in crate::hub) events: u64,
    pub(in crate::hub) source: ReplaySource,
    /// Number of removals that the reader knows of once it has the page.
    pub(in crate::hub) seen_removals: u64,
    pub(in crate::hub) gap: bool,
    /// View of the reader with the columns that its first event determines.
    pub(in crate::hub) learned_view: Option<View>,
    /// Streams that ended.
    pub(in crate::hub) ends: Vec<StreamName>,
}

/// Request to read `interest` after `cursor` and up to `until`.
#[derive(Clone)]
pub(in crate::hub) struct PageRequest {
    pub(in crate::hub) interest: Arc<Interest>,
    pub(in crate::hub) view: View,
    pub(in crate::hub) cursor: Position,
    pub(in crate::hub) until: Position,
    pub(in crate::hub) seen_removals: u64,
}

impl PageRequest {
    /// Reads from memory; `None` if memory does not have everything or there may be a gap.
    pub(in crate::hub) fn read_recent(&self, history: &History) -> Option<Page> {
        let may_be_gap =
            || history.removed_after(self.cursor) && history.removals() > self.seen_removals;
        if may_be_gap() {
            return None;
        }
        let mut page = self.empty(ReplaySource::Memory);
        let mut add = |entry: &Entry| page.add(entry, history, self);
        let through = history.read_recent(&self.interest, self.cursor, self.until, &mut add)?;
        page.through = through;
        // Entries that were removed during the read may be missing.
        (!may_be_gap()).then_some(page)
    }

    /// Reads from memory or disk; may wait for the disk.
    pub(in crate::hub) fn read(&self, history: &History) -> Result<Page, JournalError> {
        loop {
            let attempt = self.attempt(history)?;
            if let Some(page) = self.validate(history, attempt)? {
                return Ok(page);
            }
        }
    }

    fn attempt(&self, history: &History) -> Result<Attempt, JournalError> {
        let mut page = self.empty(ReplaySource::Disk);
        page.seen_removals = history.removals();
        let (mut after, mut until) = (self.cursor, self.until);
        if let Some(mut gap) = history.gap(&self.interest, self.cursor, self.seen_removals)? {
            let first = history.first(&self.interest, self.cursor, history.head())?;
            gap.first = first.found().map(|position| history.id(position));
            page.gap = true;
            if self.view.has_control() {
                let from = history.id(first.before());
                wire::hub_gap(&mut page.bytes, self.view.format, from, gap);
            }
            after = first.before();
            until = until.max(after);
        }
        let notice_len = page.bytes.len();
        let mut add = |entry: &Entry| page.add(entry, history, self);
        page.through = history.read(&self.interest, after, until, &mut add)?;
        Ok(Attempt { page, from: after, notice_len })
    }

    /// Returns the page if none of its entries can have been removed during the read. Otherwise
    /// returns `None`, so that the page is read again, or, if the page reports a gap already, only
    /// that gap: the next page reports the new one.
    fn validate(&self, history: &History, attempt: Attempt) -> Result<Option<Page>, JournalError> {
        let Attempt { mut page, from, notice_len } = attempt;
        if history.gap(&self.interest, from, page.seen_removals)?.is_none() {
            return Ok(Some(page));
        }
        page.bytes.truncate(notice_len);
        page.ends.clear();
        page.learned_view = None;
        Ok(page.gap.then_some(Page { through: from, events: 0, ..page }))
    }

    fn empty(&self, source: ReplaySource) -> Page {
        Page {
            bytes: Vec::new(),
            through: self.cursor,
            events: 0,
            source,
            seen_removals: self.seen_removals,
            gap: false,
            learned_view: None,
            ends: Vec::new(),
        }
    }
}

/// A page that was read, the position it was read from, and the length of its gap notice.
struct Attempt {
    page: Page,
    from: Position,
    notice_len: usize,
}

impl Page {
    fn add(&mut self, entry: &Entry, history: &History, request: &PageRequest) -> ControlFlow<()> {
        if request.view.awaits_columns() {
            let view = self.learned_view.get_or_insert_with(|| request.view.clone());
            if view.awaits_columns() {
                view.take_columns(&mut self.bytes, entry);
            }
        }
        let view = self.learned_view.as_ref().unwrap_or(&request.view);
        frame(&mut self.bytes, history, entry, view, Some(&request.interest));
        self.events += u64::from(entry.is_event());
        if matches!(entry.body, Body::End(_)) {
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
pub(in crate::hub) mod tests {
    use super::*;
    use crate::event::{Draft, EventType, Selector, Timestamp};
    use crate::journal::{Item, Journal, memory_journal};

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
            seen_removals: history.removals(),
        }
    }

    #[tokio::test]
    async fn page_is_read_again_if_entries_were_removed_meanwhile() {
        let journal = memory_journal(1);
        let cursor = publish(&journal, 1).await;
        publish(&journal, 5).await;
        let request = request(&journal.history, cursor);
        let attempt = request.attempt(&journal.history).expect("reads");
        assert_eq!(attempt.page.events, 5);
        publish(&journal, 8).await;
        assert!(request.validate(&journal.history, attempt).expect("checks").is_none());
        let page = request.read(&journal.history).expect("reads");
        assert!(page.gap && page.bytes.starts_with(b"event: hub-gap\n"));
        assert!(request.read_recent(&journal.history).is_none(), "memory cannot report gaps");
    }

    #[tokio::test]
    async fn reader_overtaken_twice_gets_two_gaps_and_advances() {
        let journal = memory_journal(1);
        let cursor = publish(&journal, 1).await;
        publish(&journal, 5).await;
        let request = request(&journal.history, cursor);
        publish(&journal, 12).await;
        let request = PageRequest { until: journal.history.head(), ..request };
        let attempt = request.attempt(&journal.history).expect("reads");
        assert!(attempt.page.gap && attempt.page.events > 0);
        publish(&journal, 12).await;
        let page = request.validate(&journal.history, attempt).expect("checks").expect("a notice");
        assert_eq!(page.events, 0);
        assert!(page.through > cursor, "the reader advances");
        let next =
            PageRequest { cursor: page.through, seen_removals: page.seen_removals, ..request };
        assert!(next.read(&journal.history).expect("reads").gap, "the second gap is reported");
    }
}
