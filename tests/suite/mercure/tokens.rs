//! Requirements 26 to 30: tokens.

use super::{
    Answer, HUB, URL, access_token, all_tokens, claims, detail, form, old_token, publish,
    publish_id, send, sign, start, start_with, subscribe, subscribe_as, token_with,
};
use crate::credentials::{SECRET, in_seconds, sign_hmac};
use crate::hub::Hub;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// Returns the claims of a token that grants everything, with a member changed or, if null, removed.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims["authorization_details"] = json!([detail("publish", json!([{ "match": "*" }]))]);
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.into(), value),
    };
    claims
}

async fn publish_status(hub: &Hub, token: &str) -> u16 {
    publish(hub, token, &[("topic", "a")]).await.status
}

fn assert_invalid_token(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.body);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn r26_an_access_token_has_a_type_an_expiry_an_issuer_and_this_hub_as_audience() {
    let hub = start().await;
    let others = ["https://other.example", URL];
    for (name, value) in [
        ("exp", json!(4_102_444_800_i64)),
        ("aud", json!(others)),
        ("nbf", json!(in_seconds(-10))),
        ("sub", json!("ann")),
        ("jti", json!("1")),
    ] {
        let token = access_token(&claims_with(name, value));
        assert_eq!(publish_status(&hub, &token).await, 200, "{name}");
    }
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!(in_seconds(-1))),
        ("nbf", json!(in_seconds(100))),
        ("iss", Value::Null),
        ("iss", json!("https://other.example")),
        ("aud", Value::Null),
        ("aud", json!("https://other.example")),
        ("aud", json!(["https://other.example"])),
    ] {
        let token = access_token(&claims_with(name, value.clone()));
        let answer = publish(&hub, &token, &[("topic", "a")]).await;
        assert_eq!(answer.status, 401, "{name} {value}");
        assert_invalid_token(&answer);
    }
    let valid = claims_with("sub", json!("ann"));
    for kind in ["AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert_eq!(publish_status(&hub, &sign(kind, &valid)).await, 200, "{kind}");
    }
    for kind in ["JWT", "at+jws", "x/at+jwt"] {
        assert_eq!(publish_status(&hub, &sign(kind, &valid)).await, 401, "{kind}");
    }
    let other_algorithm = sign_hmac(Algorithm::HS512, SECRET, &valid);
    assert_eq!(publish_status(&hub, &other_algorithm).await, 401);
    assert_eq!(publish_status(&hub, "a.b.c").await, 401);
}

#[tokio::test]
async fn r26_a_configured_lifetime_applies() {
    let hub = start_with(&["--jwt-max-lifetime", "1h"]).await;
    for (exp, status) in [(in_seconds(1_000), 200), (in_seconds(10_000), 401)] {
        let token = access_token(&claims_with("exp", json!(exp)));
        assert_eq!(publish_status(&hub, &token).await, status);
    }
    assert_eq!(publish_status(&hub, &old_token(&["*"], &[])).await, 401);
}

#[tokio::test]
async fn r27_a_defect_of_a_detail_voids_the_token() {
    let hub = start().await;
    let valid = detail("publish", json!([{ "match": "*" }]));
    let foreign = json!({ "type": "https://example.com/other", "actions": 5 });
    let unknown_action = json!({
        "type": super::DETAIL, "actions": ["delete", "publish"], "topics": [{ "match": "a" }],
    });
    for details in [json!([valid]), json!([foreign, valid]), json!([unknown_action])] {
        assert_eq!(publish_status(&hub, &token_with(details.clone())).await, 200, "{details}");
    }
    let with = |name: &str, value: Value| {
        let mut changed = valid.clone();
        changed[name] = value;
        changed
    };
    for defect in [
        with("actions", json!([])),
        with("actions", json!("publish")),
        with("actions", json!(["publish", 1])),
        with("topics", json!([])),
        with("topics", json!(["*"])),
        with("topics", json!([{ "match": 1 }])),
        with("topics", json!([{ "match": "a\nb" }])),
        with("topics", json!([{ "match": "a", "match_type": "Exact" }])),
        with("topics", json!([{ "match": "https://a/(", "match_type": "urlpattern" }])),
        with("payload", json!("x")),
        with("type", json!(1)),
        json!("x"),
    ] {
        let token = token_with(json!([valid, defect]));
        assert_invalid_token(&publish(&hub, &token, &[("topic", "a")]).await);
    }
    assert_eq!(publish_status(&hub, &token_with(json!("x"))).await, 401);
    assert_eq!(publish_status(&hub, &token_with(json!([]))).await, 403);
}

#[tokio::test]
async fn r28_the_claim_of_0x_may_have_either_name() {
    let hub = start().await;
    for name in ["mercure", "https://mercure.rocks/"] {
        let claims = json!({ name: { "publish": ["*"] }, "exp": in_seconds(600) as f64 + 0.5 });
        assert_eq!(publish_status(&hub, &sign("JWT", &claims)).await, 200, "{name}");
    }
    for claims in [json!({}), json!({ "mercure": {} }), json!({ "mercure": { "publish": [] } })] {
        assert_eq!(publish_status(&hub, &sign("JWT", &claims)).await, 401, "{claims}");
    }
    let expired = json!({ "mercure": { "publish": ["*"] }, "exp": in_seconds(-1) as f64 + 0.5 });
    assert_eq!(publish_status(&hub, &sign("JWT", &expired)).await, 401);
}

#[tokio::test]
async fn r28_publishers_and_subscribers_of_0x_may_have_keys_of_their_own() {
    let (publisher, subscriber) =
        ("the key of publishers, which is long", "the key of subscribers, which is long");
    let flags = [
        "--mercure",
        "0.x",
        "--mercure-publisher-key",
        publisher,
        "--mercure-subscriber-key",
        subscriber,
    ];
    let hub = Hub::start(&flags).await;
    let claims = json!({ "mercure": { "publish": ["*"], "subscribe": ["*"] } });
    let signed = |secret| sign_hmac(Algorithm::HS256, secret, &claims);
    assert_eq!(publish_status(&hub, &signed(publisher)).await, 200);
    assert_eq!(publish_status(&hub, &signed(subscriber)).await, 401);
    let subscribe_status = async |token: &str| {
        let bearer = format!("Bearer {token}");
        subscribe(&hub, &[("topic", "a")], &[("Authorization", &bearer)]).await.status
    };
    assert_eq!(subscribe_status(&signed(subscriber)).await, 200);
    assert_eq!(subscribe_status(&signed(publisher)).await, 401);
    // Everyone may publish on a hub without keys, but not on this one.
    assert_eq!(send(&hub, "POST", HUB, &[], "topic=a").await.status, 401);
}

#[tokio::test]
async fn r29_where_a_token_is_presented() {
    let hub = start_with(&["--cors-origin", "https://app.example"]).await;
    publish_id(&hub, &[("topic", "a"), ("private", "on"), ("data", "secret")]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "public")]).await;
    let [one, zero] = all_tokens();
    let none = old_token(&[], &[]);
    let start = [("topic", "a"), ("lastEventID", "earliest")];
    // 0.x: the header, then the query, then the cookie.
    let in_query = [start[0], start[1], ("authorization", zero.as_str())];
    let none_in_query = [start[0], start[1], ("authorization", none.as_str())];
    let (cookie, bearer) = (format!("mercureAuthorization={zero}"), format!("Bearer {none}"));
    let cases: [(Fields<'_>, Fields<'_>, &str); 5] = [
        (&in_query, &[], "secret"),
        (&in_query, &[("Authorization", &bearer)], "public"),
        (&none_in_query, &[("Cookie", &cookie)], "public"),
        (&start, &[("Cookie", &cookie)], "secret"),
        (&start, &[("Authorization", &bearer), ("Cookie", &cookie)], "public"),
    ];
    for (parameters, headers, data) in cases {
        let mut reader = subscribe(&hub, parameters, headers).await;
        assert_eq!(reader.next().await.unwrap().data, data, "{headers:?}");
    }
    // 1.0: nothing in the URL.
    let new = [("match", "a"), ("last_event_id", "earliest")];
    let cookie = format!("x=y; __Secure-mercure_access_token={one}");
    let mut reader = subscribe(&hub, &new, &[("Cookie", &cookie)]).await;
    assert_eq!(reader.next().await.unwrap().data, "secret");
    let path = format!("{HUB}?{}", form(&[new[0], ("authorization", &one)]));
    let answer = send(&hub, "GET", &path, &[], "").await;
    let challenge = answer.header("www-authenticate");
    assert_eq!(answer.status, 400);
    assert!(challenge.starts_with("Bearer error=\"invalid_request\""), "{challenge}");
}

#[tokio::test]
async fn r29_publishing_with_a_cookie_needs_an_allowed_page() {
    let hub = start_with(&["--cors-origin", "https://app.example"]).await;
    let [one, zero] = all_tokens();
    for cookie in
        [format!("__Secure-mercure_access_token={one}"), format!("mercureAuthorization={zero}")]
    {
        for (header, status) in [
            (("Origin", "https://app.example"), 200),
            (("Referer", "https://app.example/page?x"), 200),
            (("Origin", "https://evil.example"), 403),
            (("Referer", "https://evil.example/https://app.example"), 403),
            (("X-Nothing", "1"), 403),
        ] {
            let headers = [("Cookie", cookie.as_str()), header];
            let answer = send(&hub, "POST", HUB, &headers, "topic=a").await;
            assert_eq!(answer.status, status, "{header:?} {}", answer.body);
        }
    }
}

#[tokio::test]
async fn r30_refusals_have_a_challenge() {
    let hub = Hub::start(&[
        "--mercure",
        "both",
        "--mercure-url",
        URL,
        "--jwt-secret",
        SECRET,
        "--jwt-issuer",
        super::ISSUER,
    ])
    .await;
    let metadata = "resource_metadata=\"https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure\"";
    for (request, body) in [(("POST", HUB), "topic=a"), (("GET", &*format!("{HUB}?match=a")), "")] {
        let missing = send(&hub, request.0, request.1, &[], body).await;
        let expected = format!("Bearer {metadata}");
        assert_eq!((missing.status, missing.header("www-authenticate")), (401, &*expected));
        let invalid =
            send(&hub, request.0, request.1, &[("Authorization", "Bearer x.y.z")], body).await;
        let expected = format!("Bearer error=\"invalid_token\",{metadata}");
        assert_eq!((invalid.status, invalid.header("www-authenticate")), (401, &*expected));
        let malformed =
            send(&hub, request.0, request.1, &[("Authorization", "Basic eDp5")], body).await;
        let expected = format!("Bearer error=\"invalid_request\",{metadata}");
        assert_eq!((malformed.status, malformed.header("www-authenticate")), (400, &*expected));
    }
    let none = token_with(json!([]));
    let refused = publish(&hub, &none, &[("topic", "a")]).await;
    let expected = format!("Bearer error=\"insufficient_scope\",{metadata}");
    assert_eq!((refused.status, refused.header("www-authenticate")), (403, &*expected));
    // A token without grants may read public updates.
    let mut reader = subscribe_as(&hub, &none, &[("match", "a")]).await;
    publish_id(&hub, &[("topic", "a"), ("private", "on"), ("data", "secret")]).await;
    publish_id(&hub, &[("topic", "a"), ("data", "public")]).await;
    assert_eq!(reader.next().await.unwrap().data, "public");
}

#[tokio::test]
async fn a_token_of_the_protocol_opens_no_other_route() {
    let hub = start().await;
    let access = {
        let mut claims = claims();
        claims["sub"] = json!("ann");
        claims["authorization_details"] = json!([detail("publish", json!([{ "match": "*" }]))]);
        access_token(&claims)
    };
    let old = json!({ "exp": in_seconds(600), "sub": "ann", "mercure": { "publish": ["*"] } });
    for token in [access, sign("JWT", &old)] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        for request in
            [("POST", "/streams/a/events"), ("GET", "/streams/a/events"), ("GET", "/chats/x")]
        {
            let answer = send(&hub, request.0, request.1, &headers, "").await;
            assert_eq!(answer.status, 401, "{request:?} {}", answer.body);
        }
    }
    let api_key = [("Authorization", "Bearer not a token")];
    assert_eq!(send(&hub, "POST", HUB, &api_key, "topic=a").await.status, 401);
}

#[tokio::test]
async fn a_token_of_0x_for_another_issuer_or_audience_is_refused() {
    let hub = start_with(&["--jwt-audience", "fanfare"]).await;
    let mercure = json!({ "publish": ["*"] });
    for (name, value, status) in [
        ("iss", json!(super::ISSUER), 200),
        ("iss", json!("https://other.example"), 401),
        ("aud", json!("fanfare"), 200),
        ("aud", json!([URL]), 200),
        ("aud", json!("another app"), 401),
    ] {
        let token = sign("JWT", &json!({ "mercure": mercure, name: value }));
        assert_eq!(publish_status(&hub, &token).await, status, "{name} {value}");
    }
    // Other tokens of the issuer are not accepted.
    let other = sign("JWT", &json!({ "iss": super::ISSUER, "exp": in_seconds(600), "sub": "ann" }));
    let bearer = format!("Bearer {other}");
    let reader = subscribe(&hub, &[("topic", "a")], &[("Authorization", &bearer)]).await;
    assert_eq!(reader.status, 401);
}

#[tokio::test]
async fn an_invalid_cookie_is_never_taken_for_none() {
    let hub = start().await;
    for name in ["__Secure-mercure_access_token", "mercureAuthorization"] {
        let cookie = format!("{name}=garbage");
        let headers = [("Cookie", cookie.as_str()), ("Accept", "text/event-stream")];
        for path in [format!("{HUB}?match=a"), format!("{HUB}?topic=a")] {
            assert_invalid_token(&send(&hub, "GET", &path, &headers, "").await);
        }
        assert_invalid_token(&send(&hub, "POST", HUB, &headers, "topic=a").await);
    }
}
