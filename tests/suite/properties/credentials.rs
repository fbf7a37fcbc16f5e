//! Properties of identities: client addresses behind proxies, tokens, tickets and revocations.

use super::laws::{clients, credentials};
use super::{cases, text_of};
use fanfare::access::RevocationTarget;
use proptest::prelude::*;
use std::net::IpAddr;

/// Header lines that a client may send: any text without control characters.
fn header_lines() -> impl Strategy<Value = Vec<String>> {
    let text = text_of(&[
        "for=6.6.6.6",
        "for=6.6.6.6;",
        "6.6.6.6",
        "10.0.0.9",
        "[2001:db8::6]:1",
        "for=_hidden",
        "by=\"",
        "x=",
        "\"",
        "\\",
        ",",
        ";",
        " ",
    ]);
    let line = text.prop_map(|text| text.replace(char::is_control, ""));
    proptest::collection::vec(line, 0..3)
}

fn refs(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

fn target() -> impl Strategy<Value = RevocationTarget> {
    let name = prop_oneof![any::<String>(), "[a-c]", text_of(&["\n", "é", "日本", "\"", "}"])];
    (name, 0..3u8).prop_map(|(name, which)| match which {
        0 => RevocationTarget::Jti(name),
        1 => RevocationTarget::Sub(name),
        _ => RevocationTarget::Key(name),
    })
}

fn claims() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        4 => Just("4000000600".to_owned()),
        1 => "-?[0-9]{1,4}",
        1 => proptest::sample::select(&["4000000000", "4000003600.5", "1e300", "-1", "null", "\"4000000600\"", "[]", "4.0000006e9"][..])
            .prop_map(str::to_owned),
    ];
    let text =
        prop_oneof![Just("\"ann\"".to_owned()), Just("7".to_owned()), Just("null".to_owned())];
    let grants = proptest::sample::select(
        &[
            "{}",
            "{\"publish\":[\"a.**\"]}",
            "{\"admin\":true}",
            "{\"subscribe\":[\"a*\"]}",
            "{\"publish\":[],\"admin\":false}",
            "{\"pubish\":[]}",
            "[]",
            "null",
        ][..],
    );
    let optional = |name: &'static str, value: BoxedStrategy<String>| {
        proptest::option::of(value.prop_map(move |value| format!("{name:?}:{value}")))
    };
    (
        proptest::option::weighted(0.9, number.clone().prop_map(|n| format!("\"exp\":{n}"))),
        optional("nbf", number.clone().boxed()),
        optional("iat", number.boxed()),
        optional("sub", text.clone().boxed()),
        optional("jti", text.boxed()),
        optional("fanfare", grants.prop_map(str::to_owned).boxed()),
        proptest::option::weighted(0.1, Just("\"exp\":4000000601".to_owned())),
    )
        .prop_map(|(a, b, c, d, e, f, g)| {
            let members: Vec<String> = [a, b, c, d, e, f, g].into_iter().flatten().collect();
            format!("{{{}}}", members.join(","))
        })
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn without_a_trusted_proxy_the_client_is_the_peer(
        (forwarded, x, peer) in (header_lines(), header_lines(), any::<IpAddr>()),
    ) {
        clients::untrusted_headers_are_ignored(peer, &refs(&forwarded), &refs(&x));
    }

    #[test]
    fn a_client_is_the_proxy_or_an_address_of_the_headers(
        (forwarded, x) in (header_lines(), header_lines()),
    ) {
        clients::client_is_the_proxy_or_in_the_headers(&refs(&forwarded), &refs(&x));
    }

    #[test]
    fn a_client_cannot_forge_its_address(
        (lines, real) in (header_lines(), any::<IpAddr>()),
        (on_same_line, quoted) in any::<(bool, bool)>(),
    ) {
        clients::client_cannot_be_forged(&lines, real, on_same_line, quoted);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_changed_token_or_ticket_is_refused(
        (at, byte, how) in (any::<usize>(), any::<u8>(), any::<u8>()),
        text in text_of(&[".", "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJub25lIn0", "e30", "=", "-_"]),
    ) {
        let access = credentials::access();
        credentials::changed_credential(&access, at, byte, how);
        credentials::unsigned_text(&access, &text);
    }

    #[test]
    fn an_accepted_token_grants_only_what_its_claims_say(text in claims()) {
        credentials::claims(&credentials::access(), text.as_bytes());
    }

    #[test]
    fn a_ticket_grants_only_subscribing(
        streams in proptest::collection::vec("[a*.]{1,4}", 0..3),
        (until, end) in (any::<i32>(), any::<i32>()),
        more in proptest::option::of(Just(",\"publish\":[\"**\"],\"admin\":true")),
    ) {
        let at = |offset: i32| 4_000_000_000_000 + i64::from(offset);
        let text = format!(
            "{{\"streams\":{streams:?},\"epoch\":1,\"head\":1,\"nonce\":1,\"until\":{},\"end\":{},\
             \"made\":1,\"sub\":\"ann\",\"key\":null,\"jti\":null{}}}",
            at(until), at(end), more.unwrap_or_default(),
        );
        credentials::ticket_claims(&credentials::access(), text.as_bytes());
    }

    #[test]
    fn an_invalid_key_set_is_refused_with_the_name_of_its_setting(
        k in "[A-Za-z0-9_-]{0,60}",
        (kty, alg) in ("(oct|RSA|EC|OKP)", "(HS256|RS256|ES256|EdDSA|none)"),
    ) {
        let set = serde_json::json!({ "keys": [{
            "kty": kty, "alg": alg, "k": k, "n": k, "e": "AQAB", "crv": "P-256", "x": k, "y": k
        }] });
        credentials::key_set(set.to_string().as_bytes(), &[credentials::good_token()]);
    }
}

proptest! {
    // Each case waits for the disk.
    #![proptest_config(cases(40))]

    #[test]
    fn an_acknowledged_revocation_survives_a_crash(
        all in proptest::collection::vec(target(), 1..4),
        cut in any::<usize>(),
    ) {
        credentials::torn_revocations(&all, cut);
    }

    #[test]
    fn a_file_of_revocations_opens_again_or_is_refused_with_the_invalid_line(
        lines in proptest::collection::vec(
            prop_oneof![
                4 => (target(), prop_oneof![Just(1u64), Just(4_000_000_000_000)]).prop_map(
                    |(target, at)| serde_json::json!({ "at": at, "whose": target }).to_string(),
                ),
                1 => "[ -~é]{0,12}",
            ],
            0..4,
        ),
        end in "(\n)?",
        cut in 0..12usize,
    ) {
        let mut bytes = (lines.join("\n") + &end).into_bytes();
        bytes.truncate(bytes.len().saturating_sub(cut));
        credentials::revocations(&bytes);
    }
}
