//! Properties of the configuration.

use super::laws::settings;
use super::{cases, text_of};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "([0-9]{1,4}(d|h|m|s|ms)){1,3}",
        "[0-9]{1,20} ?(KiB|MiB|GiB|TiB|KB|MB|GB|TB|B)?",
        text_of(&["1", "s", "ms", "d", "-", "+", "P1D", "PT", "KiB", "B", ".5", " ", "mo", "y"]),
    ]
}

/// A line of a configuration file, or text like one.
fn line() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(
        &[
            "retry",
            "drain",
            "heartbeat",
            "max-events",
            "max_events",
            "max-bytes",
            "streams",
            "name",
            "sha256",
            "publish",
            "subscribe",
            "cors-origin",
            "trusted-proxy",
            "anonymous",
            "workers",
            "public-host",
            "log-format",
            "durability",
            "max-age",
            "admin",
            "publish-bytes-per-client",
            "max-selectors",
            "nothing",
            "\"é\"",
            "data-dir",
            "memory-budget",
            "limit",
            "key",
        ][..],
    );
    let value = prop_oneof![
        4 => value().prop_map(|value| serde_json::Value::from(value).to_string()),
        1 => proptest::sample::select(&[
            "5", "1_000", "0x10", "-1", "true", "[]", "{}", "[\"a.*\", 5]", "[[]]", "3.5", "\"é",
            "1979-05-27", "'a.**'", "\"\"\"\n\"\"\"", "{ streams = \"a\" }", "[{ name = 1 }]",
        ][..]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ];
    let pair = (name, value).prop_map(|(name, value)| format!("{name} = {value}"));
    let header = proptest::sample::select(
        &["[[retention]]", "[[limit]]", "[[key]]", "[retention]", "[[nothing]]", "# é", "", "[["][..],
    );
    prop_oneof![6 => pair, 3 => header.prop_map(str::to_owned), 1 => "[ -~é]{0,12}"]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_duration_is_the_sum_of_its_parts(text in value()) {
        settings::duration(&text);
    }

    #[test]
    fn a_size_is_its_number_times_its_unit(text in value()) {
        settings::bytes(&text);
    }

    #[test]
    fn a_setting_means_the_same_as_a_flag_in_the_environment_and_in_the_file(
        name in proptest::sample::select(&[
            "drain", "heartbeat", "max-age", "max-events", "max-bytes", "max-body-bytes",
            "max-connections-per-client", "publish-bytes-per-subject",
        ][..]),
        value in value(),
    ) {
        settings::same_value_from_every_source(name, &value);
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn every_error_of_a_file_names_its_place(
        lines in proptest::collection::vec(line(), 0..8),
        end in proptest::sample::select(&["\n", "\r\n"][..]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        settings::file(folder.path(), &lines.join(end));
    }
}
