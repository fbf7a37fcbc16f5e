//! State that the writer keeps beside the store: the highest position, and the record of a clean
//! stop.

use super::clean_stop;
use super::data_dir::DataDir;
use super::high_water::{HighWater, Mark};
use crate::journal::error::JournalError;
use std::time::{Duration, Instant};

/// The high-water mark in the data directory, which is locked while this value lives. In mode
/// `memory` there is no file, and nothing is written.
pub(super) struct Watermark {
    files: Option<(DataDir, HighWater)>,
    /// True if the last written mark is not synced yet.
    is_unsynced: bool,
    written_at: Instant,
}

impl Watermark {
    pub(super) fn new(files: Option<(DataDir, HighWater)>) -> Self {
        Self { files, is_unsynced: false, written_at: Instant::now() }
    }

    /// Writes a mark, which survives this process, and power loss after the next [`Self::sync`].
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), JournalError> {
        self.written_at = Instant::now();
        let Some((_, file)) = &mut self.files else { return Ok(()) };
        self.is_unsynced = true;
        file.write(mark).map_err(JournalError::writing("HEAD"))
    }

    /// Syncs the last mark to disk.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.is_unsynced = false;
        let Some((_, file)) = &self.files else { return Ok(()) };
        file.sync().map_err(JournalError::writing("HEAD"))
    }

    pub(super) fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Returns how long ago a mark was written.
    pub(super) fn age(&self) -> Duration {
        self.written_at.elapsed()
    }

    /// Records a clean stop, after everything else was synced.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        let Some((folder, _)) = &self.files else { return Ok(()) };
        clean_stop::record(folder).map_err(JournalError::writing("CLOSED"))
    }
}
