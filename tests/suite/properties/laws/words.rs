//! Laws of names, selectors, types, ids, times, keys and lines.

use fanfare::event::{
    EventId, EventType, Key, Line, LineSplitter, Selector, StreamName, Timestamp,
};

/// A name is accepted unchanged or refused.
pub fn stream_name(text: &str) {
    let is_good = (1..=255).contains(&text.len())
        && !["", ".", ".."].contains(&text)
        && text.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '*');
    match StreamName::parse(text) {
        Ok(name) => assert!(is_good && name.as_str() == text, "{text:?}"),
        Err(error) => assert!(!is_good && error.field == "stream", "{text:?}: {error}"),
    }
}

/// Returns true if the parts of a name match: `*` matches one part, a last `**` the rest.
fn parts_match(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([first, pattern @ ..], [part, parts @ ..]) => {
            (*first == "*" || first == part) && parts_match(pattern, parts)
        }
        _ => false,
    }
}

/// Returns true if a selector matches a name as documented.
pub fn selector_matches(selector: &str, name: &str) -> bool {
    if !selector.contains('*') {
        return selector == name;
    }
    let (pattern, parts): (Vec<&str>, Vec<&str>) =
        (selector.split('.').collect(), name.split('.').collect());
    parts_match(&pattern, &parts)
}

/// Returns true if a subscriber of `selector` gets `name`: wildcards never reach `chat.…`, and
/// reach `hub.…` only if the selector begins with `hub.`.
fn selector_reaches(selector: &str, name: &str) -> bool {
    let is_pattern = selector.contains('*');
    let out_of_reach =
        name.starts_with("chat.") || name.starts_with("hub.") && !selector.starts_with("hub.");
    selector_matches(selector, name) && !(is_pattern && out_of_reach)
}

/// A selector is accepted unchanged and matches by its parts.
pub fn selector(text: &str, name: &str) {
    let parts: Vec<&str> = text.split('.').collect();
    let is_pattern = text.contains('*');
    let is_valid_part = |(index, part): (usize, &&str)| match *part {
        "" => false,
        "**" => index == parts.len() - 1,
        "*" => true,
        other => !other.contains('*'),
    };
    let is_valid = if is_pattern {
        StreamName::parse(&text.replace('*', "x")).is_ok()
            && parts.iter().enumerate().all(is_valid_part)
    } else {
        StreamName::parse(text).is_ok()
    };
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => return assert!(!is_valid && error.field == "stream", "{text:?}: {error}"),
    };
    assert!(is_valid, "{text:?}");
    assert_eq!(selector.as_str(), text);
    assert_eq!(selector.exact().is_some(), !is_pattern);
    let Ok(name) = StreamName::parse(name) else { return };
    assert_eq!(selector.matches(&name), selector_matches(text, name.as_str()), "{text} at {name}");
    assert_eq!(selector.reaches(&name), selector_reaches(text, name.as_str()), "{text} at {name}");
}

/// The intersection of two selectors reaches what both reach, in either order of the operands.
pub fn intersection(first: &str, second: &str, name: &str) {
    let (Ok(first), Ok(second)) = (Selector::parse(first), Selector::parse(second)) else { return };
    // The intersection of longer ones may be too long for a pattern, although both reach a name
    // with an empty part that is not too long. It is then `None`.
    if first.as_str().len() + second.as_str().len() > 255 {
        return;
    }
    let both = first.intersection(&second);
    assert_eq!(both, second.intersection(&first), "{first} and {second}");
    if let Some(both) = &both {
        assert_eq!(Selector::parse(both.as_str()).as_ref(), Ok(both), "it parses again");
        // The intersection is within each of them.
        assert_eq!(both.intersection(&first).as_ref(), Some(both), "{both} of {first}");
        assert_eq!(both.intersection(&second).as_ref(), Some(both), "{both} of {second}");
    }
    let Ok(name) = StreamName::parse(name) else { return };
    let reached = both.as_ref().is_some_and(|both| both.reaches(&name));
    assert_eq!(
        reached,
        first.reaches(&name) && second.reaches(&name),
        "{first} and {second} at {name}"
    );
}

/// A type can be dispatched by EventSource and is reserved neither by it nor by the hub.
pub fn event_type(text: &str) {
    let is_valid = (1..=64).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !["open", "error"].contains(&text)
        && !text.starts_with("hub-");
    match EventType::parse(text) {
        Ok(kind) => {
            assert!(is_valid && kind.as_str() == text, "{text:?}");
            assert_eq!(kind.is_default(), text == "message");
        }
        Err(error) => assert!(!is_valid && error.field == "type", "{text:?}: {error}"),
    }
}

/// An accepted id has the value of its digits, and its canonical spelling parses back.
pub fn event_id(text: &str) {
    let hex = |range: std::ops::Range<usize>| {
        let digits = text.as_bytes().get(range)?;
        digits.iter().try_fold(0u128, |value, digit| {
            Some(value << 4 | u128::from(char::from(*digit).to_digit(16)?))
        })
    };
    let has_id_form = text.len() == 25 && text.as_bytes()[8] == b'-';
    let expected = has_id_form.then(|| Some((hex(0..8)?, hex(9..25)?))).flatten();
    match EventId::parse(text) {
        Ok(id) => {
            let actual = (u128::from(id.epoch.0), u128::from(id.position.get()));
            assert_eq!(Some(actual), expected, "{text:?}");
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
            assert_eq!(id.text(), *id.to_string().as_bytes());
            assert_eq!(EventId::parse(&id.to_string()), Ok(id));
        }
        Err(error) => {
            assert!(expected.is_none() && error.field == "last_event_id", "{text:?}: {error}")
        }
    }
}

/// Returns a usual RFC 3339 time in milliseconds, computed from the calendar.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(offset_start, mark)| bytes.get(*offset_start) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let digits =
        rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = match digits {
        0 => ("", rest),
        n if n <= 9 => (&rest[1..=n], &rest[n + 1..]),
        _ => return None,
    };
    let offset_start = text.len() - offset.len();
    let offset = match offset.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (
                number(offset_start + 1..offset_start + 3)?,
                number(offset_start + 4..offset_start + 6)?,
            );
            let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_in_month = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the year 0, which is a leap year.
    let days_before_year =
        |year: i64| year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let days_before_month: i64 = lengths[..month as usize - 1].iter().sum();
    let days = days_before_year(year) - days_before_year(1970) + days_before_month + day - 1;
    let seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    let ms = format!("{fraction:0<3}")[..3].parse::<i64>().ok()?;
    Some(seconds * 1000 + ms)
}

/// The last time that jiff represents minus the largest offset, in milliseconds.
const LAST_MS: i64 = 253_402_207_200_000 - 86_400_000;

/// A time parses to its exact value, and its formatted value parses back.
pub fn timestamp(text: &str) {
    let parsed = Timestamp::parse("t", text);
    match rfc3339_ms(text) {
        Some(ms) if ms < LAST_MS => {
            let ms = u64::try_from(ms).unwrap_or(0);
            assert_eq!(parsed, Ok(Timestamp::from_ms(ms)), "{text:?}");
        }
        _ => {}
    }
    match parsed {
        Ok(timestamp) => timestamp_round_trip(timestamp.ms()),
        Err(error) => assert_eq!(error.field, "t", "{text:?}"),
    }
}

/// A formatted time parses back, and sorts as text like the time.
pub fn timestamp_round_trip(ms: u64) {
    let timestamp = Timestamp::from_ms(ms);
    let text = timestamp.to_string();
    assert_eq!(text.len(), 24, "{text}");
    assert!(text >= Timestamp::from_ms(ms.saturating_sub(1)).to_string());
    if i64::try_from(ms).is_ok_and(|ms| ms < LAST_MS) {
        assert_eq!(rfc3339_ms(&text), i64::try_from(ms).ok(), "{text}");
        assert_eq!(Timestamp::parse("t", &text), Ok(timestamp));
    }
}

/// A key is accepted unchanged or refused.
pub fn key(text: &str) {
    match Key::parse("key", text) {
        Ok(key) => assert!((1..=128).contains(&text.len()) && key.as_str() == text, "{text:?}"),
        Err(error) => assert!(!(1..=128).contains(&text.len()) && error.field == "key", "{text:?}"),
    }
}

/// Maximum size of a line in these laws, small so that longer lines are common.
const LINE_BYTES: usize = 16;

/// Lines do not depend on the chunks of their bytes, and account for all of them. A line that is
/// too long is split, but never within a character.
pub fn lines(input: &[u8], step: usize) {
    let read = |step: usize| {
        let (mut splitter, mut read) = (LineSplitter::new(LINE_BYTES), Vec::new());
        let mut collect = |line: Line<'_>| read.push((line.bytes, line.text.into_owned()));
        for part in input.chunks(step.max(1)) {
            splitter.feed(part, &mut collect);
            assert!(splitter.pending_bytes() <= LINE_BYTES);
        }
        splitter.finish(&mut collect);
        read
    };
    let lines = read(step);
    assert_eq!(lines, read(input.len()), "{step}");
    assert_eq!(lines.iter().map(|(bytes, _)| bytes).sum::<usize>(), input.len());
    assert!(lines.iter().all(|(bytes, text)| *bytes <= LINE_BYTES && !text.contains('\n')));
    if let Ok(text) = std::str::from_utf8(input) {
        let joined: String = lines.iter().map(|(_, line)| line.as_str()).collect();
        let without_line_ends = |text: &str| text.replace(['\r', '\n'], "");
        assert_eq!(without_line_ends(&joined), without_line_ends(text), "nothing is replaced");
    }
}
