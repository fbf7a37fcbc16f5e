//! Housekeeping of chats: stops chats without readers if that was requested, deletes expired chats,
//! and forgets them.

use super::Chats;
use super::chat::{Chat, Progress, StopBy};
use super::event_batcher::publish;
use super::ledger::Record;
use crate::event::Timestamp;
use crate::journal::{Item, PublishError, now};
use std::sync::Arc;
use std::time::Duration;

/// Interval of the housekeeping.
const EVERY: Duration = Duration::from_secs(1);
/// Time without readers after which a chat is stopped, if that was requested.
const STOP_WITHOUT_READERS_AFTER: Duration = Duration::from_secs(60);

/// Time after which another hub deletes an expired chat.
const DELETED_BY_OTHERS_AFTER: Duration = Duration::from_secs(60);

/// Action that is due for a chat.
enum DueAction {
    Stop,
    Delete,
    Forget,
}

impl Chats {
    /// Runs the housekeeping until the hub stops.
    pub async fn run_janitor(self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let at = now();
            let due: Vec<_> = {
                let ledger = self.ledger();
                let due = |chat: &Arc<Chat>| Some((chat.clone(), self.due(chat, at)?));
                ledger.all().filter_map(due).collect()
            };
            for (chat, due) in due {
                match due {
                    DueAction::Stop => self.stop(&chat, StopBy::NoReaders),
                    DueAction::Forget => self.ledger().forget(&chat),
                    DueAction::Delete => {
                        if let Err(why) = self.delete(&chat).await {
                            tracing::warn!(
                                chat = chat.id,
                                error = %why,
                                "failed to delete a chat; trying again later"
                            );
                            break;
                        }
                    }
                }
            }
        }
    }

    fn due(&self, chat: &Chat, at: Timestamp) -> Option<DueAction> {
        let kept_ms = self.0.settings.kept.as_millis() as u64;
        if let Some(deleted) = chat.deleted() {
            // Until then its key starts no new chat.
            return (deleted.plus_ms(kept_ms) <= at).then_some(DueAction::Forget);
        }
        if let Some(ended) = chat.ended() {
            // The hub that ran it deletes it, if it is there.
            let late_ms =
                if chat.is_own() { 0 } else { DELETED_BY_OTHERS_AFTER.as_millis() as u64 };
            let is_due = ended.plus_ms(kept_ms).plus_ms(late_ms) <= at;
            return is_due.then_some(DueAction::Delete);
        }
        let is_alone = chat.stops_without_readers
            && chat
                .without_readers_since()
                .is_some_and(|since| since.elapsed() >= STOP_WITHOUT_READERS_AFTER);
        is_alone.then_some(DueAction::Stop)
    }

    /// Stops a chat and deletes its events. It is deleted even if the future is dropped.
    pub async fn delete(&self, chat: &Arc<Chat>) -> Result<(), PublishError> {
        let (chats, chat) = (self.clone(), chat.clone());
        let deleted = tokio::spawn(async move { chats.delete_once(&chat).await }).await;
        deleted.unwrap_or(Err(PublishError::Draining))
    }

    async fn delete_once(&self, chat: &Arc<Chat>) -> Result<(), PublishError> {
        let _turn = chat.deletion.lock().await;
        if chat.is_deleted() {
            return Ok(());
        }
        self.stop(chat, StopBy::Deleted);
        chat.until(Progress::is_over).await;
        let at = now();
        let record = Record::Deleted { chat: chat.id.clone(), at_ms: at.ms() };
        // This also deletes a chat whose history retention has removed already.
        let mut unit = vec![Item::Delete { stream: chat.stream.clone(), has_readers: true }];
        unit.extend(self.record(chat, &record));
        publish(&self.0.publisher, unit).await?;
        chat.set_deleted(at);
        Ok(())
    }

    /// Lets runs end within a part of `window`, and stops the others. Starts no more.
    pub async fn stop_all(&self, window: Duration) {
        /// Share of a drain's window in which chats may end normally, in percent.
        const GRACE_PERCENT: u32 = 60;
        self.ledger().is_stopping = true;
        let all: Vec<Arc<Chat>> = self.ledger().own().cloned().collect();
        if tokio::time::timeout(window * GRACE_PERCENT / 100, all_ended(&all)).await.is_err() {
            self.kill_all();
            all_ended(&all).await;
        }
    }

    /// Stops every run immediately.
    pub fn kill_all(&self) {
        let all: Vec<Arc<Chat>> = self.ledger().own().cloned().collect();
        for chat in all {
            self.stop(&chat, StopBy::Hub);
        }
    }
}

async fn all_ended(chats: &[Arc<Chat>]) {
    for chat in chats {
        chat.until(Progress::is_over).await;
    }
}
