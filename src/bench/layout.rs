//! Assignment of streams to publishers and subscribers, and of both to the lines of a ledger.
//!
//! With at least as many streams as publishers, each stream has one publisher, which publishes to
//! its streams in turn; with fewer, publishers share streams.

/// Numbers of streams and of their publishers.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Total number of streams.
    pub streams: usize,
    /// Streams that each subscriber reads.
    pub streams_per_subscriber: usize,
    /// Publishing connections; at least one, even if nothing is published.
    pub publishers: usize,
}

impl Layout {
    fn shares_streams(&self) -> bool {
        self.streams < self.publishers
    }

    /// Returns the number of streams of a publisher.
    fn streams_of(&self, publisher: usize) -> usize {
        if self.shares_streams() { 1 } else { (self.streams - publisher).div_ceil(self.publishers) }
    }

    /// Returns the stream of a publisher's `n`-th event, and the event's number on that stream.
    pub fn locate(&self, publisher: usize, n: u64) -> (u32, u32) {
        if self.shares_streams() {
            return ((publisher % self.streams) as u32, n as u32);
        }
        let stream_count = self.streams_of(publisher) as u64;
        let rank = (n % stream_count) as usize;
        ((publisher + rank * self.publishers) as u32, (n / stream_count) as u32)
    }

    /// Returns the streams that a subscriber reads.
    pub fn streams_read(&self, subscriber: usize) -> impl Iterator<Item = usize> + '_ {
        let first = self.first_read(subscriber);
        (0..self.streams_per_subscriber).map(move |n| (first + n) % self.streams)
    }

    fn first_read(&self, subscriber: usize) -> usize {
        subscriber * self.streams_per_subscriber % self.streams
    }

    fn lines_per_stream(&self) -> usize {
        if self.shares_streams() { self.publishers.div_ceil(self.streams) } else { 1 }
    }

    /// Returns the number of lines of a subscriber's ledger.
    pub fn lines(&self) -> usize {
        self.streams_per_subscriber * self.lines_per_stream()
    }

    /// Returns the line of an event in a subscriber's ledger; past its end if it does not read the
    /// stream.
    pub fn line(&self, subscriber: usize, stream: u32, publisher: u16) -> usize {
        let position =
            (stream as usize + self.streams - self.first_read(subscriber)) % self.streams;
        let share = if self.shares_streams() { usize::from(publisher) / self.streams } else { 0 };
        position * self.lines_per_stream() + share
    }

    /// Returns the number of events of a line, given the number that each publisher has sent.
    pub fn published(&self, subscriber: usize, line: usize, sent: &[u64]) -> u32 {
        let (position, share) = (line / self.lines_per_stream(), line % self.lines_per_stream());
        let stream = (self.first_read(subscriber) + position) % self.streams;
        let (publisher, rank) = if self.shares_streams() {
            (share * self.streams + stream, 0)
        } else {
            (stream % self.publishers, stream / self.publishers)
        };
        let (Some(sent), stream_count) = (sent.get(publisher), self.streams_of(publisher) as u64)
        else {
            return 0;
        };
        (sent / stream_count + u64::from((rank as u64) < sent % stream_count)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_event_has_one_line_per_reader_and_counts_agree() {
        for (streams, streams_per_subscriber, publishers) in
            [(1, 1, 1), (1, 1, 16), (10, 1, 4), (10, 3, 4), (4, 2, 10), (100, 40, 7), (3, 3, 3)]
        {
            let layout = Layout { streams, streams_per_subscriber, publishers };
            let sent: Vec<u64> = (0..publishers as u64).map(|p| 100 + 13 * p).collect();
            for subscriber in 0..8 {
                let reads: Vec<usize> = layout.streams_read(subscriber).collect();
                let mut seen: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
                for (publisher, count) in sent.iter().enumerate() {
                    for n in 0..*count {
                        let (stream, number) = layout.locate(publisher, n);
                        let line = layout.line(subscriber, stream, publisher as u16);
                        assert_eq!(line < layout.lines(), reads.contains(&(stream as usize)));
                        if line < layout.lines() {
                            seen.entry(line).or_default().push(number);
                        }
                    }
                }
                for line in 0..layout.lines() {
                    let numbers = seen.remove(&line).unwrap_or_default();
                    let expected: Vec<u32> =
                        (0..layout.published(subscriber, line, &sent)).collect();
                    assert_eq!(numbers, expected, "{layout:?}, line {line} of {subscriber}");
                }
            }
        }
    }
}
