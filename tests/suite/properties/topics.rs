//! Properties of the Mercure protocol.

use super::laws::topics;
use super::{cases, text_of};
use proptest::prelude::*;
use std::sync::LazyLock;

static ACCESS: LazyLock<fanfare::access::Access> = LazyLock::new(topics::access);

fn matcher() -> impl Strategy<Value = String> {
    text_of(&[
        "https://",
        "example.com",
        "/",
        "books",
        ":id",
        "*",
        "?",
        "{",
        "}",
        "{id}",
        "{+p}",
        "{?a,b*}",
        "(\\d+)",
        "(",
        ")",
        "é",
        "%41",
        "..",
        "#",
        "{/x:3}",
        "+",
        "\\",
        "[",
        "]",
        "|",
        ":",
        "@",
    ])
}

fn topic() -> impl Strategy<Value = String> {
    text_of(&[
        "https://",
        "example.com",
        "EXAMPLE.com",
        "/",
        "books",
        "1",
        "?a=1",
        "&b=2",
        "é",
        "%C3%A9",
        "..",
        "#x",
        ":8080",
        "a,b",
        "*",
        "http://[",
    ])
}

fn form() -> impl Strategy<Value = String> {
    text_of(&[
        "topic=a",
        "topic=",
        "&",
        "=",
        "data=1%0A2",
        "private",
        "id=",
        "id=x",
        "type=t",
        "retry=5",
        "%",
        "%ff",
        "+",
        "%1f",
        "/.well-known/mercure",
        "*",
    ])
}

fn claims() -> impl Strategy<Value = String> {
    let detail = "{\"type\":\"https://mercure.rocks/authorization-detail\",\"actions\":[\"publish\"],\"topics\":[{\"match\":\"*\"}]}";
    let member = proptest::sample::select(vec![
        "\"exp\":4000000600".to_owned(),
        "\"exp\":1".to_owned(),
        "\"exp\":\"x\"".to_owned(),
        "\"iss\":\"https://issuer.example\"".to_owned(),
        "\"aud\":\"https://hub.example/.well-known/mercure\"".to_owned(),
        format!("\"authorization_details\":[{detail}]"),
        format!("\"authorization_details\":[{detail},5]"),
        "\"authorization_details\":{}".to_owned(),
        "\"mercure\":{\"subscribe\":[\"*\"]}".to_owned(),
        "\"mercure\":{\"publish\":[\"{x}\",7]}".to_owned(),
        "\"fanfare\":{\"admin\":true,\"publish\":[\"**\"]}".to_owned(),
        "\"nbf\":-1".to_owned(),
    ]);
    proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_matcher_matches_only_where_its_index_leads(text in matcher(), topic in topic()) {
        for kind in topics::KINDS {
            topics::matcher(kind, &text, &topic);
        }
    }

    #[test]
    fn an_update_is_read_as_it_was_published(body in form()) {
        topics::form(body.as_bytes());
    }

    #[test]
    fn a_token_grants_what_it_names(
        claims in claims(),
        kind in proptest::sample::select(&["at+jwt", "JWT", "", "application/AT+jwt"][..]),
    ) {
        topics::claims(&ACCESS, kind, claims.as_bytes());
    }
}
