//! Reports of hubs about themselves, and the comparison of what they have applied.

use super::chain::Checkpoint;
use super::status::LogStatus;
use crate::limits::SharedCount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time without a report after which a hub counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Time without a report after which the sessions of a hub no longer count: its subscribers may have come here.
const COUNTED_FOR: Duration = Duration::from_secs(3);
/// Time without a report after which a hub is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Maximum time for hubs that have not been compared yet to catch up, before the others decide.
const UNDECIDED_FOR: Duration = Duration::from_secs(3);
/// Interval at which it is logged that another hub has the same name.
const TWIN_LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of hubs that are known.
const MAX_HUBS: usize = 64;

/// Report of a hub about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HubReport {
    /// Name of the hub.
    pub node: String,
    /// Number of the process, which differs after a restart.
    pub boot: u64,
    /// Version of the hub.
    pub version: String,
    /// Time at which the hub started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Epoch of the log that the hub reads.
    #[serde(default)]
    pub epoch: u32,
    /// Last message of the log that the hub has applied.
    pub applied: u64,
    /// Hashes of the log up to some messages, in their order.
    pub checkpoints: Vec<Checkpoint>,
    /// Number of sessions.
    pub sessions: u64,
    /// Sessions of subjects and streams that have a limit.
    #[serde(default)]
    pub counts: Vec<SharedCount>,
    /// Reason why the hub is not ready, if it is not.
    pub problem: Option<String>,
    /// True if the hub has applied the log and no other, as far as it knows.
    #[serde(default)]
    pub has_log: bool,
    /// True if most hubs have applied another log.
    #[serde(default)]
    pub is_outvoted: bool,
    /// True in the last report of a hub that stops.
    pub is_leaving: bool,
}

/// A hub of which another one knows.
#[derive(Clone, Debug)]
pub struct KnownHub {
    /// Last report.
    pub report: HubReport,
    /// Time since the last report, if that is too long.
    pub silent_for: Option<Duration>,
    /// Number of a message up to which the hub has applied another log than this one.
    pub differs_at: Option<u64>,
}

struct Entry {
    report: HubReport,
    at: Instant,
    /// Last message that both have applied, and true if the hashes up to it are equal.
    compared: Option<(u64, bool)>,
}

/// The other hubs, by name.
pub(super) struct Roster {
    node: String,
    boot: u64,
    /// Time at which it was logged that another hub has the same name.
    twin_at: Option<Instant>,
    /// Last own report that NATS has delivered to this hub, and time since which it does.
    own: Option<(Instant, Instant)>,
    /// Time since which more hubs differ from this one than agree with it.
    minority_since: Option<Instant>,
    hubs: BTreeMap<String, Entry>,
}

impl Roster {
    pub(super) fn new(node: &str, boot: u64) -> Self {
        Self {
            node: node.to_owned(),
            boot,
            twin_at: None,
            own: None,
            minority_since: None,
            hubs: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, report: HubReport) {
        self.hubs.retain(|_, hub| hub.at.elapsed() < FORGOTTEN_AFTER);
        if report.node == self.node && report.boot != self.boot {
            // The log shows it once a minute at most.
            let is_new = self.twin_at.is_none_or(|at| at.elapsed() >= TWIN_LOGGED_EVERY);
            if is_new {
                self.twin_at = Some(Instant::now());
                tracing::error!(node = self.node, "another hub has the same name; set --node");
            }
        } else if report.node == self.node {
            let now = Instant::now();
            let since = self.own.filter(|(last, _)| last.elapsed() < SILENT_AFTER);
            self.own = Some((now, since.map_or(now, |(_, since)| since)));
        } else if report.is_leaving {
            self.hubs.remove(&report.node);
        } else if self.has_room_for(&report.node) {
            // After a restart the hub may have another journal.
            let before = self.hubs.get(&report.node).filter(|hub| hub.report.boot == report.boot);
            let compared = before.and_then(|hub| hub.compared);
            let entry = Entry { at: Instant::now(), compared, report };
            self.hubs.insert(entry.report.node.clone(), entry);
        }
    }

    /// Returns true if a hub is known or may become so. It takes the place of one that has been silent the longest.
    fn has_room_for(&mut self, node: &str) -> bool {
        if self.hubs.contains_key(node) || self.hubs.len() < MAX_HUBS {
            return true;
        }
        let silent = self.hubs.iter().filter(|(_, hub)| hub.at.elapsed() >= SILENT_AFTER);
        let longest = silent.min_by_key(|(_, hub)| hub.at).map(|(node, _)| node.clone());
        longest.is_some_and(|longest| self.hubs.remove(&longest).is_some())
    }

    /// Compares the log that the hubs have applied with that of this one. If at least as many hubs have applied
    /// another log as have applied this one, itself included, `log` is marked. Hubs that are not as far yet may
    /// still decide.
    pub(super) fn compare(&mut self, log: &LogStatus, epoch: u32) {
        for hub in self.hubs.values_mut().filter(|hub| hub.report.epoch == epoch) {
            if let Some(compared) = log.compare(&hub.report.checkpoints) {
                hub.compared = Some(compared);
            }
        }
        // A hub of another log cannot be compared.
        let of_log = || self.hubs.values().filter(|hub| hub.report.epoch == epoch);
        let reporting = || of_log().filter(|hub| hub.at.elapsed() < SILENT_AFTER);
        // Most hubs have decided against one that is outvoted, although some of them may be silent now.
        let differs =
            |hub: &&Entry| matches!(hub.compared, Some((_, false))) && !hub.report.is_outvoted;
        let differing: Vec<_> = reporting().filter(differs).collect();
        let equal = reporting().filter(|hub| matches!(hub.compared, Some((_, true)))).count();
        let is_undecided = reporting().any(|hub| hub.compared.is_none());
        let is_known_to_differ = of_log().any(|hub| differs(&hub));
        let is_minority = !differing.is_empty() && differing.len() > equal;
        let since = *self.minority_since.get_or_insert_with(Instant::now);
        let is_decided = !is_undecided || since.elapsed() >= UNDECIDED_FOR;
        if !is_minority {
            self.minority_since = None;
        }
        if let Some(hub) = differing.first().filter(|_| is_minority && is_decided) {
            let (name, number) = (&hub.report.node, hub.compared.map_or(0, |(number, _)| number));
            let reason = format!(
                "hub {name:?} has applied another log up to message {number} than this hub"
            );
            log.set_differs(Some(reason), differing.len() > equal + 1);
        } else if equal > 0 || !is_known_to_differ {
            // A hub that is only silent may still differ.
            log.set_differs(None, false);
        }
    }

    /// Returns true if a hub has not reported lately, or `None` if it is unknown.
    pub(super) fn is_silent(&self, node: &str) -> Option<bool> {
        self.hubs.get(node).map(|hub| hub.at.elapsed() >= SILENT_AFTER)
    }

    /// Returns the hubs that have not reported for `timeout`, during which NATS has delivered the own reports:
    /// a hub that is cut off knows nothing of the others.
    pub(super) fn gone(&self, timeout: Duration, now: Instant) -> Vec<String> {
        let hears = self.own.is_some_and(|(last, since)| {
            now.duration_since(last) < SILENT_AFTER && now.duration_since(since) >= timeout
        });
        let is_gone = |hub: &Entry| hears && now.duration_since(hub.at) >= timeout;
        let gone = self.hubs.iter().filter(|(_, hub)| is_gone(hub));
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the number of hubs of which this one knows, without itself.
    pub(super) fn count(&self) -> usize {
        self.hubs.len()
    }

    /// Returns the counts of all hubs that have reported lately.
    pub(super) fn counts(&self) -> Vec<SharedCount> {
        let recent = self.hubs.values().filter(|hub| hub.at.elapsed() < COUNTED_FOR);
        recent.flat_map(|hub| hub.report.counts.iter().cloned()).collect()
    }

    pub(super) fn hubs(&self) -> Vec<KnownHub> {
        let known = |hub: &Entry| KnownHub {
            report: hub.report.clone(),
            silent_for: Some(hub.at.elapsed()).filter(|time| *time >= SILENT_AFTER),
            differs_at: hub.compared.filter(|(_, equal)| !equal).map(|(number, _)| number),
        };
        self.hubs.values().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::ChainLink;
    use super::*;

    fn report(node: &str, link: ChainLink) -> HubReport {
        HubReport {
            node: node.to_owned(),
            boot: 1,
            version: "1.0.0".to_owned(),
            started_ms: 0,
            epoch: 7,
            applied: link.sequence,
            checkpoints: vec![Checkpoint::from(link)],
            sessions: 0,
            counts: Vec::new(),
            problem: None,
            has_log: true,
            is_outvoted: false,
            is_leaving: false,
        }
    }

    fn differs(log: &LogStatus) -> Option<String> {
        log.state().differs
    }

    #[test]
    fn a_new_hub_takes_the_place_of_a_silent_one() {
        let mut roster = Roster::new("a", 1);
        for number in 0..MAX_HUBS {
            roster.record(report(&format!("hub {number}"), ChainLink::default()));
        }
        roster.record(report("late", ChainLink::default()));
        assert!(!roster.hubs.contains_key("late"), "all hubs report");
        let silent = roster.hubs.get_mut("hub 7").unwrap();
        silent.at = silent.at.checked_sub(SILENT_AFTER).unwrap();
        roster.record(report("late", ChainLink::default()));
        assert!(roster.hubs.contains_key("late") && !roster.hubs.contains_key("hub 7"));
        assert_eq!(roster.hubs.len(), MAX_HUBS);
    }

    #[test]
    fn a_hub_whose_log_only_a_minority_has_is_marked() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let (own, other) = (ChainLink::default().next(b"own"), ChainLink::default().next(b"other"));
        log.applied(own);
        roster.record(report("b", own));
        roster.record(report("c", other));
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None, "two against one");
        assert_eq!(roster.hubs()[1].differs_at, Some(1));
        roster.record(report("d", other));
        roster.compare(&log, 7);
        let problem = differs(&log).expect("two against two: neither is known to be right");
        assert!(problem.contains("hub \"c\" has applied another log up to message 1"), "{problem}");
    }

    #[test]
    fn a_hub_that_most_have_decided_against_does_not_vote() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let (own, other) = (ChainLink::default().next(b"own"), ChainLink::default().next(b"other"));
        log.applied(own);
        roster.record(report("b", other));
        roster.record(report("c", other));
        roster.compare(&log, 7);
        assert!(log.state().is_outvoted, "two against one");
        let (log, mut roster) = (LogStatus::default(), Roster::new("b", 1));
        log.applied(other);
        // Hub c is away.
        roster.record(HubReport { is_outvoted: true, ..report("a", own) });
        roster.compare(&log, 7);
        assert_eq!((differs(&log), roster.hubs()[0].differs_at), (None, Some(1)));
    }

    #[test]
    fn a_hub_of_another_log_or_one_that_has_left_does_not_mark_this_one() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let (own, other) = (ChainLink::default().next(b"own"), ChainLink::default().next(b"other"));
        log.applied(own);
        roster.record(HubReport { epoch: 6, ..report("b", other) });
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None);
        roster.record(report("b", other));
        roster.compare(&log, 7);
        assert!(differs(&log).is_some());
        roster.record(HubReport { is_leaving: true, ..report("b", other) });
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None);
    }

    #[test]
    fn two_hubs_that_differ_are_both_marked() {
        let links = [ChainLink::default().next(b"a"), ChainLink::default().next(b"b")];
        for (own, other) in [(0, 1), (1, 0)] {
            let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
            log.applied(links[own]);
            roster.record(report("b", links[other]));
            roster.compare(&log, 7);
            assert!(differs(&log).is_some() && !log.state().is_outvoted);
        }
    }

    #[test]
    fn a_hub_that_is_not_as_far_may_still_decide() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let (own, other) = (ChainLink::default().next(b"own"), ChainLink::default().next(b"other"));
        log.applied(own);
        roster.record(report("b", ChainLink::default()));
        roster.record(report("c", other));
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None);
        roster.minority_since = Instant::now().checked_sub(UNDECIDED_FOR);
        roster.compare(&log, 7);
        assert!(differs(&log).is_some(), "it does not get there");
        roster.record(report("b", own));
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None, "two against one");
    }

    #[test]
    fn a_hub_that_has_started_again_is_compared_again() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let (own, other) = (ChainLink::default().next(b"own"), ChainLink::default().next(b"other"));
        log.applied(own);
        roster.record(report("b", other));
        roster.compare(&log, 7);
        assert!(differs(&log).is_some());
        // It begins with an empty journal, from which nothing can be compared yet.
        roster.record(HubReport { boot: 2, ..report("b", ChainLink::default()) });
        assert_eq!(roster.hubs()[0].differs_at, None);
    }

    #[test]
    fn reports_of_other_versions_are_read() {
        let older = r#"{"node":"b","boot":1,"version":"0.1.0","started_ms":0,"applied":7,"checkpoints":[],
            "sessions":0,"problem":null,"is_leaving":false}"#;
        let report: HubReport = serde_json::from_str(older).expect("an older report");
        assert!(!report.has_log && !report.is_outvoted);
        let newer = older.replace("\"applied\"", "\"unknown\":{\"x\":[1]},\"applied\"");
        assert_eq!(serde_json::from_str::<HubReport>(&newer).expect("a newer report"), report);
    }

    #[test]
    fn a_hub_with_the_same_name_is_no_report_of_this_one() {
        let mut roster = Roster::new("a", 1);
        roster.record(HubReport { boot: 2, ..report("a", ChainLink::default()) });
        assert!(roster.own.is_none() && roster.twin_at.is_some());
    }

    #[test]
    fn a_report_ahead_is_compared_once_this_hub_has_applied_as_much() {
        let (log, mut roster) = (LogStatus::default(), Roster::new("a", 1));
        let first = ChainLink::default().next(b"1");
        let (own, other) = (first.next(b"own"), first.next(b"other"));
        log.applied(first);
        roster.record(report("b", other));
        roster.compare(&log, 7);
        assert_eq!(differs(&log), None);
        log.applied(own);
        roster.compare(&log, 7);
        assert!(differs(&log).is_some());
    }

    #[test]
    fn a_hub_that_was_cut_off_does_not_take_the_others_for_gone() {
        let mut roster = Roster::new("a", 1);
        let timeout = Duration::from_secs(60);
        roster.record(report("b", ChainLink::default()));
        let start = Instant::now();
        let later = start + 2 * timeout;
        assert!(roster.gone(timeout, later).is_empty(), "it has heard nothing of itself");
        roster.own = Some((start, start));
        assert!(roster.gone(timeout, later).is_empty(), "it hears nothing any longer");
        roster.own = Some((later, later));
        assert!(roster.gone(timeout, later).is_empty(), "it has just heard again");
        roster.own = Some((later, start));
        assert!(roster.gone(timeout, start).is_empty(), "the other has just reported");
        assert_eq!(roster.gone(timeout, later), ["b"]);
    }

    #[test]
    fn a_hub_that_leaves_is_forgotten_and_this_hub_is_no_other() {
        let mut roster = Roster::new("a", 1);
        roster.record(report("a", ChainLink::default()));
        roster.record(report("b", ChainLink::default()));
        assert_eq!((roster.is_silent("a"), roster.is_silent("b")), (None, Some(false)));
        roster.record(HubReport { is_leaving: true, ..report("b", ChainLink::default()) });
        assert_eq!(roster.is_silent("b"), None);
    }
}
