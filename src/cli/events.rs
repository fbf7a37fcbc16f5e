//! An event stream, read as the specification has it (WHATWG HTML §9.2.6).

/// Bytes of one event at most; a hub's are far smaller.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// An event.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// Type of the event, `message` by default.
    pub(super) kind: String,
    pub(super) data: String,
    /// The place behind it.
    pub(super) id: String,
}

/// State of the parser.
#[derive(Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    /// The last byte was a CR, so that a LF is part of it.
    after_cr: bool,
    has_begun: bool,
    kind: String,
    data: Vec<u8>,
    id: String,
    /// The id to go on behind.
    pub(super) last_id: String,
    /// Reconnection time in milliseconds, if the stream sets one.
    pub(super) retry_ms: Option<u64>,
}

impl Reader {
    /// A new connection: what was incomplete is gone.
    pub(super) fn restart(&mut self) {
        *self = Self { last_id: std::mem::take(&mut self.last_id), ..Self::default() };
        self.id.clone_from(&self.last_id);
    }

    /// Reads on; `event` is told every event that is whole. An error where there is none in sight.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        event: &mut impl FnMut(Event),
    ) -> anyhow::Result<()> {
        for &byte in input {
            let is_second = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if is_second => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.take(&line, event);
                    self.line = line;
                    self.line.clear();
                }
                byte => self.line.push(byte),
            }
        }
        if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
            anyhow::bail!("an event has more than {MAX_EVENT_BYTES} bytes");
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8], event: &mut impl FnMut(Event)) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| is_first).unwrap_or(line);
        if line.is_empty() {
            return self.dispatch(event);
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match &line[..colon] {
            b"event" => self.kind = text(),
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.id = text(),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry_ms = text().parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, event: &mut impl FnMut(Event)) {
        self.last_id.clone_from(&self.id);
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return;
        }
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        let (data, id) = (String::from_utf8_lossy(&data).into_owned(), self.last_id.clone());
        event(Event { kind, data, id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], step: usize) -> (Vec<(String, String)>, Reader) {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for part in input.chunks(step) {
            let take = &mut |event: Event| events.push((event.kind, event.data));
            reader.feed(part, take).expect("it is small");
        }
        (events, reader)
    }

    #[test]
    fn events_are_what_the_specification_says_however_they_are_cut() {
        let input = "\u{feff}: hello\nretry: 20\nid: 1\nevent: log\ndata: a\r\ndata:  b\rdata\r\n\r\n\
                     :\nid: 2\n\ndata: \u{e9}\n\nid: x\ndata: no end\n";
        for step in 1..=input.len() {
            let (events, reader) = read(input.as_bytes(), step);
            let expected = [("log", "a\n b\n"), ("message", "\u{e9}")];
            let expected = expected.map(|(kind, data)| (kind.to_owned(), data.to_owned()));
            assert_eq!(events, expected, "{step}");
            assert_eq!((reader.last_id.as_str(), reader.retry_ms), ("2", Some(20)));
        }
    }

    #[test]
    fn a_new_connection_keeps_the_place_and_forgets_what_was_begun() {
        let (_, mut reader) = read(b"id: 1\ndata: a\n\nid: 2\ndata: b", 100);
        reader.restart();
        let mut events = Vec::new();
        let take = &mut |event: Event| events.push(event.data);
        reader.feed(b"data: c\n\n", take).expect("it is small");
        assert_eq!((events, reader.last_id.as_str()), (vec!["c".to_owned()], "1"));
    }
}
