//! The runner of scenarios, and the steps that they share.

use crate::disk::Disk;
use crate::faults::{Faults, Operation};
use crate::hub::{Hub, Started};
use crate::ledger::{Harm, Ledger};
use crate::publishers::{Load, publish};

/// Failures of a scenario that are shown with the hub's log.
const MAX_DETAILED: usize = 3;
/// Failures that are shown in a line.
const MAX_LISTED: usize = 12;

/// Syncs of the write-ahead file during a first start: three while the journal is created beside
/// its final path, one when it is opened there, one for the first epoch.
const STARTS_SYNCS: u64 = 5;

/// Returns true if the long runs are requested.
pub fn is_full() -> bool {
    std::env::var("TEST_EXTENT").is_ok_and(|value| value == "full")
}

/// Returns the seeds of a short or a long run.
pub fn seeds(short: u64, long: u64) -> std::ops::Range<u64> {
    0..if is_full() { long } else { short }
}

/// Runs `test` for every seed, or only for those of `POWERLOSS_SEED` (`7` or `100..200`),
/// and reports the failures.
pub fn run_seeds(
    scenario: &str,
    seeds: impl IntoIterator<Item = u64>,
    mut test: impl FnMut(u64) -> Result<(), String>,
) {
    let chosen = std::env::var("POWERLOSS_SEED").ok().map(|text| parse_seeds(&text));
    let seeds: Vec<u64> = chosen.unwrap_or_else(|| seeds.into_iter().collect());
    let mut failures = Vec::new();
    for seed in &seeds {
        let Err(error) = test(*seed) else { continue };
        if failures.len() < MAX_DETAILED {
            let reproduce = format!("POWERLOSS_SEED={seed} cargo test --test powerloss {scenario}");
            eprintln!("FAILED: {scenario}, seed {seed}\n  reproduce: {reproduce}\n{error}\n");
        }
        failures.push(format!("seed {seed}: {}", error.lines().next().unwrap_or_default()));
    }
    let (failure_count, seed_count) = (failures.len(), seeds.len());
    failures.truncate(MAX_LISTED);
    assert!(
        failure_count == 0,
        "{scenario}: {failure_count} of {seed_count} seeds failed:\n{}",
        failures.join("\n")
    );
}

fn parse_seeds(text: &str) -> Vec<u64> {
    let parse = |number: &str| number.parse().expect("POWERLOSS_SEED is 7 or 100..200");
    match text.split_once("..") {
        Some((first, end)) => (parse(first)..parse(end)).collect(),
        None => vec![parse(text)],
    }
}

/// Adds the disk's last operations to an error.
pub fn with_trace(disk: &Disk, result: Result<(), String>) -> Result<(), String> {
    result.map_err(|error| format!("{error}\n--- last operations\n{}", disk.state().trace()))
}

/// Starts a hub that must come up, publishes, and kills it; a stop of the disk ends this sooner.
pub fn run_until_stopped(
    disk: &Disk,
    flags: &[&str],
    (load, harm): (Load, Harm),
    ledger: &mut Ledger,
) -> Result<(), String> {
    let (mut hub, started) = Hub::start(disk, flags);
    let result = match started {
        Started::Listening => check_and_publish(disk, &mut hub, (load, harm), ledger),
        Started::Stopped => Ok(()),
        Started::Exited if disk.state().failed_syncs > 0 => Ok(()),
        failed => Err(format!("the hub does not start ({failed:?})")),
    };
    let result = result.map_err(|error| format!("{error}\n--- log\n{}", hub.log()));
    let result = with_trace(disk, result);
    hub.kill(disk);
    for event in hub.take_seen() {
        ledger.record_id(&event.id, &event.data)?;
    }
    result
}

fn check_and_publish(
    disk: &Disk,
    hub: &mut Hub,
    (load, harm): (Load, Harm),
    ledger: &mut Ledger,
) -> Result<(), String> {
    // A hub whose disk stops is killed and answers nothing; the next start is checked instead.
    match ledger.check(&hub.client(), harm) {
        Err(error) if !disk.has_stopped() => return Err(error),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    publish(hub, load, ledger)
}

/// Starts a hub on a disk without faults, checks that nothing is missing, and publishes a little.
pub fn recover(disk: &Disk, flags: &[&str], harm: Harm, ledger: &mut Ledger) -> Result<(), String> {
    disk.resume(Faults::default());
    let load = Load { publishers: 1, events: 2, padding: 10, padded: 3 };
    run_until_stopped(disk, flags, (load, harm), ledger)
}

/// Runs a hub until the disk stops with a large write in its write-ahead file that is not synced.
pub fn stop_in_commit(disk: &Disk, commits: u64, ledger: &mut Ledger) -> Result<(), String> {
    let stop_before = Some((Operation::Sync, "/0.jnl", STARTS_SYNCS + commits));
    disk.resume(Faults { stop_before, ..Faults::default() });
    let load = Load { publishers: 1, events: commits + 3, padding: 9000, padded: 1 };
    run_until_stopped(disk, &[], (load, Harm::None), ledger)?;
    if !disk.has_stopped() {
        return Err("the disk did not stop in a commit".to_owned());
    }
    Ok(())
}

/// Returns the directories on the disk that contain copies of damaged ends of files.
pub fn damaged_folders(disk: &Disk) -> Vec<String> {
    let paths = disk.paths().into_iter();
    paths
        .filter(|path| path.starts_with("data/damaged-") && path.matches('/').count() == 1)
        .collect()
}
