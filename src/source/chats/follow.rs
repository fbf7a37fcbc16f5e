//! Chats of the other hubs of a cluster, which are read at any hub: their records are followed.

use super::super::last_values::{off_thread, read, read_stream};
use super::super::own_streams::CHATS_STREAM;
use super::super::supervisor::SourceHandle;
use super::Chats;
use super::ledger::Record;
use crate::event::{Entry, Interest, Position, Selector};
use crate::source::error::SourceError;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the records of other hubs are read.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum number of hubs whose earlier records are read.
const MAX_HUBS: usize = 256;

impl Chats {
    /// Follows the records of the other hubs until that fails.
    pub async fn follow_other_hubs(self, _: SourceHandle) -> Result<(), SourceError> {
        let records = Selector::parse(&format!("{CHATS_STREAM}.*"))?;
        let interest = Arc::new(Interest::new(vec![records], None)?);
        let mut cursor = self.0.history.head();
        let all = self.clone();
        off_thread(move || all.apply_all(cursor)).await?;
        let mut turns = tokio::time::interval(CHECK_INTERVAL);
        loop {
            turns.tick().await;
            let head = self.0.history.head();
            if head == cursor {
                continue;
            }
            let (chats, interest, after) = (self.clone(), interest.clone(), cursor);
            off_thread(move || {
                read(&chats.0.history, &interest, after, head, &mut |entry| chats.apply(entry))
            })
            .await?;
            cursor = head;
        }
    }

    /// Applies the records of all other hubs up to `head`.
    fn apply_all(&self, head: Position) -> Result<(), SourceError> {
        let prefix = format!("{CHATS_STREAM}.");
        let page = self.0.history.list(&prefix, None, MAX_HUBS, |_| true)?;
        for (stream, _) in &page.streams {
            read_stream(&self.0.history, stream.as_str(), &mut |entry| {
                if entry.position <= head {
                    self.apply(entry);
                }
            })?;
        }
        Ok(())
    }

    fn apply(&self, entry: &Entry) {
        let [stream] = &*entry.streams else { return };
        let Some(record) = Record::of(entry) else { return };
        let is_own = self.0.records.as_ref() == Some(stream);
        // Of its own chats, this hub is only told that another one has deleted them.
        if !is_own || matches!(record, Record::Deleted { .. }) {
            self.ledger().restore(record, Some(stream).filter(|_| !is_own));
        }
    }
}
