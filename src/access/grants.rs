//! Grants: the streams, jobs, folders and models that a caller may use.

use crate::event::{Invalid, MAX_SELECTORS, Selector, StreamName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Maximum number of selectors of a grant; each is compared with each selector of a subscription.
pub const MAX_GRANT_SELECTORS: usize = 100;

/// Selector that admins may read in addition to their grants.
const HUB_STREAMS: &str = "hub.**";

/// All jobs, folders or models.
pub const ALL: &str = "*";

/// Returns the selector of a job's runs.
fn job_runs_selector(job: &str) -> Option<Selector> {
    Selector::parse(&format!("jobs.{job}.*")).ok()
}

/// Streams that a grant covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All streams, including those that no wildcard reaches.
    Everything,
    /// The streams that a selector reaches.
    Only(Box<[Selector]>),
}

/// Grants of a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grants {
    /// Streams to publish to.
    pub publish: Scope,
    /// Streams to end.
    pub end: Scope,
    /// Streams to delete.
    pub delete: Scope,
    /// Streams to read.
    pub subscribe: Scope,
    /// Jobs to run.
    pub run: Box<[String]>,
    /// Folders to download from.
    pub files: Box<[String]>,
    /// Models to chat with.
    pub chat: Box<[String]>,
    /// True if the metrics may be read.
    pub metrics: bool,
    /// True if everything for operators is granted.
    pub admin: bool,
}

impl Default for Scope {
    /// Grants no stream.
    fn default() -> Self {
        Self::Only(Box::default())
    }
}

impl Scope {
    /// Parses selectors.
    pub fn parse(texts: &[String]) -> Result<Self, Invalid> {
        if texts.len() > MAX_GRANT_SELECTORS {
            let detail = format!("a grant has at most {MAX_GRANT_SELECTORS} selectors");
            return Err(Invalid::new("stream", detail));
        }
        let selectors = texts.iter().map(|text| Selector::parse(text));
        Ok(Self::Only(selectors.collect::<Result<Vec<_>, _>>()?.into()))
    }

    /// Returns the selectors as text.
    pub fn selectors(&self) -> Vec<String> {
        match self {
            Self::Everything => vec!["**".to_owned()],
            Self::Only(selectors) => selectors.iter().map(ToString::to_string).collect(),
        }
    }

    /// Returns true if `stream` is granted.
    pub fn covers(&self, stream: &StreamName) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(selectors) => selectors.iter().any(|selector| selector.reaches(stream)),
        }
    }

    /// Returns true if every stream is granted that a wildcard reaches.
    #[cfg(feature = "mercure")]
    pub fn includes_all(&self) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(selectors) => selectors.iter().any(|selector| selector.as_str() == "**"),
        }
    }

    /// Returns true if everything in `other` is granted here too.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (_, Self::Everything) => false,
            (Self::Only(granted), Self::Only(requested)) => requested.iter().all(|selector| {
                granted.iter().any(|grant| selector.intersection(grant).as_ref() == Some(selector))
            }),
        }
    }

    /// Removes the chats that it names: they belong to the caller that started them, regardless of
    /// other grants.
    #[must_use]
    pub fn without_chats(&self) -> Self {
        let is_chat = |selector: &&Selector| selector.exact().is_some_and(StreamName::is_hidden);
        match self {
            Self::Everything => Self::Everything,
            Self::Only(selectors) => Self::Only(
                selectors.iter().filter(|selector| !is_chat(selector)).cloned().collect(),
            ),
        }
    }

    /// Returns the part of `requested` that is granted, which may be empty. Fails if that part
    /// takes more selectors than a subscription may have.
    pub fn narrow(&self, requested: &[Selector]) -> Result<Vec<Selector>, Invalid> {
        let Self::Only(granted) = self else { return Ok(requested.to_vec()) };
        let mut intersections = BTreeSet::new();
        for selector in requested {
            intersections.extend(granted.iter().filter_map(|grant| selector.intersection(grant)));
            if intersections.len() > MAX_SELECTORS {
                let detail = format!(
                    "the granted part of the subscription needs more than {MAX_SELECTORS} selectors"
                );
                return Err(Invalid::new("stream", detail));
            }
        }
        let is_within = |inner: &Selector, outer: &Selector| {
            inner != outer && inner.intersection(outer).as_ref() == Some(inner)
        };
        let is_redundant =
            |selector: &&Selector| intersections.iter().any(|other| is_within(selector, other));
        Ok(intersections.iter().filter(|selector| !is_redundant(selector)).cloned().collect())
    }
}

/// Grants as written in the claim of a token or in the configuration of a key.
#[derive(Clone, Default, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrantClaims {
    /// Selectors of streams to publish to.
    pub publish: Vec<String>,
    /// Selectors of streams to end.
    pub end: Vec<String>,
    /// Selectors of streams to delete.
    pub delete: Vec<String>,
    /// Selectors of streams to read.
    pub subscribe: Vec<String>,
    /// Jobs to run.
    pub run: Vec<String>,
    /// Folders to download from.
    pub files: Vec<String>,
    /// Models to chat with.
    pub chat: Vec<String>,
    /// True if everything for operators is granted.
    pub admin: bool,
}

impl Grants {
    /// Parses grants. The hub's own streams are granted to admins only, even if selectors name
    /// them.
    pub fn of(claims: GrantClaims) -> Result<Self, Invalid> {
        let subscribe = match Scope::parse(&claims.subscribe)? {
            Scope::Only(selectors) => {
                let mut selectors = selectors.into_vec();
                selectors.retain(|selector| !selector.is_for_admins());
                if claims.admin {
                    selectors.push(Selector::parse(HUB_STREAMS)?);
                    #[cfg(feature = "mercure")]
                    selectors.push(Selector::Exact(crate::event::topic::updates().clone()));
                }
                // A caller that may run a job may read the output of its runs.
                selectors.extend(claims.run.iter().filter_map(|job| job_runs_selector(job)));
                Scope::Only(selectors.into())
            }
            everything => everything,
        };
        Ok(Self {
            publish: Scope::parse(&claims.publish)?,
            end: Scope::parse(&claims.end)?,
            delete: Scope::parse(&claims.delete)?,
            subscribe,
            run: claims.run.into(),
            files: claims.files.into(),
            chat: claims.chat.into(),
            metrics: claims.admin,
            admin: claims.admin,
        })
    }

    /// Returns grants of nothing.
    pub fn none() -> Self {
        Self {
            publish: Scope::default(),
            end: Scope::default(),
            delete: Scope::default(),
            subscribe: Scope::default(),
            run: Box::default(),
            files: Box::default(),
            chat: Box::default(),
            metrics: false,
            admin: false,
        }
    }

    /// Returns grants of everything.
    pub fn all() -> Self {
        Self {
            publish: Scope::Everything,
            end: Scope::Everything,
            delete: Scope::Everything,
            subscribe: Scope::Everything,
            run: [ALL.to_owned()].into(),
            files: [ALL.to_owned()].into(),
            chat: [ALL.to_owned()].into(),
            metrics: true,
            admin: true,
        }
    }

    /// Returns true if the job of this name may be run.
    pub fn may_run(&self, job: &str) -> bool {
        self.run.iter().any(|granted| granted == job || granted == ALL)
    }

    /// Returns true if the folder of this name may be downloaded from.
    pub fn may_download(&self, folder: &str) -> bool {
        self.files.iter().any(|granted| granted == folder || granted == ALL)
    }

    /// Returns true if the model of this name may be used.
    pub fn may_chat(&self, model: &str) -> bool {
        self.chat.iter().any(|granted| granted == model || granted == ALL)
    }

    /// Returns true if `stream` may be published to; streams that only the hub writes are not
    /// excluded here.
    pub fn may_publish(&self, stream: &StreamName) -> bool {
        self.publish.covers(stream)
    }

    /// Returns true if `stream` may be ended; streams that only the hub writes are not excluded
    /// here.
    pub fn may_end(&self, stream: &StreamName) -> bool {
        self.end.covers(stream)
    }

    /// Returns true if `stream` may be deleted. Admins may delete all.
    pub fn may_delete(&self, stream: &StreamName) -> bool {
        self.admin || self.delete.covers(stream)
    }

    /// Returns true if `stream` may be read.
    pub fn may_read(&self, stream: &StreamName) -> bool {
        self.subscribe.covers(stream)
    }

    /// Returns the part of `requested` that may be read. Fails if that takes more selectors than a
    /// subscription may have.
    pub fn readable(&self, requested: &[Selector]) -> Result<Vec<Selector>, Invalid> {
        self.subscribe.narrow(requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| Selector::parse(text).expect("a selector")).collect()
    }

    fn grants(subscribe: &[&str], admin: bool) -> Grants {
        let subscribe = subscribe.iter().map(|text| (*text).to_owned()).collect();
        Grants::of(GrantClaims { subscribe, admin, ..GrantClaims::default() }).expect("grants")
    }

    #[test]
    fn selectors_are_narrowed_to_the_granted_streams() {
        for (granted, requested, expected) in [
            (&["**"][..], &["a.*", "b"][..], &["a.*", "b"][..]),
            (&["a.**"], &["**"], &["a.**"]),
            (&["a.**", "a.b"], &["**"], &["a.**"]),
            (&["a.*", "b.*"], &["*.x", "c"], &["a.x", "b.x"]),
            (&["a.b"], &["a.b", "a.c"], &["a.b"]),
            (&["a.b"], &["b.*"], &[]),
            (&[], &["**"], &[]),
            (&["**"], &["chat.1", "hub.logs", "hub.**"], &[]),
            (&["chat.1"], &["chat.1", "chat.2", "**"], &["chat.1"]),
            (&["hub.**"], &["hub.**", "hub.logs", "**"], &[]),
        ] {
            let mut expected = selectors(expected);
            expected.sort_unstable();
            let readable = grants(granted, false).readable(&selectors(requested)).expect("few");
            assert_eq!(readable, expected, "{requested:?} of {granted:?}");
        }
        let admin = grants(&["a"], true);
        assert_eq!(
            admin.readable(&selectors(&["hub.**", "**"])).expect("few"),
            selectors(&["a", "hub.**"]),
            "an admin reads the hub's own streams, and of the others those that are granted"
        );
    }

    #[test]
    fn narrowed_selectors_reach_exactly_the_readable_streams() {
        let names = ["a", "a.b", "a.b.c", "b.x", "chat.1", "hub.logs", "hub", "chat"];
        let requested = ["**", "a.**", "*.b", "*", "*.*", "chat.1", "hub.**", "a.b.*"];
        for granted in [&["**"][..], &["a.*", "chat.1"], &["*.*.*", "b.**"], &["hub.**"], &[]] {
            for admin in [false, true] {
                let grants = grants(granted, admin);
                for text in requested {
                    let selector = selectors(&[text]);
                    let readable = grants.readable(&selector).expect("few");
                    for name in names.map(|name| StreamName::parse(name).expect("a name")) {
                        let expected = grants.may_read(&name) && selector[0].reaches(&name);
                        let reached = readable.iter().any(|selector| selector.reaches(&name));
                        assert_eq!(reached, expected, "{text} of {granted:?} at {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn narrowing_to_too_many_selectors_is_refused_before_they_are_compared() {
        let hundred_selectors = |letter: &str| -> Vec<String> {
            (0..100).map(|n| format!("{letter}.{letter}{n}.**").replace("x.x", "*.*.x")).collect()
        };
        let (granted, requested) = (hundred_selectors("x"), (0..100).map(|n| format!("*.y{n}.**")));
        let texts: Vec<String> = requested.collect();
        let requested = selectors(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let grants = Grants::of(GrantClaims { subscribe: granted, ..GrantClaims::default() });
        let error = grants.expect("grants").readable(&requested).expect_err("too many");
        assert!(error.detail.contains("more than 100"), "{error:?}");
    }
}
