//! Faults of the disk, decided by counting operations.

use crate::medium::{Journaling, Medium};
use std::any::Any;
use std::collections::VecDeque;

/// Operations that a failure report shows.
const TRACED: usize = 16;

/// The kinds of operation that change the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Create,
    Write,
    Truncate,
    Rename,
    Unlink,
    MakeFolder,
    Sync,
    SyncFolder,
}

/// The faults that a scenario requests of the disk.
#[derive(Clone, Default)]
pub struct Faults {
    /// The operation, counted from 1, that is not executed and from which on none is answered.
    pub stop_at: Option<u64>,
    /// Stops in the same way at the n-th operation of a kind on a path with this suffix.
    pub stop_before: Option<(Operation, &'static str, u64)>,
    /// The file sync, counted from 1, that fails.
    pub fail_sync_at: Option<u64>,
    /// The suffix of the paths whose syncs `fail_sync_at` counts.
    pub fail_sync_of: &'static str,
    /// The size of the disk.
    pub capacity_bytes: Option<u64>,
}

/// The state of the disk between a stop and the next start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Running,
    /// The chosen operation was reached; requests wait without an answer.
    Frozen,
    /// The process is being killed; requests fail.
    Dead,
}

/// The decision about a request.
pub enum Verdict {
    Proceed,
    /// Keep the reply and do not answer.
    Park,
    /// Answer with an I/O error.
    Fail,
}

/// The disk and its faults, shared by the file system and the scenario.
pub struct State {
    pub medium: Medium,
    pub faults: Faults,
    pub phase: Phase,
    /// True if the operation to stop at was reached since the last start.
    pub has_stopped: bool,
    /// Operations since the last start.
    pub operations: u64,
    /// Operations since the last start that `stop_before` counts.
    matches: u64,
    /// Counted file syncs since the last start.
    pub syncs: u64,
    /// Syncs that were made to fail since the last start.
    pub failed_syncs: u64,
    /// Replies that are held back; dropping one answers with an I/O error.
    pub parked: Vec<Box<dyn Any + Send>>,
    trace: VecDeque<String>,
    trace_before: VecDeque<String>,
}

impl State {
    pub fn new(journaling: Journaling) -> Self {
        Self {
            medium: Medium::new(journaling),
            faults: Faults::default(),
            phase: Phase::Running,
            has_stopped: false,
            operations: 0,
            matches: 0,
            syncs: 0,
            failed_syncs: 0,
            parked: Vec::new(),
            trace: VecDeque::new(),
            trace_before: VecDeque::new(),
        }
    }

    /// Decides about a request that changes nothing.
    pub fn admit(&self) -> Verdict {
        match self.phase {
            Phase::Running => Verdict::Proceed,
            Phase::Frozen => Verdict::Park,
            Phase::Dead => Verdict::Fail,
        }
    }

    /// Counts an operation and decides about it.
    pub fn admit_change(
        &mut self,
        operation: Operation,
        path: impl FnOnce(&Medium) -> String,
    ) -> Verdict {
        if self.phase == Phase::Running {
            self.operations += 1;
            let path = path(&self.medium);
            let is_stop = self.stops_at(operation, &path);
            let mark = if is_stop { " (stopped before it)" } else { "" };
            self.trace.push_back(format!("{}: {operation:?} {path}{mark}", self.operations));
            if self.trace.len() > TRACED {
                self.trace.pop_front();
            }
            if is_stop {
                self.phase = Phase::Frozen;
                self.has_stopped = true;
            }
        }
        self.admit()
    }

    fn stops_at(&mut self, operation: Operation, path: &str) -> bool {
        let is_counted = self.faults.stop_at == Some(self.operations);
        let Some((kind, suffix, count)) = self.faults.stop_before else { return is_counted };
        let is_match = kind == operation && path.ends_with(suffix);
        self.matches += u64::from(is_match);
        is_counted || (is_match && self.matches == count)
    }

    /// Counts a file sync; returns true if it must fail.
    pub fn fails_sync(&mut self, path: &str) -> bool {
        if !path.ends_with(self.faults.fail_sync_of) {
            return false;
        }
        self.syncs += 1;
        let fails = self.faults.fail_sync_at == Some(self.syncs);
        self.failed_syncs += u64::from(fails);
        fails
    }

    /// Returns true if `pages` more fit on the disk.
    pub fn has_room(&self, pages: u64) -> bool {
        let Some(capacity) = self.faults.capacity_bytes else { return true };
        self.medium.allocated() + pages * crate::pages::PAGE <= capacity
    }

    /// Returns the last operations of the previous run and of this one, oldest first.
    pub fn trace(&self) -> String {
        let join = |trace: &VecDeque<String>| {
            let lines: Vec<&str> = trace.iter().map(String::as_str).collect();
            lines.join("\n")
        };
        format!("{}\n--- restart\n{}", join(&self.trace_before), join(&self.trace))
    }

    /// Resets the counters and sets the faults of the next run.
    pub fn restart(&mut self, faults: Faults) {
        self.faults = faults;
        self.phase = Phase::Running;
        self.has_stopped = false;
        (self.operations, self.matches, self.syncs, self.failed_syncs) = (0, 0, 0, 0);
        self.trace_before = std::mem::take(&mut self.trace);
    }
}
