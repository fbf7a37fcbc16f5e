//! Laws of the Mercure protocol: matchers, templates, forms of publishers and tokens.

use fanfare::access::{Access, Dialect, JwtSettings, MercureVerifier, Operation, Scope, Verifier};
use fanfare::event::Timestamp;
use fanfare::event::topic::{MatcherKind, Place, Topic, TopicInterest, TopicMatcher, Update};
use fanfare::http::probe;
use url::Url;

pub const KINDS: [MatcherKind; 3] =
    [MatcherKind::Exact, MatcherKind::UrlPattern, MatcherKind::Selector];
const SECRET: &str = "a secret that is long enough to be one";
fn now() -> Timestamp {
    Timestamp::from_ms(4_000_000_000_000)
}

pub fn hub() -> Url {
    Url::parse("https://hub.example/.well-known/mercure").expect("a URL")
}

/// A matcher matches only topics that its place in an index leads to.
pub fn matcher(kind: MatcherKind, text: &str, topic: &str) {
    let hub = hub();
    let matcher = match TopicMatcher::parse("match", kind, text, &hub) {
        Ok(matcher) => matcher,
        Err(error) => {
            assert!(error.field == "match" && !error.detail.is_empty());
            assert!(kind != MatcherKind::Exact || text.len() > 4_096 || !is_clean(text));
            return;
        }
    };
    assert_eq!((matcher.kind(), matcher.as_str()), (kind, text));
    let topic = Topic::new(topic);
    let matches = matcher.matches(&topic);
    if kind != MatcherKind::UrlPattern {
        assert!(matcher.matches(&Topic::new(text)), "a text matches itself");
    }
    match matcher.place() {
        Place::All => assert!(matches && text == "*"),
        Place::Exact(exact) => assert_eq!((exact, matches), (text, topic.as_str() == text)),
        Place::Template { prefix } => {
            assert!(!matches || topic.as_str().starts_with(prefix), "{prefix}");
        }
        Place::UrlPattern { prefix, base } => {
            let url = topic.url(base);
            let place = url.map(|url| [url.host_str().unwrap_or_default(), url.path()].concat());
            assert!(!matches || place.is_some_and(|place| place.starts_with(prefix)), "{prefix}");
        }
    }
}

fn is_clean(text: &str) -> bool {
    fanfare::event::topic::check_clean("topic", text).is_ok()
}

/// An update is read as it was published, and gives its subscribers what they may read.
pub fn form(body: &[u8]) {
    let Some(update) = probe::mercure_form(body) else { return };
    let hub = hub();
    let Ok(draft) = update.clone().into_draft(&hub, now()) else { return };
    let read = Update::parse(draft.payload().as_bytes()).expect("an update");
    assert_eq!(read.topics().collect::<Vec<_>>(), update.topics);
    assert_eq!((read.data, read.is_private), (update.data.as_bytes(), update.is_private));
    assert_eq!((read.id, read.kind), (update.id.as_deref(), update.kind.as_deref()));
    assert_eq!(read.retry, update.retry.as_deref());
    assert!(read.hub().is_none(), "only the hub publishes for itself");
    let one = |text: &str| TopicMatcher::parse("match", MatcherKind::Exact, text, &hub).ok();
    if let Some(last) = update.topics.last().and_then(|topic| one(topic)) {
        let anonymous = TopicInterest::new(vec![last.clone()], Vec::new());
        assert_eq!(anonymous.selects(&read), !update.is_private);
        assert!(TopicInterest::new(vec![last.clone()], vec![last]).selects(&read));
    }
}

/// Returns access with the keys of the protocol only.
pub fn access() -> Access {
    let settings = JwtSettings {
        secret: Some(SECRET.to_owned()),
        issuer: Some("https://issuer.example".to_owned()),
        ..JwtSettings::default()
    };
    let verifier = Verifier::new(settings).expect("a key");
    let mercure = MercureVerifier::new(hub(), verifier, None);
    Access::new(Vec::new(), None, None).with_mercure(mercure)
}

/// A signed token has the grants that it names, and no others.
pub fn claims(access: &Access, kind: &str, claims: &[u8]) {
    let header = serde_json::json!({ "alg": "HS256", "typ": kind }).to_string();
    let token = super::credentials::signed(&header, claims, SECRET.as_bytes());
    let forged =
        super::credentials::signed(&header, claims, b"another secret, which is long as well");
    for dialect in [Dialect::One, Dialect::Zero] {
        for operation in [Operation::Publish, Operation::Subscribe] {
            assert!(access.verify_mercure(&forged, dialect, operation, now()).is_err());
            let Ok(caller) = access.verify_mercure(&token, dialect, operation, now()) else {
                continue;
            };
            let topics = caller.topics.expect("topics");
            assert!(caller.grants.publish == Scope::default() && !caller.grants.admin);
            assert!(caller.expires.is_none_or(|expires| expires > now()));
            assert!(dialect == Dialect::Zero || caller.expires.is_some());
            let names = String::from_utf8_lossy(claims).contains("\"publish\"");
            assert!(names || !topics.may_publish("a"), "nothing names publishing");
        }
    }
    assert!(access.verify(&token, now()).is_err(), "it opens no other route");
}
