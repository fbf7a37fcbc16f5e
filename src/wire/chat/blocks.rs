//! Splits the output of a session, as `wire/sse.rs` writes it, into blocks: comments of one line,
//! and events that end with a blank line.

use super::event::ChatEvent;

/// A block.
pub(super) struct Block<'a> {
    /// Unparsed block.
    pub(super) raw: &'a [u8],
    pub(super) is_comment: bool,
    pub(super) retry: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    name: Option<&'a str>,
    data: Option<&'a str>,
}

impl<'a> Block<'a> {
    /// Returns the chat event in the block, if there is one.
    pub(super) fn event(&self) -> Option<ChatEvent> {
        let data = self.data.filter(|_| self.name.is_none())?;
        serde_json::from_str(data).ok()
    }

    fn read(raw: &'a [u8]) -> Self {
        let is_comment = raw.starts_with(b":");
        let mut block = Self { raw, is_comment, retry: None, id: None, name: None, data: None };
        let text = std::str::from_utf8(raw).unwrap_or_default();
        for line in text.lines().filter(|_| !is_comment) {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name {
                "event" => block.name = Some(value),
                "id" => block.id = Some(value),
                "retry" => block.retry = Some(value),
                // An event of a chat is JSON in one line.
                "data" => block.data = Some(value),
                _ => {}
            }
        }
        block
    }
}

/// Returns the blocks of `bytes`, which must end with a complete block.
pub(super) fn of(bytes: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = match rest.first()? {
            b':' => memchr::memchr(b'\n', rest).map(|at| at + 1),
            _ => memchr::memmem::find(rest, b"\n\n").map(|at| at + 2),
        };
        let (raw, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Block::read(raw))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_events_are_distinguished() {
        let bytes = b":\nretry: 5\nevent: hub-open\nid: x\ndata: {\"a\":1}\n\n:\nid: y\ndata: {\"type\":\"done\",\"finish_reason\":\"stop\",\"is_final\":true}\n\n";
        let blocks: Vec<Block<'_>> = of(bytes).collect();
        assert_eq!(blocks.iter().map(|block| block.raw.len()).sum::<usize>(), bytes.len());
        let comments: Vec<bool> = blocks.iter().map(|block| block.is_comment).collect();
        assert_eq!(comments, [true, false, true, false]);
        assert_eq!(
            (blocks[1].retry, blocks[1].id, blocks[1].event()),
            (Some("5"), Some("x"), None)
        );
        assert!(blocks[3].event().is_some_and(|event| event.is_terminal()));
    }
}
