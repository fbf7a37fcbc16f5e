//! Properties of names, selectors, types, ids, times, keys and lines.

use super::laws::words;
use super::{cases, text_of};
use proptest::prelude::*;

/// Joins parts from a small set, so that selectors and names often match.
fn parts(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let part = proptest::sample::select(parts);
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("."))
}

fn name() -> impl Strategy<Value = String> {
    parts(&["a", "b", "é", "chat", "hub", "hub", "x"])
}

fn selector() -> impl Strategy<Value = String> {
    let pattern = parts(&["a", "b", "é", "chat", "hub", "*", "*", "*"]);
    (pattern, prop_oneof![2 => Just(""), 1 => Just(".**")]).prop_map(|(text, end)| text + end)
}

fn malformed() -> impl Strategy<Value = String> {
    text_of(&["*", "**", ".", "..", "a", " ", "\u{a0}", "\u{85}", "\0", "é", "hub.", "chat."])
}

fn digits(length: usize) -> impl Strategy<Value = String> {
    let digit = proptest::sample::select("0123456789abcdefABCDEF".as_bytes());
    proptest::collection::vec(digit.prop_map(char::from), length).prop_map(String::from_iter)
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_name_is_accepted_unchanged_or_refused(
        text in prop_oneof![malformed(), name(), "[a-zé.]{250,260}"],
    ) {
        words::stream_name(&text);
    }

    #[test]
    fn a_selector_matches_by_its_parts(
        text in prop_oneof![4 => selector(), 1 => malformed()],
        name in prop_oneof![4 => name(), 1 => malformed()],
    ) {
        words::selector(&text, &name);
        words::selector(&name, &name);
    }

    #[test]
    fn an_intersection_reaches_exactly_what_both_selectors_reach(
        one in prop_oneof![4 => selector(), 1 => name()],
        other in prop_oneof![4 => selector(), 1 => name()],
        name in name(),
    ) {
        words::intersection(&one, &other, &name);
        words::intersection(&one, &one, &name);
    }

    #[test]
    fn an_accepted_type_can_be_dispatched_by_eventsource(
        text in prop_oneof![
            text_of(&["hub-", "hub", "open", "error", "message", "\u{85}", "\n", " ", "Ω"]),
            "[a-z]{60,70}",
        ],
    ) {
        words::event_type(&text);
    }

    #[test]
    fn an_id_has_the_value_of_its_digits(
        (epoch, position) in (digits(8), digits(16)),
        other in text_of(&["-", "0", "00000000-", "+", "é", "ff"]),
        (at, with) in (
            prop_oneof![0..25usize, Just(0), Just(9)],
            prop_oneof![any::<char>(), proptest::sample::select(vec!['+', '-', ' ', 'g'])],
        ),
    ) {
        let text = format!("{epoch}-{position}");
        words::event_id(&text);
        words::event_id(&other);
        let mut changed: Vec<char> = text.chars().collect();
        changed[at] = with;
        words::event_id(&String::from_iter(changed));
    }

    #[test]
    fn a_time_parses_to_its_exact_value(
        (year, month, day) in (0..10_000u32, 0..14u32, 0..33u32),
        (hour, minute, second) in (0..25u32, 0..61u32, 0..60u32),
        fraction in "(\\.[0-9]{1,9})?",
        offset in prop_oneof![Just("Z".to_owned()), "[+-][01][0-9]:[0-5][0-9]"],
        other in text_of(&["2026-01-31", "T", "12:00:00", "Z", "+01:00", "-", "é"]),
    ) {
        words::timestamp(&format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"
        ));
        words::timestamp(&other);
    }

    #[test]
    fn a_formatted_time_parses_back_and_sorts(
        ms in prop_oneof![0..300_000_000_000_000u64, any::<u64>()],
    ) {
        words::timestamp_round_trip(ms);
    }

    #[test]
    fn a_key_is_kept_unchanged_or_refused(text in prop_oneof![any::<String>(), "[a-é]{50,130}"]) {
        words::key(&text);
    }

    #[test]
    fn lines_do_not_depend_on_the_chunks_of_their_bytes(
        input in prop_oneof![
            text_of(&["\n", "\r\n", "\r", "a", "\u{e9}", "\u{1f600}", "long enough"]).prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..100),
        ],
        step in 1..20usize,
    ) {
        words::lines(&input, step);
    }
}
