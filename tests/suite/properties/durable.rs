//! Properties of the Durable Streams protocol.

use super::laws::durable;
use super::{cases, text_of};
use proptest::prelude::*;

fn header() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(vec![
        "Stream-TTL",
        "Stream-Expires-At",
        "Stream-Closed",
        "Stream-Seq",
        "Producer-Id",
        "Producer-Epoch",
        "Producer-Seq",
        "Content-Type",
    ]);
    let value = text_of(&[
        "0",
        "1",
        "9007199254740991",
        "-",
        "+",
        ".",
        " ",
        "p",
        "text/",
        "plain",
        "T",
        "Z",
        ":",
    ]);
    (name, value).prop_map(|(name, value)| format!("{name}: {value}"))
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn offsets_are_those_that_the_hub_writes(
        text in text_of(&["0000000000000000", "00000000", "_", "-1", "now", "f", "A", "9", " ", "é"]),
        (first, second) in any::<((u32, u64), (u32, u64))>(),
    ) {
        durable::offset(&text);
        durable::offsets(first, second);
    }

    #[test]
    fn headers_are_understood_as_they_are_written(lines in proptest::collection::vec(header(), 0..6)) {
        durable::headers(&lines.join("\n"));
    }

    #[test]
    fn messages_have_the_whole_body(
        kind in proptest::sample::select(vec!["application/json", "text/plain", "image/png"]),
        json in text_of(&["[", "]", "1", ",", "\"a\"", " ", "{\"b\":", "}", "1.50", "null"]),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        max_bytes in 1_usize..50,
    ) {
        durable::messages(kind, json.as_bytes(), max_bytes);
        durable::messages(kind, &bytes, max_bytes);
        durable::messages("text/plain", "aé日🎺b".repeat(3).as_bytes(), max_bytes);
    }
}
