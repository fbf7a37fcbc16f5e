//! Chats of earlier runs of the hub: they are restored at the start, ended if they were left open,
//! and deleted if their records are gone.

use super::super::last_values::read_stream;
use super::super::own_streams::CHAT_PREFIX;
use super::super::publish_with_retry::publish_with_retry;
use super::chat::Chat;
use super::ledger::{Ledger, Record};
use super::{Chats, stored};
use crate::event::StreamName;
use crate::journal::Item;
use crate::source::error::SourceError;
use crate::wire::chat::{ChatEvent, FailureCause};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Number of streams that are listed in one page.
const PAGE: usize = 500;

impl Chats {
    /// Restores the chats of earlier runs of the hub, and ends those that were left open.
    pub fn restore(&self) -> Result<(), SourceError> {
        let mut ledger = Ledger::default();
        let records = self.0.records.as_ref().map_or("", StreamName::as_str);
        read_stream(&self.0.history, records, &mut |entry| {
            if let Some(record) = Record::of(entry) {
                ledger.restore(record);
            }
        })?;
        let open: Vec<Arc<Chat>> =
            ledger.all().filter(|chat| chat.ended().is_none()).cloned().collect();
        *self.ledger() = ledger;
        // The records of other hubs are not known here.
        if self.0.node.name().is_none() {
            self.delete_orphans()?;
        }
        for chat in open {
            let transcript = stored::transcript(&self.0.history, &chat.stream, None)?;
            let partial = transcript.is_begun();
            chat.is_redacted.store(!transcript.redactions().is_empty(), Ordering::Release);
            let message = "the hub was stopped while the model answered".to_owned();
            let end = ChatEvent::Error {
                code: FailureCause::HubRestarted,
                message,
                retryable: true,
                partial,
                upstream_status: None,
                retry_after: None,
                upstream_code: None,
                upstream_type: None,
                upstream_param: None,
            };
            let chats = self.clone();
            tokio::spawn(async move { chats.end(&chat, Vec::new(), vec![end]).await });
        }
        Ok(())
    }

    /// Deletes chats whose records are gone, because nothing else would delete them.
    fn delete_orphans(&self) -> Result<(), SourceError> {
        let mut after: Option<StreamName> = None;
        loop {
            let from = after.as_ref().map(StreamName::as_str);
            let page = self.0.history.list(CHAT_PREFIX, from, PAGE, |_| true);
            let page = page?;
            let all = page.streams.iter().map(|(stream, _)| stream);
            for stream in all.filter(|stream| self.of_stream(stream).is_none()).cloned() {
                let publisher = self.0.publisher.clone();
                let unit = vec![Item::Delete { stream, has_readers: true }];
                tokio::spawn(async move { publish_with_retry(&publisher, unit, |_| {}).await });
            }
            let last = page.streams.last().filter(|_| page.streams.len() == PAGE);
            after = page.stopped_at.or_else(|| last.map(|(stream, _)| stream.clone()));
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
