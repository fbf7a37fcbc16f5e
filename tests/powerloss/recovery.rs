//! Recovery after a power loss: its interruption, and what it leaves behind.

use crate::bit_flips::destroy_block;
use crate::disk::{Disk, inode_of, is_available};
use crate::faults::Faults;
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::{Journaling, Medium};
use crate::publishers::Load;
use crate::scenario::{
    damaged_folders, is_full, recover, run_seeds, run_until_stopped, seeds, stop_in_commit,
};
use std::process::Command;

const LOAD: Load = Load { publishers: 1, events: 1, padding: 0, padded: 3 };

/// Bytes of the write-ahead file that are on the medium.
fn wal_bytes(disk: &Disk) -> u64 {
    let medium = disk.snapshot();
    let file = inode_of(&medium, "data/journal/0.jnl").and_then(|inode| medium.file(inode));
    file.map_or(0, |file| file.stable.used())
}

/// Returns a disk after a power loss in the middle of a commit, with its ledger.
fn tear_commit(disk: &Disk) -> (Medium, Ledger) {
    let mut ledger = Ledger::default();
    stop_in_commit(disk, 6, &mut ledger).unwrap();
    disk.lose_power(Unsynced::Torn, 0);
    (disk.snapshot(), ledger)
}

/// Stops a recovery at operation `seed / 100`; the remainder determines how much of it remains.
fn stop_recovery(journaling: Journaling, scenario: &str) {
    if !is_available() {
        return;
    }
    let disk = Disk::mount(journaling);
    let (torn, known_ledger) = match journaling {
        Journaling::Ordered => tear_commit(&disk),
        // Another scenario covers what a strict disk loses of a creation.
        Journaling::Strict => {
            let (mut medium, ledger) = tear_commit(&Disk::mount(Journaling::Ordered));
            medium.journaling = Journaling::Strict;
            (medium, ledger)
        }
    };
    let stop = |ledger: &mut Ledger, stop_at| {
        disk.restore(&torn);
        disk.resume(Faults { stop_at, ..Faults::default() });
        run_until_stopped(&disk, &[], (LOAD, Harm::None), ledger)
    };
    stop(&mut known_ledger.clone(), None).unwrap();
    let operations = disk.state().operations;
    let fates = if is_full() { 40 } else { 2 };
    let seeds = (1..=operations).flat_map(|stop| (0..fates).map(move |fate| stop * 100 + fate));
    run_seeds(scenario, seeds, |seed| {
        let mut ledger = known_ledger.clone();
        stop(&mut ledger, Some(seed / 100))?;
        if seed % 100 > 0 {
            disk.lose_power(Unsynced::Chosen, seed);
        }
        recover(&disk, &[], Harm::None, &mut ledger)?;
        match damaged_folders(&disk) {
            remaining if remaining.is_empty() => Ok(()),
            remaining => Err(format!("an interrupted recovery leaves {remaining:?}")),
        }
    });
}

#[test]
fn a_recovery_stopped_at_any_operation_is_completed_by_the_next_start() {
    stop_recovery(
        Journaling::Ordered,
        "a_recovery_stopped_at_any_operation_is_completed_by_the_next_start",
    );
}

#[test]
fn a_recovery_stopped_at_any_operation_is_completed_on_a_strict_disk() {
    stop_recovery(
        Journaling::Strict,
        "a_recovery_stopped_at_any_operation_is_completed_on_a_strict_disk",
    );
}

/// A recovery from damage copies the damaged end, records the loss and cuts the file. Wherever it
/// stops, the next start completes it: the loss is reported, with one copy of the damaged end.
#[test]
fn a_recovery_from_damage_stopped_at_any_operation_still_reports_the_loss() {
    if !is_available() {
        return;
    }
    let scenario = "a_recovery_from_damage_stopped_at_any_operation_still_reports_the_loss";
    let (disk, known_ledger) = destroy_block(1, true).unwrap();
    let damaged = disk.snapshot();
    let stop = |ledger: &mut Ledger, stop_at| {
        disk.restore(&damaged);
        disk.resume(Faults { stop_at, ..Faults::default() });
        run_until_stopped(&disk, &[], (LOAD, Harm::Damage), ledger)
    };
    stop(&mut known_ledger.clone(), None).unwrap();
    assert_eq!(damaged_folders(&disk).len(), 1, "the damaged end is copied");
    let operations = disk.state().operations;
    let fates = if is_full() { 20 } else { 1 };
    let seeds = (1..=operations)
        .flat_map(|stop| (0..fates).map(move |fate| stop * 100 + (stop + fate) % 20));
    run_seeds(scenario, seeds, |seed| {
        let mut ledger = known_ledger.clone();
        stop(&mut ledger, Some(seed / 100))?;
        if seed % 2 > 0 {
            disk.lose_power(Unsynced::Chosen, seed);
        }
        recover(&disk, &[], Harm::Damage, &mut ledger)?;
        match damaged_folders(&disk) {
            copies if copies.len() == 1 => Ok(()),
            copies => Err(format!("the damaged end was copied to {copies:?}")),
        }
    });
}

/// The next start shows an event whose acknowledgement a kill prevented. The event must then stay.
#[test]
fn events_read_after_a_kill_survive_a_power_loss() {
    if !is_available() {
        return;
    }
    let scenario = "events_read_after_a_kill_survive_a_power_loss";
    run_seeds(scenario, seeds(4, 200), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        stop_in_commit(&disk, 1 + seed, &mut ledger)?;
        disk.resume(Faults::default());
        // A hub that only shows the events that it found, without new publishes.
        let no_load = Load { publishers: 0, events: 0, padding: 0, padded: 3 };
        run_until_stopped(&disk, &[], (no_load, Harm::None), &mut ledger)?;
        disk.lose_power(
            if seed.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Chosen },
            seed,
        );
        recover(&disk, &[], Harm::None, &mut ledger)
    });
}

#[test]
fn a_check_of_a_journal_with_a_torn_write_succeeds_with_a_remark() {
    if !is_available() {
        return;
    }
    let scenario = "a_check_of_a_journal_with_a_torn_write_succeeds_with_a_remark";
    run_seeds(scenario, seeds(3, 100), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        stop_in_commit(&disk, 1 + seed, &mut ledger)?;
        let synced = wal_bytes(&disk);
        disk.lose_power(Unsynced::Torn, seed);
        let is_torn = wal_bytes(&disk) > synced;
        disk.resume(Faults::default());
        let check = Command::new(crate::hub::program())
            .args(["journal", "check", "--data-dir"])
            .arg(disk.data())
            .output()
            .unwrap();
        let output = [check.stdout, check.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        if !check.status.success() {
            return Err(format!("the check ends with {}: {output}", check.status));
        }
        if is_torn && !output.contains(".jnl") {
            return Err(format!("the check has no remark about the torn write: {output}"));
        }
        recover(&disk, &[], Harm::None, &mut ledger)
    });
}
