//! Checks that one subscriber receives every event once and in order.

use std::ops::Range;

/// Marks a line without any event so far, for a subscriber that may join in the middle.
const NOT_STARTED: u32 = u32::MAX;

/// Record of a subscriber's events: one line for each publisher of each stream that it reads.
#[derive(Debug)]
pub struct Ledger {
    /// Next number expected on each line.
    expected: Box<[u32]>,
    /// Skipped numbers, by line; almost always empty.
    missing: Vec<(usize, Range<u32>)>,
    counts: Counts,
}

/// Counts of events and errors.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Events received, once each.
    pub received: u64,
    /// Events received again.
    pub duplicated: u64,
    /// Events received after one that was published later on the same line.
    pub reordered: u64,
    /// Events never received.
    pub lost: u64,
}

impl Counts {
    /// Adds the counts of another subscriber.
    pub fn add(&mut self, other: Counts) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.lost += other.lost;
    }
}

impl Ledger {
    /// Expects every line from number 0, or, with `joins`, from the first number seen.
    pub fn new(lines: usize, joins: bool) -> Self {
        let first = if joins { NOT_STARTED } else { 0 };
        Self { expected: vec![first; lines].into(), missing: Vec::new(), counts: Counts::default() }
    }

    /// Records an event. Returns false for a duplicate, or if `line` is not of this subscriber.
    pub fn record(&mut self, line: usize, number: u32) -> bool {
        let Some(expected) = self.expected.get_mut(line) else { return false };
        if number == *expected || *expected == NOT_STARTED {
            *expected = number.saturating_add(1);
        } else if number > *expected {
            self.missing.push((line, *expected..number));
            *expected = number.saturating_add(1);
        } else if self.fill(line, number) {
            self.counts.reordered += 1;
        } else {
            self.counts.duplicated += 1;
            return false;
        }
        self.counts.received += 1;
        true
    }

    /// Removes a number from the missing ones. Returns false if it is not missing.
    fn fill(&mut self, line: usize, number: u32) -> bool {
        let found = self.missing.iter().position(|(l, gap)| *l == line && gap.contains(&number));
        let Some(at) = found else { return false };
        let (_, gap) = self.missing.swap_remove(at);
        let parts = [gap.start..number, number.saturating_add(1)..gap.end];
        self.missing.extend(parts.into_iter().filter(|r| !r.is_empty()).map(|r| (line, r)));
        true
    }

    /// Returns the final counts; `published` returns the number of events published on a line.
    pub fn finish(mut self, published: impl Fn(usize) -> u32) -> Counts {
        let skipped: u64 = self.missing.iter().map(|(_, gap)| gap.len() as u64).sum();
        let tail = |(line, expected): (usize, &u32)| match *expected {
            NOT_STARTED => 0,
            next => u64::from(published(line).saturating_sub(next)),
        };
        self.counts.lost = skipped + self.expected.iter().enumerate().map(tail).sum::<u64>();
        self.counts
    }

    /// Returns the final counts of a subscriber that left: skipped events are lost, those after it
    /// left are not.
    pub fn close_early(self) -> Counts {
        self.finish(|_| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u32], published: u32, joins: bool) -> Counts {
        let mut ledger = Ledger::new(1, joins);
        for number in numbers {
            ledger.record(0, *number);
        }
        ledger.finish(|_| published)
    }

    #[test]
    fn losses_duplicates_and_reordering_are_distinguished() {
        let counts = |received, lost, duplicated, reordered| Counts {
            received,
            lost,
            duplicated,
            reordered,
        };
        assert_eq!(after(&[0, 1, 2], 3, false), counts(3, 0, 0, 0));
        assert_eq!(after(&[0, 2], 4, false), counts(2, 2, 0, 0));
        assert_eq!(after(&[0, 3, 2, 1], 4, false), counts(4, 0, 0, 2));
        assert_eq!(after(&[0, 1, 1, 0], 2, false), counts(2, 0, 2, 0));
        assert_eq!(after(&[0, 2, 1, 1], 3, false), counts(3, 0, 1, 1));
        assert_eq!(after(&[], 3, false), counts(0, 3, 0, 0));
        assert_eq!(after(&[7, 8], 9, true), counts(2, 0, 0, 0));
        assert_eq!(after(&[], 9, true), counts(0, 0, 0, 0));
    }

    #[test]
    fn lines_are_independent_and_unknown_lines_are_ignored() {
        let mut ledger = Ledger::new(2, false);
        assert!(ledger.record(0, 0) && ledger.record(1, 0) && ledger.record(1, 1));
        assert!(!ledger.record(2, 0));
        let counts = ledger.finish(|line| [1, 3][line]);
        assert_eq!((counts.received, counts.lost), (3, 1));
    }
}
