//! Losses that were found at a start, kept in the file `LOSS` until an operator acknowledges them.

use super::data_dir::DataDir;
use crate::disk::{replace_file, sync_dir};
use crate::event::EventId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "LOSS";

/// Committed events that were missing or damaged when a journal was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// Id of the last event that still exists; `None` until the journal is open.
    pub kept: Option<String>,
    /// Id of the last event known to have been committed; `None` if it is unknown.
    pub committed: Option<String>,
    /// Files to inspect.
    pub place: String,
    /// Time at which the loss was found, in milliseconds since the Unix epoch.
    pub found_ms: u64,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the journal is damaged: events")?;
        if let Some(kept) = &self.kept {
            write!(f, " after {kept}")?;
        }
        write!(f, " are lost")?;
        if let Some(committed) = &self.committed {
            write!(f, "; the last known committed event is {committed}")?;
        }
        write!(f, "; see {}", self.place)
    }
}

impl Loss {
    /// Returns a loss at `place` whose extent is not known yet.
    pub(super) fn found_at(place: String) -> Self {
        let found_ms = super::clock::now().ms();
        Self { kept: None, committed: None, place, found_ms }
    }

    /// Adds the extent, which is known once the journal is open.
    pub(super) fn between(self, kept: EventId, committed: Option<EventId>) -> Self {
        let committed = committed.map(|id| id.to_string());
        Self { kept: Some(kept.to_string()), committed, ..self }
    }

    /// Returns true while the journal has not been opened since the damage was found.
    pub(super) fn is_unmeasured(&self) -> bool {
        self.kept.is_none()
    }
}

/// Maximum number of recorded losses; a further one replaces the last.
const MAX_LOSSES: usize = 16;

/// Record of the losses that were not acknowledged yet, oldest first.
#[derive(Clone, Debug)]
pub(super) struct LossRecord {
    path: PathBuf,
}

impl LossRecord {
    pub(super) fn in_dir(folder: &DataDir) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// Returns the losses on record. A record that cannot be read is a loss of unknown extent.
    pub(super) fn load(&self) -> io::Result<Vec<Loss>> {
        let bytes = match std::fs::read(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let unreadable = |_| {
            let place = format!("{} (unreadable)", self.path.display());
            vec![Loss { kept: Some("an unknown event".to_owned()), ..Loss::found_at(place) }]
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(unreadable))
    }

    /// Records `loss`, in place of one that was found but not yet measured.
    pub(super) fn add(&self, loss: Loss) -> io::Result<()> {
        let mut losses = self.load()?;
        losses.retain(|loss| !loss.is_unmeasured());
        losses.truncate(MAX_LOSSES - 1);
        losses.push(loss);
        // Serializing strings and a number cannot fail.
        let json = serde_json::to_vec_pretty(&losses).unwrap_or_default();
        replace_file(&self.path, &json).map(drop)
    }

    /// Removes all losses from the record, durably.
    pub(super) fn clear(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }
}
