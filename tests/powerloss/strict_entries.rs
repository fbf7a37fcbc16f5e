//! A disk on which a directory entry is durable only once its directory was synced.

use crate::disk::{Disk, inode_of, is_available};
use crate::faults::Faults;
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds};

/// Names that must survive a power loss right after an acknowledged publish.
const NAMES: [&str; 7] = [
    "data",
    "data/FORMAT",
    "data/HEAD",
    "data/revocations",
    "data/tickets.key",
    "data/journal",
    "data/journal/keyspaces",
];

#[test]
fn the_first_acknowledged_event_survives_with_all_files_it_needs() {
    if !is_available() {
        return;
    }
    let scenario = "the_first_acknowledged_event_survives_with_all_files_it_needs";
    run_seeds(scenario, seeds(4, 200), |seed| {
        let disk = Disk::mount(Journaling::Strict);
        let mut ledger = Ledger::default();
        disk.resume(Faults::default());
        let load = Load { publishers: 1, events: 1 + seed, padding: 0, padded: 3 };
        run_until_stopped(&disk, &[], (load, Harm::None), &mut ledger)?;
        disk.lose_power(Unsynced::Lost, seed);
        let medium = disk.snapshot();
        let lost = NAMES.iter().filter(|name| inode_of(&medium, name).is_none());
        let lost: Vec<_> = lost.collect();
        recover(&disk, &[], Harm::None, &mut ledger)
            .map_err(|error| format!("{error}\n--- names that are lost\n{lost:?}"))?;
        match lost.as_slice() {
            [] => Ok(()),
            lost => Err(format!("entries were never synced: {lost:?}")),
        }
    });
}

#[test]
fn each_restart_on_a_strict_disk_keeps_what_was_acknowledged() {
    if !is_available() {
        return;
    }
    let scenario = "each_restart_on_a_strict_disk_keeps_what_was_acknowledged";
    run_seeds(scenario, seeds(2, 100), |seed| {
        let disk = Disk::mount(Journaling::Strict);
        let mut ledger = Ledger::default();
        for start in 0..4 {
            disk.resume(Faults::default());
            let load = Load { publishers: 1 + seed % 3, events: 3, padding: 3000, padded: 3 };
            run_until_stopped(&disk, &[], (load, Harm::None), &mut ledger)
                .map_err(|error| format!("start {start}: {error}"))?;
            // After the second start, only the process is killed.
            if start != 1 {
                disk.lose_power(Unsynced::Lost, seed);
            }
        }
        recover(&disk, &[], Harm::None, &mut ledger)
    });
}
