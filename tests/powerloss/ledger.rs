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
    in_doubt: Vec<(String, String)>,
    /// The newest id that was lost; ids after it must be of a newer epoch.
    lost: Option<String>,
}

impl Ledger {
    /// Notes an event before it is published.
    pub fn send(&mut self, data: &str) {
        self.sent.insert(data.to_owned());
    }

    /// Notes that `id` names `data`, by a receipt or a read.
    pub fn name(&mut self, id: &str, data: &str) -> Result<(), String> {
        match self.names.insert(id.to_owned(), data.to_owned()) {
            Some(before) if before != data => {
                return Err(format!("the id {id} names two events: {before:.40} and {data:.40}"));
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

    /// Notes an acknowledged publish.
    pub fn acknowledge(&mut self, id: &str, data: &str, key: Option<&str>) -> Result<(), String> {
        self.name(id, data)?;
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), (id.to_owned(), data.to_owned()));
        }
        Ok(())
    }

    /// Notes a publish that was not answered; it is sent again to the next hub.
    pub fn doubt(&mut self, key: &str, data: &str) {
        self.in_doubt.push((key.to_owned(), data.to_owned()));
    }

    /// Compares the data of a hub with what clients know of it.
    pub fn check(&mut self, client: &Client, harm: Harm) -> Result<(), String> {
        self.check_reads(client, harm)?;
        self.check_keys(client)?;
        self.publish_again(client)
    }

    /// Does the same for a hub that accepts no publishes.
    pub fn check_reads(&mut self, client: &Client, harm: Harm) -> Result<(), String> {
        let loss = client.told_loss()?;
        let kept = client.read_all()?;
        self.compare(&kept, loss.as_deref(), harm)?;
        match loss {
            // The hub reports a loss until it is acknowledged.
            Some(_) => client.acknowledge_losses(),
            None => Ok(()),
        }
    }

    fn compare(&mut self, kept: &[Event], loss: Option<&str>, harm: Harm) -> Result<(), String> {
        if let Some(pair) = kept.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(format!("{} is read before {}", pair[0].id, pair[1].id));
        }
        let mut payloads = HashSet::new();
        for event in kept {
            if !self.sent.contains(&event.data) {
                return Err(format!("{} was never sent: {:.60}", event.id, event.data));
            }
            if !payloads.insert(&event.data) {
                return Err(format!("{:.60} is there twice, also as {}", event.data, event.id));
            }
        }
        let kept: BTreeMap<&str, &str> =
            kept.iter().map(|event| (event.id.as_str(), event.data.as_str())).collect();
        for (id, data) in &kept {
            if self.names.get(*id).is_some_and(|known| known != data) {
                return Err(format!("the id {id} names two events, one of them {data:.40}"));
            }
        }
        self.forgive(&kept, loss, harm)?;
        for (id, data) in kept {
            self.name(id, data)?;
        }
        Ok(())
    }

    /// Checks which events are missing, and no longer expects those that may be.
    fn forgive(
        &mut self,
        kept: &BTreeMap<&str, &str>,
        loss: Option<&str>,
        harm: Harm,
    ) -> Result<(), String> {
        let is_missing = |id: &&String| !kept.contains_key(id.as_str());
        let missing: Vec<String> = self.expected.keys().filter(is_missing).cloned().collect();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else {
            return match (loss, harm) {
                (Some(loss), Harm::None) => {
                    Err(format!("a loss is told and nothing is lost: {loss}"))
                }
                _ => Ok(()),
            };
        };
        let (count, of) = (missing.len(), self.expected.len());
        let which = format!("{count} of {of} events, {first} to {last}");
        if harm == Harm::None {
            return Err(format!("{which}, are missing (told: {loss:?})"));
        }
        if loss.is_none() && harm == Harm::Damage {
            return Err(format!("{which}, are missing, and /readyz tells no loss"));
        }
        let behind = self.expected.range(first.clone()..).map(|(id, _)| id.as_str());
        if let Some(id) = behind.into_iter().find(|id| kept.contains_key(id)) {
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
                Published::Acknowledged { id: again, duplicate: true } if again == *id => {}
                other => return Err(format!("the key {key} of {id} is forgotten: {other:?}")),
            }
        }
        Ok(())
    }

    /// Publishes unanswered events again, as a careful publisher does. They must not be stored
    /// twice, which the next comparison would find.
    fn publish_again(&mut self, client: &Client) -> Result<(), String> {
        for (key, data) in std::mem::take(&mut self.in_doubt) {
            match client.publish(&stream_of(&data), &data, Some(&key)) {
                Published::Acknowledged { id, .. } => self.acknowledge(&id, &data, Some(&key))?,
                Published::Refused(..) | Published::Unknown => self.in_doubt.push((key, data)),
            }
        }
        Ok(())
    }
}

/// The stream that a payload goes to: its part before the first slash.
pub fn stream_of(data: &str) -> String {
    format!("s.{}", data.split('/').next().unwrap_or_default())
}
