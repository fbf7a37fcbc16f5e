//! Queue of events to publish: in memory, and beyond a bound on disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};

/// Maximum bytes of queued events in memory.
const MEMORY_BYTES: usize = 8 * 1024 * 1024;

/// Events in order, each a line of JSON.
#[derive(Default)]
pub(super) struct Spool {
    front: VecDeque<String>,
    front_bytes: usize,
    /// Further lines, in an unlinked file.
    rest: Option<Rest>,
}

struct Rest {
    file: File,
    read_to: u64,
    written_to: u64,
}

impl Spool {
    pub(super) fn push(&mut self, event: String) -> io::Result<()> {
        if self.rest.is_none() && self.front_bytes + event.len() <= MEMORY_BYTES {
            self.front_bytes += event.len();
            self.front.push_back(event);
            return Ok(());
        }
        if self.rest.is_none() {
            self.rest = Some(Rest { file: tempfile::tempfile()?, read_to: 0, written_to: 0 });
        }
        let Some(rest) = &mut self.rest else { return Ok(()) };
        rest.file.seek(SeekFrom::Start(rest.written_to))?;
        rest.file.write_all((event + "\n").as_bytes())?;
        rest.written_to = rest.file.stream_position()?;
        Ok(())
    }

    /// Removes events from the front with `take`, which may leave some.
    pub(super) fn take<T>(
        &mut self,
        take: impl FnOnce(&mut VecDeque<String>) -> T,
    ) -> io::Result<T> {
        if self.front.is_empty() {
            self.refill()?;
        }
        let taken = take(&mut self.front);
        self.front_bytes = self.front.iter().map(String::len).sum();
        Ok(taken)
    }

    fn refill(&mut self) -> io::Result<()> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        rest.file.seek(SeekFrom::Start(rest.read_to))?;
        let mut lines = BufReader::new(&rest.file);
        let mut bytes = 0;
        while bytes < MEMORY_BYTES / 2 {
            let mut line = String::new();
            let length = lines.read_line(&mut line)?;
            if length == 0 {
                break;
            }
            rest.read_to += length as u64;
            bytes += length;
            line.pop();
            self.front.push_back(line);
        }
        if rest.read_to == rest.written_to {
            self.rest = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_memory_bound_are_on_disk_in_order() {
        let (mut spool, event) = (Spool::default(), |n: u32| format!("{n:0>1000}"));
        let many = 3 * (MEMORY_BYTES / 1000) as u32;
        let mut next = 0;
        for n in 0..many {
            spool.push(event(n)).expect("writes");
            // Take some in between.
            if n % 3 == 0 {
                let taken = spool.take(|front| front.pop_front()).expect("reads");
                assert_eq!(taken, Some(event(next)));
                next += 1;
            }
        }
        assert!(spool.rest.is_some(), "some events are on disk");
        while let Some(taken) = spool.take(|front| front.pop_front()).expect("reads") {
            assert_eq!(taken, event(next));
            next += 1;
        }
        assert_eq!(next, many);
        assert!(spool.rest.is_none(), "the file is closed");
    }
}
