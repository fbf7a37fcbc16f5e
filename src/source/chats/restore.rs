//! Chats of earlier runs of the hub: they are restored at the start, ended if they were left open,
//! and deleted if their records are gone.

use super::super::last_values::read_stream;
use super::super::own_streams::CHAT_PREFIX;
#[cfg(feature = "cluster")]
use super::super::own_streams::{CHATS_STREAM, NodeName};
use super::super::publish_with_retry::publish_with_retry;
use super::chat::Chat;
#[cfg(feature = "cluster")]
use super::event_batcher::item;
#[cfg(feature = "cluster")]
use super::failure::outcome;
use super::ledger::{Ledger, Record};
use super::{Chats, stored};
use crate::event::StreamName;
use crate::journal::Item;
#[cfg(feature = "cluster")]
use crate::journal::now;
use crate::source::error::SourceError;
use crate::wire::chat::{ChatEvent, FailureCause};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Returns the last event of a chat whose hub has stopped.
fn stopped(message: &str, partial: bool) -> ChatEvent {
    ChatEvent::Error {
        code: FailureCause::HubRestarted,
        message: message.to_owned(),
        retryable: true,
        partial,
        upstream_status: None,
        retry_after: None,
        upstream_code: None,
        upstream_type: None,
        upstream_param: None,
    }
}

/// Number of streams that are listed in one page.
const PAGE: usize = 500;

impl Chats {
    /// Restores the chats of earlier runs of the hub, and ends those that were left open.
    pub fn restore(&self) -> Result<(), SourceError> {
        let (ledger, open) = self.recorded(self.0.records.as_ref())?;
        *self.ledger() = ledger;
        // The records of other hubs are not known here.
        if self.0.node.name().is_none() {
            self.delete_orphans()?;
        }
        for chat in open {
            let transcript = stored::transcript(&self.0.history, &chat.stream, None)?;
            let partial = transcript.is_begun();
            chat.is_redacted.store(!transcript.redactions().is_empty(), Ordering::Release);
            let end = stopped("the hub was stopped while the model answered", partial);
            let chats = self.clone();
            tokio::spawn(async move { chats.end(&chat, Vec::new(), vec![end]).await });
        }
        Ok(())
    }

    /// Returns the chats of a stream of records, and those of them that have no end.
    fn recorded(
        &self,
        records: Option<&StreamName>,
    ) -> Result<(Ledger, Vec<Arc<Chat>>), SourceError> {
        let mut ledger = Ledger::default();
        let records = records.map_or("", StreamName::as_str);
        read_stream(&self.0.history, records, &mut |entry| {
            if let Some(record) = Record::of(entry) {
                ledger.restore(record, None);
            }
        })?;
        let open = ledger.all().filter(|chat| chat.ended().is_none()).cloned().collect();
        Ok((ledger, open))
    }

    /// Ends the chats that another hub of the cluster has left open. The remaining hubs do the same; the first
    /// end counts, and the others are refused.
    #[cfg(feature = "cluster")]
    pub fn end_those_of(&self, node: &NodeName) -> Result<(), SourceError> {
        let records = node.stream(CHATS_STREAM)?;
        let (_, open) = self.recorded(Some(&records))?;
        for chat in open {
            let transcript = stored::transcript(&self.0.history, &chat.stream, None)?;
            let end = stopped("the hub that ran the chat is gone", transcript.is_begun());
            let record = Record::Ended {
                chat: chat.id.clone(),
                outcome: outcome(&end).to_owned(),
                at_ms: now().ms(),
                is_redacted: !transcript.redactions().is_empty(),
            };
            let mut unit: Vec<Item> = item(&chat.stream, &end).into_iter().collect();
            unit.push(Item::End(chat.stream.clone()));
            unit.extend(item(&records, &record));
            let publisher = self.0.publisher.clone();
            tokio::spawn(async move {
                match publish_with_retry(&publisher, unit, |_| {}).await {
                    Ok(_) => tracing::warn!(chat = chat.id, "ended a chat of a hub that is gone"),
                    Err(error) => tracing::debug!(%error, chat = chat.id, "the chat has ended"),
                }
            });
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
