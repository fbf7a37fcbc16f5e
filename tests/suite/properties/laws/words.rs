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
        Err(why) => assert!(!is_good && why.field == "stream", "{text:?}: {why}"),
    }
}

/// Returns true if the parts of a name match: `*` matches one part, a last `**` the rest.
fn parts_match(wanted: &[&str], parts: &[&str]) -> bool {
    match (wanted, parts) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([first, wanted @ ..], [part, parts @ ..]) => {
            (*first == "*" || first == part) && parts_match(wanted, parts)
        }
        _ => false,
    }
}

/// Returns true if a selector matches a name as documented.
pub fn is_meant(selector: &str, name: &str) -> bool {
    if !selector.contains('*') {
        return selector == name;
    }
    let (wanted, parts): (Vec<&str>, Vec<&str>) =
        (selector.split('.').collect(), name.split('.').collect());
    parts_match(&wanted, &parts)
}

/// Returns true if a subscriber of `selector` gets `name`: wildcards never reach `chat.…`, and
/// reach `hub.…` only if the selector begins with `hub.`.
fn is_reached(selector: &str, name: &str) -> bool {
    let is_pattern = selector.contains('*');
    let out_of_reach =
        name.starts_with("chat.") || name.starts_with("hub.") && !selector.starts_with("hub.");
    is_meant(selector, name) && !(is_pattern && out_of_reach)
}

/// A selector is accepted unchanged and matches by its parts.
pub fn selector(text: &str, name: &str) {
    let parts: Vec<&str> = text.split('.').collect();
    let is_pattern = text.contains('*');
    let part_is_good = |(at, part): (usize, &&str)| match *part {
        "" => false,
        "**" => at == parts.len() - 1,
        "*" => true,
        other => !other.contains('*'),
    };
    let is_good = if is_pattern {
        StreamName::parse(&text.replace('*', "x")).is_ok()
            && parts.iter().enumerate().all(part_is_good)
    } else {
        StreamName::parse(text).is_ok()
    };
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(why) => return assert!(!is_good && why.field == "stream", "{text:?}: {why}"),
    };
    assert!(is_good, "{text:?}");
    assert_eq!(selector.as_str(), text);
    assert_eq!(selector.exact().is_some(), !is_pattern);
    let Ok(name) = StreamName::parse(name) else { return };
    assert_eq!(selector.matches(&name), is_meant(text, name.as_str()), "{text} at {name}");
    assert_eq!(selector.reaches(&name), is_reached(text, name.as_str()), "{text} at {name}");
}

/// The intersection of two selectors reaches what both reach, in either order of the operands.
pub fn intersection(one: &str, other: &str, name: &str) {
    let (Ok(one), Ok(other)) = (Selector::parse(one), Selector::parse(other)) else { return };
    // The intersection of longer ones may be too long for a pattern, although both reach a name
    // with an empty part that is not too long. It is then `None`.
    if one.as_str().len() + other.as_str().len() > 255 {
        return;
    }
    let both = one.intersection(&other);
    assert_eq!(both, other.intersection(&one), "{one} and {other}");
    if let Some(both) = &both {
        assert_eq!(Selector::parse(both.as_str()).as_ref(), Ok(both), "it parses again");
        // The intersection is within each of them.
        assert_eq!(both.intersection(&one).as_ref(), Some(both), "{both} of {one}");
        assert_eq!(both.intersection(&other).as_ref(), Some(both), "{both} of {other}");
    }
    let Ok(name) = StreamName::parse(name) else { return };
    let reached = both.as_ref().is_some_and(|both| both.reaches(&name));
    assert_eq!(reached, one.reaches(&name) && other.reaches(&name), "{one} and {other} at {name}");
}

/// A type can be dispatched by EventSource and is reserved neither by it nor by the hub.
pub fn event_type(text: &str) {
    let is_good = (1..=64).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !["open", "error"].contains(&text)
        && !text.starts_with("hub-");
    match EventType::parse(text) {
        Ok(kind) => {
            assert!(is_good && kind.as_str() == text, "{text:?}");
            assert_eq!(kind.is_default(), text == "message");
        }
        Err(why) => assert!(!is_good && why.field == "type", "{text:?}: {why}"),
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
    let is_long = text.len() == 25 && text.as_bytes()[8] == b'-';
    let said = is_long.then(|| Some((hex(0..8)?, hex(9..25)?))).flatten();
    match EventId::parse(text) {
        Ok(id) => {
            let read = (u128::from(id.epoch.0), u128::from(id.position.get()));
            assert_eq!(Some(read), said, "{text:?}");
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
            assert_eq!(id.text(), *id.to_string().as_bytes());
            assert_eq!(EventId::parse(&id.to_string()), Ok(id));
        }
        Err(why) => assert!(said.is_none() && why.field == "last_event_id", "{text:?}: {why}"),
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
    if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark)) {
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
    let at = text.len() - offset.len();
    let offset = match offset.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_month = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1..=of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the year 0, which is a leap year.
    let before = |year: i64| year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let of_year: i64 = lengths[..month as usize - 1].iter().sum();
    let days = before(year) - before(1970) + of_year + day - 1;
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
        Ok(moment) => moment_reads_back(moment.ms()),
        Err(why) => assert_eq!(why.field, "t", "{text:?}"),
    }
}

/// A formatted time parses back, and sorts as text like the time.
pub fn moment_reads_back(ms: u64) {
    let moment = Timestamp::from_ms(ms);
    let text = moment.to_string();
    assert_eq!(text.len(), 24, "{text}");
    assert!(text >= Timestamp::from_ms(ms.saturating_sub(1)).to_string());
    if i64::try_from(ms).is_ok_and(|ms| ms < LAST_MS) {
        assert_eq!(rfc3339_ms(&text), i64::try_from(ms).ok(), "{text}");
        assert_eq!(Timestamp::parse("t", &text), Ok(moment));
    }
}

/// A key is accepted unchanged or refused.
pub fn key(text: &str) {
    match Key::parse("key", text) {
        Ok(key) => assert!((1..=128).contains(&text.len()) && key.as_str() == text, "{text:?}"),
        Err(why) => assert!(!(1..=128).contains(&text.len()) && why.field == "key", "{text:?}"),
    }
}

/// Maximum size of a line in these laws, small so that longer lines are common.
const LINE_BYTES: usize = 16;

/// Lines do not depend on the chunks of their bytes, and account for all of them. A line that is
/// too long is split, but never within a character.
pub fn lines(input: &[u8], step: usize) {
    let read = |step: usize| {
        let (mut splitter, mut read) = (LineSplitter::new(LINE_BYTES), Vec::new());
        let mut take = |line: Line<'_>| read.push((line.bytes, line.text.into_owned()));
        for part in input.chunks(step.max(1)) {
            splitter.feed(part, &mut take);
            assert!(splitter.pending_bytes() <= LINE_BYTES);
        }
        splitter.finish(&mut take);
        read
    };
    let lines = read(step);
    assert_eq!(lines, read(input.len()), "{step}");
    assert_eq!(lines.iter().map(|(bytes, _)| bytes).sum::<usize>(), input.len());
    assert!(lines.iter().all(|(bytes, text)| *bytes <= LINE_BYTES && !text.contains('\n')));
    if let Ok(text) = std::str::from_utf8(input) {
        let told: String = lines.iter().map(|(_, line)| line.as_str()).collect();
        let without_ends = |text: &str| text.replace(['\r', '\n'], "");
        assert_eq!(without_ends(&told), without_ends(text), "nothing is replaced");
    }
}
