//! Credentials that have ended before their time.
//!
//! A revocation says whose credentials made up to a moment are good no more. It is on the medium
//! before it is answered, and forgotten once every such credential would have ended by itself: an
//! API key's, which never does, is remembered for ever.

use super::Caller;
use crate::event::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Revocations that are remembered at once; each is held against every credential by a look-up.
const MAX_REVOCATIONS: usize = 100_000;

/// Whose credentials.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// One token's, by its `jti`.
    Jti(String),
    /// Everything of a `sub`.
    Sub(String),
    /// An API key's, by its name.
    Key(String),
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: u64,
    whose: Whose,
}

/// Whether there may be a credential that a revocation of `at` is needed for.
fn matters(whose: &Whose, at: Timestamp, (keep, now): (Duration, Timestamp)) -> bool {
    matches!(whose, Whose::Key(_)) || at >= now.minus_ms(keep.as_millis() as u64)
}

/// Why a revocation was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There are too many already.
    #[error("{MAX_REVOCATIONS} revocations are remembered already")]
    TooMany,
    /// It could not be written down.
    #[error("the revocation could not be written: {0}")]
    Io(#[from] io::Error),
}

/// What has been revoked.
#[derive(Default, Debug)]
pub struct Revocations {
    known: RwLock<HashMap<Whose, Timestamp>>,
    /// How many there have ever been: changes with each.
    changes: AtomicUsize,
    keep: Duration,
    file: Option<Mutex<File>>,
}

impl Revocations {
    /// Those in `file` that are not older than `keep`, and those of keys; without a file none
    /// outlives the process.
    pub fn open(file: Option<&Path>, keep: Duration, now: Timestamp) -> io::Result<Self> {
        let lines = file.map_or_else(|| Ok(Vec::new()), read)?;
        let lines = lines.into_iter().map(|line| (line.whose, Timestamp::from_ms(line.at)));
        let known: HashMap<Whose, Timestamp> =
            lines.filter(|(whose, at)| matters(whose, *at, (keep, now))).collect();
        let file = file.map(|path| rewrite(path, &known)).transpose()?.map(Mutex::new);
        let changes = AtomicUsize::new(known.len());
        Ok(Self { known: RwLock::new(known), changes, keep, file })
    }

    /// From now on nothing of theirs is good that was made until `now`.
    pub fn add(&self, whose: Whose, now: Timestamp) -> Result<(), RevokeError> {
        // Held until it counts, so that the file and what is known have one order.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REVOCATIONS {
            known.retain(|whose, at| matters(whose, *at, (self.keep, now)));
        }
        if known.len() >= MAX_REVOCATIONS {
            return Err(RevokeError::TooMany);
        }
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let end = file.stream_position()?;
            let written = file.write_all(&line(&whose, now)).and_then(|()| file.sync_data());
            if let Err(error) = written {
                // What there is of it must not stand before the next one.
                file.set_len(end)?;
                file.seek(io::SeekFrom::Start(end))?;
                return Err(error.into());
            }
        }
        known.insert(whose, now);
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A number that changes with every revocation; 0 while there is none.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether `caller`'s credential has been revoked.
    pub fn covers(&self, caller: &Caller) -> bool {
        if self.changes() == 0 {
            return false;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let ids = [
            caller.jti.clone().map(Whose::Jti),
            caller.subject.clone().filter(|_| caller.key.is_none()).map(Whose::Sub),
            caller.key.clone().map(Whose::Key),
        ];
        ids.into_iter().flatten().any(|whose| {
            let at = known.get(&whose);
            // One that does not say when it was made may have been made before.
            at.is_some_and(|at| caller.issued.is_none_or(|issued| issued <= *at))
        })
    }
}

fn line(whose: &Whose, at: Timestamp) -> Vec<u8> {
    let line = Line { at: at.ms(), whose: whose.clone() };
    // Strings and a number: it cannot fail.
    let mut json = serde_json::to_vec(&line).unwrap_or_default();
    json.push(b'\n');
    json
}

/// The lines of the file; the last one may have been cut by a crash, and was not answered then.
fn read(path: &Path) -> io::Result<Vec<Line>> {
    // Not as text: a crash may also have cut a letter.
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let mut lines = Vec::new();
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(e) => {
                let why = format!("{}:{}: {e}", path.display(), at + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
    }
    Ok(lines)
}

/// Leaves out what is forgotten; the file is whole at every moment.
fn rewrite(path: &Path, known: &HashMap<Whose, Timestamp>) -> io::Result<File> {
    let mut made: PathBuf = path.to_owned();
    made.set_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&made)?;
    for (whose, at) in known {
        file.write_all(&line(whose, *at))?;
    }
    file.sync_all()?;
    std::fs::rename(&made, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(seconds * 1000)
    }

    fn caller(jti: &str, sub: &str, issued: Option<u64>) -> Caller {
        Caller {
            subject: Some(sub.into()),
            jti: Some(jti.into()),
            issued: issued.map(at),
            ..Caller::nobody()
        }
    }

    #[test]
    fn what_was_made_until_then_is_covered_also_after_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("revocations");
        let day = Duration::from_secs(86_400);
        let open = |now| Revocations::open(Some(&file), day, at(now)).expect("opens");
        let first = open(0);
        assert!(!first.covers(&caller("x", "ann", None)));
        first.add(Whose::Sub("ann".into()), at(100)).expect("written");
        first.add(Whose::Jti("x".into()), at(200)).expect("written");
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
        torn.set_len(torn.metadata().expect("a length").len() - 1).expect("cuts the letter");
        check(&open(300));
        check(&open(86_500));
        assert!(!open(86_501).covers(&caller("y", "ann", None)), "in time it is forgotten");
        open(300).add(Whose::Key("ann".into()), at(300)).expect("written");
        assert!(open(99_999_999).covers(&key), "a key never ends by itself");
        std::fs::write(&file, "nonsense\n").expect("writes");
        assert!(Revocations::open(Some(&file), day, at(0)).is_err(), "a revocation is not lost");
    }
}
