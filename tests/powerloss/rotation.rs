//! Enough data for flushes, compactions and a second write-ahead file.

use crate::disk::{Disk, is_available};
use crate::faults::{Faults, Operation};
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds};

/// More than fjall writes to one file.
const LOAD: Load = Load { publishers: 4, events: 90, padding: 240_000, padded: 1 };

/// Operations around a flush and around the change to a new write-ahead file.
const MOMENTS: [(Operation, &str, u64); 8] = [
    (Operation::Sync, "/0.jnl", 40),
    (Operation::Create, ".jnl", 2),
    (Operation::Truncate, "to 67108864", 2),
    (Operation::Sync, "/1.jnl", 1),
    (Operation::Sync, "/1.jnl", 3),
    (Operation::Rename, "to current", 4),
    (Operation::SyncFolder, "/tables", 2),
    (Operation::Unlink, ".jnl", 1),
];

#[test]
fn a_power_loss_around_a_flush_loses_nothing_acknowledged() {
    if !is_available() {
        return;
    }
    let scenario = "a_power_loss_around_a_flush_loses_nothing_acknowledged";
    run_seeds(scenario, seeds(MOMENTS.len() as u64, 200), |seed| {
        let moment = MOMENTS[seed as usize % MOMENTS.len()];
        let is_strict = seed as usize / MOMENTS.len() % 2 == 1;
        let disk = Disk::mount(if is_strict { Journaling::Strict } else { Journaling::Ordered });
        let mut ledger = Ledger::default();
        disk.resume(Faults { stop_before: Some(moment), ..Faults::default() });
        run_until_stopped(&disk, &[], (LOAD, Harm::None), &mut ledger)?;
        if !disk.has_stopped() {
            return Err(format!("{moment:?} does not come with this load"));
        }
        disk.lose_power(Unsynced::Chosen, seed);
        recover(&disk, &[], Harm::None, &mut ledger)
    });
}
