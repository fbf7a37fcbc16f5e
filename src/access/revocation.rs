//! Revocations of credentials before their expiry.
//!
//! A revocation invalidates the credentials of its target that were made up to a point in time. It
//! is durable before it is acknowledged. It can be undone; until then it is remembered.

use super::{Caller, RevocationMark};
use crate::disk::replace_file;
use crate::event::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Maximum number of remembered revocations; every credential is checked against them by look-ups.
const MAX_REVOCATIONS: usize = 100_000;

/// Target of a revocation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationTarget {
    /// A token, by its `jti`.
    Jti(String),
    /// All credentials of a `sub`.
    Sub(String),
    /// An API key, by its name.
    Key(String),
}

/// A revocation or its removal, as a line of the file and as an event of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevocationChange {
    /// Time of the change, in milliseconds since 1970.
    at: u64,
    /// Target.
    #[serde(rename = "whose")]
    pub target: RevocationTarget,
    /// Marks of the API keys that had the name; if empty, every key that ever has it is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<RevocationMark>,
    /// True if this removes the revocation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    undone: bool,
}

impl RevocationChange {
    /// Creates a revocation of everything that was made until `now`. For the name of an API key it revokes
    /// `keys`, or every key that ever has the name if `keys` is empty.
    pub fn revoke(target: RevocationTarget, keys: Vec<RevocationMark>, now: Timestamp) -> Self {
        Self { at: now.ms(), target, keys, undone: false }
    }

    /// Creates the removal of a revocation.
    pub fn undo(target: RevocationTarget, now: Timestamp) -> Self {
        Self { at: now.ms(), target, keys: Vec::new(), undone: true }
    }
}

/// A revocation: the time up to which credentials are refused, or the refused API keys.
#[derive(Clone, Default, Debug)]
struct Revoked {
    /// Credentials made until then are refused.
    at: Timestamp,
    keys: Vec<RevocationMark>,
}

impl Revoked {
    /// Adds another revocation of the same target. A clock that went back does not weaken the
    /// first.
    fn add(&mut self, at: Timestamp, keys: &[RevocationMark]) {
        self.at = self.at.max(at);
        let new = keys.iter().filter(|key| !self.keys.contains(key)).copied().collect::<Vec<_>>();
        self.keys.extend(new);
    }

    /// Returns true if a change of the same target adds nothing, or is older.
    fn covers_change(&self, change: &RevocationChange) -> bool {
        let has_keys = change.keys.iter().all(|key| self.keys.contains(key));
        change.undone || self.at.ms() >= change.at && has_keys
    }
}

/// Returns true if a token that the revocation covers may still be valid.
fn may_still_apply(
    target: &RevocationTarget,
    at: Timestamp,
    retention: Duration,
    now: Timestamp,
) -> bool {
    matches!(target, RevocationTarget::Key(_)) || at >= now.minus_ms(retention.as_millis() as u64)
}

/// Reason for which a revocation was refused.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The maximum number of revocations is reached.
    #[error("the maximum number of revocations ({MAX_REVOCATIONS}) is reached")]
    TooMany,
    /// The file cannot be written.
    #[error("cannot write the revocation: {0}")]
    Io(#[from] io::Error),
}

/// Revocations.
#[derive(Default, Debug)]
pub struct Revocations {
    revocations: RwLock<HashMap<RevocationTarget, Revoked>>,
    /// Number of revocations and undone revocations so far.
    changes: AtomicUsize,
    retention: Duration,
    file: Option<Mutex<File>>,
}

impl Revocations {
    /// Opens the revocations in `file`; without a file, none outlives the process. All are kept,
    /// because a token without an `iat` may live forever. Only if there are too many, those of
    /// tokens that are older than `retention` are forgotten.
    pub fn open(file: Option<&Path>, retention: Duration, now: Timestamp) -> io::Result<Self> {
        let mut revocations: HashMap<RevocationTarget, Revoked> = HashMap::new();
        for line in file.map_or_else(|| Ok(Vec::new()), read)? {
            if line.undone {
                // The lines of another hub may follow a later revocation here.
                let is_later = |revoked: &Revoked| revoked.at.ms() > line.at;
                if !revocations.get(&line.target).is_some_and(is_later) {
                    revocations.remove(&line.target);
                }
            } else {
                let at = Timestamp::from_ms(line.at);
                revocations.entry(line.target).or_default().add(at, &line.keys);
            }
        }
        if revocations.len() > MAX_REVOCATIONS {
            revocations
                .retain(|target, revoked| may_still_apply(target, revoked.at, retention, now));
        }
        let file = file.map(|path| rewrite(path, &revocations)).transpose()?.map(Mutex::new);
        let changes = AtomicUsize::new(revocations.len());
        Ok(Self { revocations: RwLock::new(revocations), changes, retention, file })
    }

    /// Revokes every credential of `target` that was made until `now`. For the name of an API key
    /// it revokes `keys`, or every key that ever has the name if `keys` is empty.
    pub fn add(
        &self,
        target: RevocationTarget,
        keys: &[RevocationMark],
        now: Timestamp,
    ) -> Result<(), RevokeError> {
        // Held until the revocation is in effect, so that the file and the map have the same order.
        let mut revocations = self.revocations.write().unwrap_or_else(PoisonError::into_inner);
        if revocations.len() >= MAX_REVOCATIONS {
            revocations
                .retain(|target, revoked| may_still_apply(target, revoked.at, self.retention, now));
        }
        if revocations.len() >= MAX_REVOCATIONS {
            return Err(RevokeError::TooMany);
        }
        self.append(&RevocationChange {
            at: now.ms(),
            target: target.clone(),
            keys: keys.to_vec(),
            undone: false,
        })?;
        revocations.entry(target).or_default().add(now, keys);
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Undoes a revocation; returns false if there is none.
    pub fn undo(&self, target: &RevocationTarget, now: Timestamp) -> Result<bool, RevokeError> {
        let mut revocations = self.revocations.write().unwrap_or_else(PoisonError::into_inner);
        let Some(revoked) = revocations.get(target) else { return Ok(false) };
        // Not before the revocation, even if the clock went back.
        let (at, keys) = (now.max(revoked.at).ms(), Vec::new());
        self.append(&RevocationChange { at, target: target.clone(), keys, undone: true })?;
        revocations.remove(target);
        self.changes.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    /// Applies a change of another hub of the cluster, unless it is known here already.
    pub fn apply(&self, change: &RevocationChange) -> Result<(), RevokeError> {
        let at = Timestamp::from_ms(change.at);
        let known = {
            let revocations = self.revocations.read().unwrap_or_else(PoisonError::into_inner);
            revocations.get(&change.target).cloned()
        };
        match known {
            Some(known) if change.undone && known.at <= at => {
                self.undo(&change.target, at).map(|_| ())
            }
            None if change.undone => Ok(()),
            Some(known) if known.covers_change(change) => Ok(()),
            _ => self.add(change.target.clone(), &change.keys, at),
        }
    }

    /// Returns the time up to which credentials of a target are refused, if it is revoked.
    pub fn revoked_at(&self, target: &RevocationTarget) -> Option<Timestamp> {
        let revocations = self.revocations.read().unwrap_or_else(PoisonError::into_inner);
        revocations.get(target).map(|revoked| revoked.at)
    }

    /// Returns all revocations, newest first.
    pub fn list(&self) -> Vec<(RevocationTarget, Timestamp)> {
        let revocations = self.revocations.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> =
            revocations.iter().map(|(target, revoked)| (target.clone(), revoked.at)).collect();
        list.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        list
    }

    fn append(&self, line: &RevocationChange) -> Result<(), RevokeError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let end = file.stream_position()?;
        let result = file.write_all(&encode(line)).and_then(|()| file.sync_data());
        if let Err(error) = result {
            // A partial line must not precede the next one.
            file.set_len(end)?;
            file.seek(io::SeekFrom::Start(end))?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Returns a number that changes with every revocation; 0 while there is none.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns true if the credential of `caller` was revoked.
    pub fn covers(&self, caller: &Caller) -> bool {
        if self.changes() == 0 {
            return false;
        }
        let revocations = self.revocations.read().unwrap_or_else(PoisonError::into_inner);
        let ids = [
            caller.jti.clone().map(RevocationTarget::Jti),
            caller.subject.clone().filter(|_| caller.key.is_none()).map(RevocationTarget::Sub),
            caller.key.clone().map(RevocationTarget::Key),
        ];
        ids.into_iter().flatten().any(|target| {
            let Some(revoked) = revocations.get(&target) else { return false };
            if !revoked.keys.is_empty() {
                return caller.mark.is_some_and(|mark| revoked.keys.contains(&mark));
            }
            // A credential without a time of issue may have been made before.
            caller.issued.is_none_or(|issued| issued <= revoked.at)
        })
    }
}

/// Returns the line as it is written: JSON, a space, its checksum.
fn encode(line: &RevocationChange) -> Vec<u8> {
    // Strings and numbers cannot fail to serialize.
    let json = serde_json::to_vec(line).unwrap_or_default();
    let sum = format!(" {:08x}\n", crc32fast::hash(&json));
    [&json[..], sum.as_bytes()].concat()
}

/// Bytes of a checksum with the space before it.
const SUM_BYTES: usize = 9;

/// Parses a line without its line feed; `None` if it is damaged.
fn parse(line: &[u8]) -> Option<RevocationChange> {
    let (json, sum) = line.split_at_checked(line.len().checked_sub(SUM_BYTES)?)?;
    let is_valid = sum == format!(" {:08x}", crc32fast::hash(json)).as_bytes();
    is_valid.then(|| serde_json::from_slice(json).ok()).flatten()
}

/// Parses the last line if only its line feed is damaged, so that it is applied.
fn parse_damaged_end(path: &Path, number: usize, line: &[u8]) -> Option<RevocationChange> {
    let parsed = parse(&line[..line.len() - 1])?;
    let path = path.display();
    tracing::warn!(%path, line = number, "the last line is damaged at its end; applied the revocation");
    Some(parsed)
}

/// Reads the lines of the file. A crash may have cut the last one, which was then not acknowledged.
fn read(path: &Path) -> io::Result<Vec<RevocationChange>> {
    // Not as text: a crash may have cut a character.
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let mut lines = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let parsed = match line.strip_suffix(b"\n") {
            // Lines of an earlier version have no checksum.
            Some(line) if line.ends_with(b"}") => serde_json::from_slice(line).ok(),
            Some(line) => parse(line),
            // A crash cut the line, which was then not acknowledged, or its line feed is damaged.
            None => match parse(line).or_else(|| parse_damaged_end(path, index + 1, line)) {
                None => continue,
                parsed => parsed,
            },
        };
        lines.push(parsed.ok_or_else(|| {
            let message = format!("{}:{}: the line is damaged", path.display(), index + 1);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?);
    }
    Ok(lines)
}

/// Replaces the file, without forgotten revocations, in one atomic step.
fn rewrite(path: &Path, revocations: &HashMap<RevocationTarget, Revoked>) -> io::Result<File> {
    let lines = revocations.iter().flat_map(|(target, revoked)| {
        let (at, keys) = (revoked.at.ms(), revoked.keys.clone());
        encode(&RevocationChange { at, target: target.clone(), keys, undone: false })
    });
    replace_file(path, &lines.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(seconds * 1000)
    }

    fn caller(jti: &str, sub: &str, issued: Option<u64>) -> Caller {
        Caller {
            subject: Some(sub.into()),
            jti: Some(jti.into()),
            issued: issued.map(at),
            ..Caller::anonymous_caller()
        }
    }

    #[test]
    fn earlier_credentials_stay_revoked_after_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revocations");
        let day = Duration::from_secs(86_400);
        let open = |now| Revocations::open(Some(&file), day, at(now)).expect("opens");
        let first = open(0);
        assert!(!first.covers(&caller("x", "ann", None)));
        first.add(RevocationTarget::Sub("ann".into()), &[], at(100)).expect("written");
        first.add(RevocationTarget::Jti("x".into()), &[], at(200)).expect("written");
        let key = Caller { key: Some("ann".into()), ..caller("y", "ann", None) };
        let check = |revocations: &Revocations| {
            for (caller, covered) in [
                (caller("y", "ann", Some(99)), true),
                (caller("y", "ann", Some(100)), true),
                (caller("y", "ann", Some(101)), false),
                (caller("y", "ann", None), true),
                (caller("x", "bob", Some(200)), true),
                (caller("x", "bob", Some(201)), false),
                (caller("y", "bob", None), false),
                (key.clone(), false),
            ] {
                assert_eq!(revocations.covers(&caller), covered, "{caller:?}");
            }
        };
        check(&first);
        drop(first);
        let mut torn = OpenOptions::new().append(true).open(&file).expect("opens");
        torn.write_all("{\"at\":3,\"whose\":{\"sub\":\"é".as_bytes()).expect("writes");
        torn.set_len(torn.metadata().expect("a length").len() - 1).expect("cuts the character");
        check(&open(300));
        check(&open(99_999_999));
        open(300).add(RevocationTarget::Key("ann".into()), &[], at(300)).expect("written");
        assert!(open(99_999_999).covers(&key), "a key does not expire");
        assert!(open(300).undo(&RevocationTarget::Key("ann".into()), at(301)).expect("written"));
        assert!(!open(302).covers(&key), "it stays undone after a restart");
        assert!(
            !open(302).undo(&RevocationTarget::Key("ann".into()), at(302)).expect("nothing to do")
        );
        let original = std::fs::read(&file).expect("reads");
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &bytes).expect("writes");
            match Revocations::open(Some(&file), day, at(0)) {
                Err(_) => {}
                Ok(opened) => check(&opened),
            }
        }
        std::fs::write(&file, "nonsense\n").expect("writes");
        assert!(Revocations::open(Some(&file), day, at(0)).is_err(), "damage is an error");
    }

    #[test]
    fn second_revocation_by_a_clock_that_went_back_does_not_weaken_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revocations");
        let open = || Revocations::open(Some(&file), Duration::ZERO, at(0)).expect("opens");
        let revocations = open();
        for seconds in [200, 100] {
            let target = RevocationTarget::Sub("ann".into());
            revocations.add(target, &[], at(seconds)).expect("written");
        }
        assert!(revocations.covers(&caller("y", "ann", Some(150))));
        assert!(open().covers(&caller("y", "ann", Some(150))));
    }

    #[test]
    fn revoked_key_does_not_affect_a_new_key_of_the_same_name() {
        let revocations = Revocations::open(None, Duration::ZERO, at(0)).expect("opens");
        let key = |secret: &[u8]| Caller {
            key: Some("ci".into()),
            mark: Some(RevocationMark::of(secret)),
            ..Caller::anonymous_caller()
        };
        let marks = [RevocationMark::of(b"old")];
        revocations.add(RevocationTarget::Key("ci".into()), &marks, at(1)).expect("revoked");
        assert!(revocations.covers(&key(b"old")));
        assert!(!revocations.covers(&key(b"new")), "the name can be used again");
        assert_eq!(revocations.list(), [(RevocationTarget::Key("ci".into()), at(1))]);
    }
}
