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
    fn upstream_bytes_decode_to_the_same_events_in_chunks_of_any_size(
        text in text_of(PIECES), step in any::<u8>(),
    ) {
        chats::upstream(step, text.as_bytes());
    }

    #[test]
    fn every_event_of_an_upstream_is_decoded(text in text_of(JSON)) {
        chats::event(text.as_bytes());
    }

    #[test]
    fn an_accepted_request_can_be_forwarded(text in text_of(JSON)) {
        chats::request(text.as_bytes());
    }

    #[test]
    fn an_answer_is_complete_in_every_response_format(
        parts in proptest::collection::vec(any::<String>(), 0..20),
        together in proptest::collection::vec(any::<bool>(), 0..24),
    ) {
        chats::response_formats(&parts, &together);
    }
}
