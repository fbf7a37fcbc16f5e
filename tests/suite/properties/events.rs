//! Properties of events as they are published and as they are delivered.

use super::laws::{bodies, sse};
use super::{cases, text_of};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The tokens of any JSON, with numbers in many spellings.
fn tokens() -> impl Strategy<Value = Vec<String>> {
    let one = |text: String| vec![text];
    let string = any::<String>().prop_map(|text| Value::from(text).to_string());
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        string.clone().prop_map(one),
        "\"(\\\\[nrt\"\\\\/]|\\\\u00[0-7][0-9a-fA-F]| |[a-z:,{}\\[\\]]){0,8}\"".prop_map(one),
        number.prop_map(one),
        proptest::sample::select(&["null", "true", "false", "{}", "[]"][..])
            .prop_map(|text| vec![text.to_owned()]),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let join = |open: &'static str, close: &'static str| {
            move |items: Vec<Vec<String>>| {
                let mut tokens = vec![open.to_owned()];
                for (index, item) in items.into_iter().enumerate() {
                    tokens.extend((index > 0).then(|| ",".to_owned()));
                    tokens.extend(item);
                }
                tokens.push(close.to_owned());
                tokens
            }
        };
        let member = (string.clone(), inner.clone())
            .prop_map(|(name, value)| [vec![name, ":".to_owned()], value].concat());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(join("[", "]")),
            proptest::collection::vec(member, 0..4).prop_map(join("{", "}")),
        ]
    })
}

fn json_text() -> impl Strategy<Value = String> {
    tokens().prop_map(|tokens| tokens.concat())
}

fn kind() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["message", "log", "metric", "heartbeat", "x", " a b"][..])
}

/// An object with the members of event types that have a shape, mostly valid.
fn schema_object() -> impl Strategy<Value = String> {
    let text = || any::<String>().prop_map(|text| Value::from(text).to_string());
    let member = |name: &'static str, value: BoxedStrategy<String>| {
        let one = prop_oneof![9 => value, 1 => json_text()];
        proptest::option::weighted(0.8, one.prop_map(move |value| format!("{name:?}: {value}")))
    };
    let levels = &["\"info\"", "\"WARNING\"", "\"Fatal\"", "\"loud\"", "\"\\u0069nfo\""][..];
    let times = &["\"2026-01-31T12:00:00Z\"", "\"now\"", "null"][..];
    let select = |list: &'static [&'static str]| {
        proptest::sample::select(list).prop_map(str::to_owned).boxed()
    };
    (
        member("level", select(levels)),
        member("message", text().boxed()),
        proptest::option::weighted(0.2, select(times).prop_map(|t| format!("\"timestamp\": {t}"))),
        member("name", text().boxed()),
        member("value", "-?[1-9][0-9]{0,3}".boxed()),
        member("source", text().boxed()),
        proptest::option::weighted(0.2, json_text().prop_map(|v| format!("\"fields\": {v}"))),
        proptest::option::weighted(0.2, json_text().prop_map(|v| format!("\"other\": {v}"))),
        " ?",
    )
        .prop_map(|(a, b, c, d, e, f, g, h, space)| {
            let members: Vec<String> = [a, b, c, d, e, f, g, h].into_iter().flatten().collect();
            format!("{{{space}{}{space}}}", members.join(","))
        })
}

/// An event as a publisher writes it, mostly valid.
fn event() -> impl Strategy<Value = String> {
    let stream = prop_oneof![
        6 => Just(json!("a")),
        2 => Just(json!(["a", "b.é"])),
        1 => proptest::sample::select(vec![json!(""), json!(["a", "a"]), json!(5), json!([])]),
    ];
    let data = prop_oneof![json_text(), schema_object(), Just("\"\\ud800\"".to_owned())];
    let kind = proptest::option::of(kind().prop_map(|kind| format!(",\"type\":{kind:?}")));
    let key = proptest::option::of(proptest::sample::select(&["\"k\"", "\"\"", "null", "7"][..]));
    let extra = proptest::option::weighted(0.1, Just(",\"strem\":1".to_owned()));
    (stream, data, kind, key, extra, "[ \n\r\t]{0,2}").prop_map(
        |(stream, data, kind, key, extra, space)| {
            let key = key.map(|key| format!(",\"key\":{key}")).unwrap_or_default();
            let (kind, extra) = (kind.unwrap_or_default(), extra.unwrap_or_default());
            format!("{space}{{{space}\"stream\":{stream}{kind}{key},{space}\"data\":{data}{extra}}}{space}")
        },
    )
}

fn payload() -> impl Strategy<Value = String> {
    text_of(&[
        "\n",
        "\r",
        "\r\n",
        "\n\r",
        "\0",
        "data: ",
        "id: 1",
        "event: x",
        ": ",
        ":",
        "retry: 1",
        " ",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "\n\n",
        "{\"level\":\"info\",\"message\":\"m\"}",
    ])
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn white_space_in_json_is_ignored_and_not_stored(
        tokens in tokens(),
        spaces in proptest::collection::vec("[ \n\r\t]{0,3}", 0..40),
    ) {
        bodies::white_space(&tokens, &spaces);
    }

    #[test]
    fn json_data_keeps_its_meaning_and_is_normalized_once(
        (kind, text) in (kind(), prop_oneof![json_text(), schema_object()]),
    ) {
        bodies::json_data(kind, &text);
    }

    #[test]
    fn text_data_is_kept_as_written(
        (kind, text) in (kind(), prop_oneof![payload(), schema_object(), json_text()]),
    ) {
        bodies::text_data(kind, &text);
    }

    #[test]
    fn an_event_is_the_same_alone_in_a_list_and_on_a_line(
        body in prop_oneof![8 => event(), 1 => json_text(), 1 => any::<String>()],
    ) {
        bodies::publish(body.as_bytes());
    }

    #[test]
    fn an_ndjson_body_contains_the_events_of_its_lines(
        events in proptest::collection::vec(event(), 0..5),
        end in proptest::sample::select(&["\n", "\r\n", "\n\n", "\n \n", "\r", "]\n["][..]),
    ) {
        // First with each event on one line, as NDJSON requires.
        let flat = events.iter().map(|event| event.replace(['\n', '\r'], " "));
        bodies::ndjson_lines(flat.collect::<Vec<_>>().join(end).as_bytes());
        bodies::ndjson_lines(events.join(end).as_bytes());
    }

    #[test]
    fn a_written_block_is_read_back_unchanged(
        kind in prop_oneof![kind().prop_map(str::to_owned), text_of(&[" ", ":", "é", "\u{feff}"])],
        text in payload(),
        (number, retry) in (any::<u64>(), any::<u64>()),
    ) {
        sse::block(&kind, &text, number, retry);
    }
}
