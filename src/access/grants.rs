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
            let why = format!("a grant has at most {MAX_GRANT_SELECTORS} selectors");
            return Err(Invalid::new("stream", why));
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

    /// Returns true if everything in `other` is granted here too.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (_, Self::Everything) => false,
            (Self::Only(granted), Self::Only(wanted)) => wanted.iter().all(|wanted| {
                granted.iter().any(|one| wanted.intersection(one).as_ref() == Some(wanted))
            }),
        }
    }

    /// Removes the chats that it names: they belong to the caller that started them, regardless of
    /// other grants.
    #[must_use]
    pub fn without_chats(&self) -> Self {
        let is_chat = |one: &&Selector| one.exact().is_some_and(StreamName::is_hidden);
        match self {
            Self::Everything => Self::Everything,
            Self::Only(all) => {
                Self::Only(all.iter().filter(|one| !is_chat(one)).cloned().collect())
            }
        }
    }

    /// Returns the part of `wanted` that is granted, which may be empty. Fails if that part takes
    /// more selectors than a subscription may have.
    pub fn narrow(&self, wanted: &[Selector]) -> Result<Vec<Selector>, Invalid> {
        let Self::Only(granted) = self else { return Ok(wanted.to_vec()) };
        let mut left = BTreeSet::new();
        for wanted in wanted {
            left.extend(granted.iter().filter_map(|granted| wanted.intersection(granted)));
            if left.len() > MAX_SELECTORS {
                let why = format!(
                    "the granted part of the subscription needs more than {MAX_SELECTORS} selectors"
                );
                return Err(Invalid::new("stream", why));
            }
        }
        let is_within = |one: &Selector, other: &Selector| {
            one != other && one.intersection(other).as_ref() == Some(one)
        };
        let needless = |one: &&Selector| left.iter().any(|other| is_within(one, other));
        Ok(left.iter().filter(|one| !needless(one)).cloned().collect())
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
    pub fn of(claimed: GrantClaims) -> Result<Self, Invalid> {
        let subscribe = match Scope::parse(&claimed.subscribe)? {
            Scope::Only(selectors) => {
                let mut selectors = selectors.into_vec();
                selectors.retain(|selector| !selector.is_for_admins());
                if claimed.admin {
                    selectors.push(Selector::parse(HUB_STREAMS)?);
                }
                // A caller that may run a job may read the output of its runs.
                selectors.extend(claimed.run.iter().filter_map(|job| job_runs_selector(job)));
                Scope::Only(selectors.into())
            }
            everything => everything,
        };
        Ok(Self {
            publish: Scope::parse(&claimed.publish)?,
            end: Scope::parse(&claimed.end)?,
            subscribe,
            run: claimed.run.into(),
            files: claimed.files.into(),
            chat: claimed.chat.into(),
            metrics: claimed.admin,
            admin: claimed.admin,
        })
    }

    /// Returns grants of nothing.
    pub fn none() -> Self {
        Self {
            publish: Scope::default(),
            end: Scope::default(),
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

    /// Returns true if `stream` may be read.
    pub fn may_read(&self, stream: &StreamName) -> bool {
        self.subscribe.covers(stream)
    }

    /// Returns the part of `wanted` that may be read. Fails if that takes more selectors than a
    /// subscription may have.
    pub fn readable(&self, wanted: &[Selector]) -> Result<Vec<Selector>, Invalid> {
        self.subscribe.narrow(wanted)
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
        for (granted, wanted, left) in [
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
            let mut left = selectors(left);
            left.sort_unstable();
            let readable = grants(granted, false).readable(&selectors(wanted)).expect("few");
            assert_eq!(readable, left, "{wanted:?} of {granted:?}");
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
        let wanted = ["**", "a.**", "*.b", "*", "*.*", "chat.1", "hub.**", "a.b.*"];
        for granted in [&["**"][..], &["a.*", "chat.1"], &["*.*.*", "b.**"], &["hub.**"], &[]] {
            for admin in [false, true] {
                let grants = grants(granted, admin);
                for text in wanted {
                    let selector = selectors(&[text]);
                    let left = grants.readable(&selector).expect("few");
                    for name in names.map(|name| StreamName::parse(name).expect("a name")) {
                        let expected = grants.may_read(&name) && selector[0].reaches(&name);
                        let reached = left.iter().any(|left| left.reaches(&name));
                        assert_eq!(reached, expected, "{text} of {granted:?} at {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn narrowing_to_too_many_selectors_is_refused_before_they_are_compared() {
        let some = |letter: &str| -> Vec<String> {
            (0..100).map(|n| format!("{letter}.{letter}{n}.**").replace("x.x", "*.*.x")).collect()
        };
        let (granted, wanted) = (some("x"), (0..100).map(|n| format!("*.y{n}.**")));
        let texts: Vec<String> = wanted.collect();
        let wanted = selectors(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let grants = Grants::of(GrantClaims { subscribe: granted, ..GrantClaims::default() });
        let why = grants.expect("grants").readable(&wanted).expect_err("too many");
        assert!(why.detail.contains("more than 100"), "{why:?}");
    }
}
