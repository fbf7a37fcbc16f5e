//! Properties of chats.

use super::laws::chats;
use super::{cases, text_of};
use proptest::prelude::*;

const PIECES: &[&str] = &[
    "data: ",
    "data:",
    "data",
    "error: ",
    ":",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\u{feff}",
    "id: 1",
    "{",
    "}",
    "\"choices\":[{\"delta\":{\"content\":\"a\"}}]",
    "[DONE]",
];
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1",
    "\"\"",
    "\"a\"",
    "\"error\"",
    "\"message\"",
    "\"messages\"",
    "\"role\"",
    "\"content\"",
    "\"code\"",
    "\"choices\"",
    "\"delta\"",
    "\"usage\"",
    "\"max_tokens\"",
    "\"finish_reason\"",
    "\"prompt_tokens\"",
    "\"model\"",
    "\"n\"",
    "\"stream\"",
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"",
];

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn an_upstream_is_cut_into_the_same_events_wherever_its_bytes_are(
        text in text_of(PIECES), step in any::<u8>(),
    ) {
        chats::upstream(step, text.as_bytes());
    }

    #[test]
    fn whatever_an_upstream_says_is_heard(text in text_of(JSON)) {
        chats::event(text.as_bytes());
    }

    #[test]
    fn what_is_asked_goes_on(text in text_of(JSON)) {
        chats::ask(text.as_bytes());
    }

    #[test]
    fn an_answer_is_whole_under_every_face(
        parts in proptest::collection::vec(any::<String>(), 0..20),
        together in proptest::collection::vec(any::<bool>(), 0..24),
    ) {
        chats::faces(&parts, &together);
    }
}
