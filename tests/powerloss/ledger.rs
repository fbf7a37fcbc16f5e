//! The record of everything that was acknowledged or shown, and the checks against it.

use crate::client::{Client, Event, Published};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The harm that a scenario may do to synced data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Nothing: everything that was acknowledged or shown must be there.
    None,
    /// The mode does not sync: a suffix may be missing, reported or not.
    Unsynced,
    /// The medium was damaged or a sync failed: a suffix may be missing if the hub reports it.
    Damage,
}

/// Everything that clients know of one data directory.
#[derive(Clone, Default)]
pub struct Ledger {
    /// Events that must be there, by id.
    expected: BTreeMap<String, String>,
    /// Every id that was ever assigned, with its payload.
    names: HashMap<String, String>,
    /// Payloads that were sent.
    sent: HashSet<String>,
    /// Keys with the ids that they were acknowledged with.
    keys: HashMap<String, (String, String)>,
    /// Keyed events whose publish was not answered.
    unanswered: Vec<(String, String)>,
    /// The newest id that was lost; ids after it must be of a newer epoch.
    lost: Option<String>,
}

impl Ledger {
    /// Records an event before it is published.
    pub fn record_sent(&mut self, data: &str) {
        self.sent.insert(data.to_owned());
    }

    /// Records that `id` names `data`, by a receipt or a read.
    pub fn record_id(&mut self, id: &str, data: &str) -> Result<(), String> {
        match self.names.insert(id.to_owned(), data.to_owned()) {
            Some(previous) if previous != data => {
                return Err(format!("the id {id} names two events: {previous:.40} and {data:.40}"));
            }
            _ => {}
        }
        let lost = self.lost.as_ref().filter(|_| !self.expected.contains_key(id));
        if let Some(lost) = lost.filter(|lost| id[..8] <= lost[..8]) {
            return Err(format!("after a loss up to {lost} the id {id} is of the old epoch"));
        }
        self.expected.insert(id.to_owned(), data.to_owned());
        Ok(())
    }

    /// Records an acknowledged publish.
    pub fn acknowledge(&mut self, id: &str, data: &str, key: Option<&str>) -> Result<(), String> {
        self.record_id(id, data)?;
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), (id.to_owned(), data.to_owned()));
        }
        Ok(())
    }

    /// Records a publish that was not answered; it is sent again to the next hub.
    pub fn record_unanswered(&mut self, key: &str, data: &str) {
        self.unanswered.push((key.to_owned(), data.to_owned()));
    }

    /// Compares the data of a hub with what clients know of it.
    pub fn check(&mut self, client: &Client, harm: Harm) -> Result<(), String> {
        self.check_reads(client, harm)?;
        self.check_keys(client)?;
        self.publish_again(client)
    }

    /// Compares the data of a hub that accepts no publishes.
    pub fn check_reads(&mut self, client: &Client, harm: Harm) -> Result<(), String> {
        let loss = client.reported_loss()?;
        let stored = client.read_all()?;
        self.compare(&stored, loss.as_deref(), harm)?;
        match loss {
            // The hub reports a loss until it is acknowledged.
            Some(_) => client.acknowledge_losses(),
            None => Ok(()),
        }
    }

    fn compare(&mut self, stored: &[Event], loss: Option<&str>, harm: Harm) -> Result<(), String> {
        if let Some(pair) = stored.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(format!("{} is read before {}", pair[0].id, pair[1].id));
        }
        let mut payloads = HashSet::new();
        for event in stored {
            if !self.sent.contains(&event.data) {
                return Err(format!("{} was never sent: {:.60}", event.id, event.data));
            }
            if !payloads.insert(&event.data) {
                return Err(format!("{:.60} is there twice, also as {}", event.data, event.id));
            }
        }
        let stored: BTreeMap<&str, &str> =
            stored.iter().map(|event| (event.id.as_str(), event.data.as_str())).collect();
        for (id, data) in &stored {
            if self.names.get(*id).is_some_and(|known| known != data) {
                return Err(format!("the id {id} names two events, one of them {data:.40}"));
            }
        }
        self.accept_missing(&stored, loss, harm)?;
        for (id, data) in stored {
            self.record_id(id, data)?;
        }
        Ok(())
    }

    /// Checks which events are missing, and no longer expects those that may be.
    fn accept_missing(
        &mut self,
        stored: &BTreeMap<&str, &str>,
        loss: Option<&str>,
        harm: Harm,
    ) -> Result<(), String> {
        let is_missing = |id: &&String| !stored.contains_key(id.as_str());
        let missing: Vec<String> = self.expected.keys().filter(is_missing).cloned().collect();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else {
            return match (loss, harm) {
                (Some(loss), Harm::None) => {
                    Err(format!("a loss is told and nothing is lost: {loss}"))
                }
                _ => Ok(()),
            };
        };
        let (count, expected_count) = (missing.len(), self.expected.len());
        let missing_range = format!("{count} of {expected_count} events, {first} to {last}");
        if harm == Harm::None {
            return Err(format!("{missing_range}, are missing (told: {loss:?})"));
        }
        if loss.is_none() && harm == Harm::Damage {
            return Err(format!("{missing_range}, are missing, and /readyz tells no loss"));
        }
        let later = self.expected.range(first.clone()..).map(|(id, _)| id.as_str());
        if let Some(id) = later.into_iter().find(|id| stored.contains_key(id)) {
            return Err(format!("what is kept is no prefix: {first} is missing and {id} is there"));
        }
        for id in &missing {
            self.expected.remove(id);
        }
        self.keys.retain(|_, (id, _)| !missing.contains(id));
        self.lost = self.lost.take().max(Some(last.clone()));
        Ok(())
    }

    /// Publishes acknowledged events again: their keys must still return their ids.
    fn check_keys(&self, client: &Client) -> Result<(), String> {
        for (key, (id, data)) in self.keys.iter().take(3) {
            match client.publish(&stream_of(data), data, Some(key)) {
                Published::Acknowledged { id: repeated, duplicate: true } if repeated == *id => {}
                other => return Err(format!("the key {key} of {id} is forgotten: {other:?}")),
            }
        }
        Ok(())
    }

    /// Publishes unanswered events again, as a careful publisher does. They must not be stored
    /// twice, which the next comparison would find.
    fn publish_again(&mut self, client: &Client) -> Result<(), String> {
        for (key, data) in std::mem::take(&mut self.unanswered) {
            match client.publish(&stream_of(&data), &data, Some(&key)) {
                Published::Acknowledged { id, .. } => self.acknowledge(&id, &data, Some(&key))?,
                Published::Refused(..) | Published::Unknown => self.unanswered.push((key, data)),
            }
        }
        Ok(())
    }
}

/// The stream that a payload goes to: its part before the first slash.
pub fn stream_of(data: &str) -> String {
    format!("s.{}", data.split('/').next().unwrap_or_default())
}
