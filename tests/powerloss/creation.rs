//! The creation of a data directory, stopped at every single operation.

use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{is_full, recover, run_seeds, run_until_stopped};

const LOAD: Load = Load { publishers: 1, events: 3, padding: 0, padded: 3 };

/// Returns the number of operations that a creation and a few publishes take.
fn count_operations(disk: &Disk) -> u64 {
    disk.format();
    disk.resume(Faults::default());
    run_until_stopped(disk, &[], (LOAD, Harm::None), &mut Ledger::default()).unwrap();
    disk.state().operations
}

/// Stops the creation at operation `seed / 100`; the remainder determines how much of it remains.
fn stop_creation(journaling: Journaling, scenario: &str) {
    if !is_available() {
        return;
    }
    let disk = Disk::mount(journaling);
    let operations = count_operations(&disk);
    let fates = if is_full() { 40 } else { 2 };
    // A kill leaves what readers see on either kind of disk, so that one of them suffices for it.
    let first = u64::from(journaling == Journaling::Strict);
    let seeds = (1..=operations).flat_map(|stop| (first..fates).map(move |fate| stop * 100 + fate));
    run_seeds(scenario, seeds, |seed| {
        disk.format();
        disk.resume(Faults { stop_at: Some(seed / 100), ..Faults::default() });
        let mut ledger = Ledger::default();
        run_until_stopped(&disk, &[], (LOAD, Harm::None), &mut ledger)?;
        match seed % 100 {
            0 => {}
            fate => disk.lose_power(choose_fate(fate), seed),
        }
        recover(&disk, &[], Harm::None, &mut ledger)
    });
}

fn choose_fate(fate: u64) -> Unsynced {
    match fate {
        2 => Unsynced::Lost,
        3 => Unsynced::Kept,
        _ => Unsynced::Chosen,
    }
}

#[test]
fn a_creation_stopped_at_any_operation_is_completed_by_the_next_start() {
    stop_creation(
        Journaling::Ordered,
        "a_creation_stopped_at_any_operation_is_completed_by_the_next_start",
    );
}

#[test]
fn a_creation_stopped_at_any_operation_is_completed_on_a_strict_disk() {
    stop_creation(
        Journaling::Strict,
        "a_creation_stopped_at_any_operation_is_completed_on_a_strict_disk",
    );
}
