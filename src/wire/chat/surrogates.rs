//! Joins pairs of UTF-16 surrogates that an upstream has split between two chunks, as one escape
//! each (RFC 8259 §7 allows that, and no Rust string can hold one).

/// First of the private-use characters that mark lone surrogates until their other halves arrive.
const FIRST_MARK: u32 = 0xf_0000;
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A text that continues from chunk to chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Content,
    Reasoning,
    Refusal,
    /// Arguments of the call with this index; `None` is the last call.
    Arguments(Option<u64>),
}

/// High surrogates at the ends of texts, whose low surrogates may come with the next chunk.
#[derive(Debug, Default)]
pub(super) struct SurrogateJoiner(Vec<(Slot, u16)>);

impl SurrogateJoiner {
    /// Joins surrogates in `text`, including the one that its slot has from the chunk before, and
    /// keeps a high surrogate at its end. `has_marks` means that the chunk was repaired.
    pub(super) fn join(&mut self, slot: Slot, text: &mut String, has_marks: bool) {
        if text.is_empty() || !has_marks && self.0.is_empty() {
            return;
        }
        let at = self.0.iter().position(|(known, _)| *known == slot);
        let mut high = at.map(|at| self.0.swap_remove(at).1);
        let mut joined = String::with_capacity(text.len() + 4);
        for character in text.chars() {
            let unit = marked(character).filter(|_| has_marks);
            match (high.take(), unit) {
                (Some(first), Some(second)) if (0xdc00..0xe000).contains(&second) => {
                    let pair = char::decode_utf16([first, second]).next();
                    joined.push(pair.and_then(Result::ok).unwrap_or(REPLACEMENT));
                }
                (before, unit) => {
                    joined.extend(before.map(|_| REPLACEMENT));
                    match unit {
                        None => joined.push(character),
                        Some(first) if first < 0xdc00 => high = Some(first),
                        Some(_) => joined.push(REPLACEMENT),
                    }
                }
            }
        }
        self.0.extend(high.map(|first| (slot, first)));
        *text = joined;
    }

    /// Takes the slots whose surrogates stay alone; each gets a replacement character.
    pub(super) fn take_lone(&mut self) -> Vec<Slot> {
        self.0.drain(..).map(|(slot, _)| slot).collect()
    }
}

/// Replaces the marks in a text that no later chunk continues.
pub(super) fn without_marks(text: &str) -> String {
    text.chars().map(|c| if marked(c).is_some() { REPLACEMENT } else { c }).collect()
}

/// Returns the surrogate that a character marks.
fn marked(character: char) -> Option<u16> {
    let unit = u32::from(character).checked_sub(FIRST_MARK)?;
    (unit < 0x800).then_some(0xd800 + unit as u16)
}

fn mark(unit: u16) -> Option<char> {
    char::from_u32(FIRST_MARK + u32::from(unit.checked_sub(0xd800)?))
}

/// Repairs slightly invalid JSON that some upstreams send. NaN and infinities become null. Lone
/// surrogates become private-use characters that mark them, and the second result is true. If the
/// text has such characters already, lone surrogates become replacement characters.
pub(super) fn repaired(data: &[u8]) -> (Vec<u8>, bool) {
    let can_mark = !has_private(data);
    let mark = |unit| if can_mark { mark(unit) } else { Some(REPLACEMENT) };
    let (mut out, mut rest, mut is_text) = (Vec::with_capacity(data.len()), data, false);
    while let Some((byte, after)) = rest.split_first() {
        let literals: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
        let literal = literals.into_iter().find(|literal| !is_text && rest.starts_with(literal));
        if let Some(literal) = literal {
            out.extend_from_slice(b"null");
            rest = &rest[literal.len()..];
        } else if is_text && *byte == b'\\' {
            let length = escape(rest).unwrap_or(2).min(rest.len());
            match lone_half(rest).and_then(mark) {
                Some(mark) => out.extend_from_slice(mark.encode_utf8(&mut [0; 4]).as_bytes()),
                None => out.extend_from_slice(&rest[..length]),
            }
            rest = &rest[length..];
        } else {
            is_text ^= *byte == b'"';
            out.push(*byte);
            rest = after;
        }
    }
    (out, can_mark)
}

/// Returns true if a text may have such private-use characters, literal or escaped.
fn has_private(data: &[u8]) -> bool {
    let is_first = |pair: &[u8]| pair == [0xf3, 0xb0];
    let is_escape = |text: &[u8]| text.eq_ignore_ascii_case(b"\\udb8");
    data.windows(2).any(is_first) || data.windows(5).any(is_escape)
}

/// Returns the number of bytes of the escape of one character; a surrogate pair has two escapes.
fn escape(text: &[u8]) -> Option<usize> {
    let high = unit(text)?;
    let is_pair = (0xd800..0xdc00).contains(&high)
        && text.get(6..).and_then(unit).is_some_and(|low| (0xdc00..0xe000).contains(&low));
    Some(if is_pair { 12 } else { 6 })
}

fn lone_half(text: &[u8]) -> Option<u16> {
    unit(text).filter(|unit| (0xd800..0xe000).contains(unit) && escape(text) == Some(6))
}

/// Returns the UTF-16 code unit of the escape that a text begins with: `\u` and four digits.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogates_are_joined_only_within_their_slot() {
        let mark = |unit| mark(unit).expect("a surrogate").to_string();
        let (high, low) = (mark(0xd83d), mark(0xde00));
        let mut surrogates = SurrogateJoiner::default();
        let mut join = |slot, text: String| {
            let mut text = text;
            surrogates.join(slot, &mut text, true);
            text
        };
        assert_eq!(join(Slot::Content, format!("a{high}")), "a");
        assert_eq!(join(Slot::Reasoning, low.clone()), "\u{fffd}");
        assert_eq!(join(Slot::Content, String::new()), "");
        assert_eq!(join(Slot::Content, format!("{low}b{high}{low}")), "\u{1f600}b\u{1f600}");
        assert_eq!(join(Slot::Arguments(Some(1)), high.clone()), "");
        assert_eq!(join(Slot::Arguments(Some(1)), format!("x{high}")), "\u{fffd}x");
        assert_eq!(surrogates.take_lone(), [Slot::Arguments(Some(1))]);
        assert_eq!(surrogates.take_lone(), []);
    }
}
