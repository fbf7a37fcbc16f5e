//! Failed syncs: readers still see data that is not on the medium and will not be written again.

use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds};

/// Each batch has a separate page, which no later append rewrites.
const LOAD: Load = Load { publishers: 1, events: 16, padding: 9000, padded: 1 };

/// Runs a hub whose n-th sync of `file` fails, then one without faults, and cuts the power.
fn fail_sync(seed: u64, (file, count): (&'static str, u64)) -> Result<(), String> {
    let disk = Disk::mount(Journaling::Ordered);
    let mut ledger = Ledger::default();
    let fail_sync_at = Some(count);
    disk.resume(Faults { fail_sync_at, fail_sync_of: file, ..Faults::default() });
    run_until_stopped(&disk, &[], (LOAD, Harm::None), &mut ledger)?;
    disk.resume(Faults::default());
    run_until_stopped(&disk, &[], (Load::SMALL, Harm::None), &mut ledger)
        .map_err(|error| format!("at the restart: {error}"))?;
    disk.lose_power(if seed.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Chosen }, seed);
    recover(&disk, &[], Harm::None, &mut ledger)
        .map_err(|error| format!("after the power loss: {error}"))
}

#[test]
fn after_a_failed_sync_of_the_write_ahead_file_nothing_acknowledged_later_is_lost() {
    if is_available() {
        let scenario =
            "after_a_failed_sync_of_the_write_ahead_file_nothing_acknowledged_later_is_lost";
        // The first syncs are those of the creation.
        run_seeds(scenario, seeds(12, 400), |seed| fail_sync(seed, (".jnl", 1 + seed % 14)));
    }
}

#[test]
fn after_a_failed_sync_of_any_file_nothing_acknowledged_later_is_lost() {
    if is_available() {
        let scenario = "after_a_failed_sync_of_any_file_nothing_acknowledged_later_is_lost";
        run_seeds(scenario, seeds(40, 800), |seed| fail_sync(seed, ("", 1 + seed % 50)));
    }
}
