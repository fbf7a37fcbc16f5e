//! Chains of kills and power losses, each at a random operation.

use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The flags of a durability mode, and the harm that it allows.
type Mode = (&'static [&'static str], Harm);
const SYNC: Mode = (&[], Harm::None);
const OS: Mode = (&["--durability", "os"], Harm::Unsynced);

/// Approximate number of operations of a start and a small load.
const OPERATIONS: u64 = 160;
const LINKS: u64 = 5;

fn run_chain(journaling: Journaling, (flags, harm): Mode, seed: u64) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = Disk::mount(journaling);
    let mut ledger = Ledger::default();
    for link in 0..LINKS {
        let stop_at = Some(random.random_range(1..OPERATIONS));
        disk.resume(Faults { stop_at, ..Faults::default() });
        run_until_stopped(&disk, flags, (Load::SMALL, harm), &mut ledger)
            .map_err(|error| format!("link {link}: {error}"))?;
        if random.random_bool(0.7) {
            disk.lose_power(Unsynced::Chosen, random.random());
        }
    }
    recover(&disk, flags, harm, &mut ledger).map_err(|error| format!("at the end: {error}"))
}

#[test]
fn nothing_acknowledged_is_lost_over_chains_of_power_losses() {
    if is_available() {
        let scenario = "nothing_acknowledged_is_lost_over_chains_of_power_losses";
        run_seeds(scenario, seeds(12, 1_000), |seed| run_chain(Journaling::Ordered, SYNC, seed));
    }
}

#[test]
fn nothing_acknowledged_is_lost_over_chains_of_power_losses_of_a_strict_disk() {
    if is_available() {
        let scenario = "nothing_acknowledged_is_lost_over_chains_of_power_losses_of_a_strict_disk";
        run_seeds(scenario, seeds(12, 1_000), |seed| run_chain(Journaling::Strict, SYNC, seed));
    }
}

#[test]
fn without_syncs_no_id_names_two_events_over_chains_of_power_losses() {
    if is_available() {
        let scenario = "without_syncs_no_id_names_two_events_over_chains_of_power_losses";
        run_seeds(scenario, seeds(8, 700), |seed| run_chain(Journaling::Ordered, OS, seed));
    }
}
