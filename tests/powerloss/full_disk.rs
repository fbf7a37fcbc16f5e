//! Full disks: nothing acknowledged is lost, and the hub recovers once there is space.

use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::hub::{Hub, Started};
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds};

const FLAGS: [&str; 2] = ["--min-free-bytes", "0"];
const LOAD: Load = Load { publishers: 2, events: 40, padding: 60_000, padded: 3 };

fn fill(disk: &Disk, seed: u64, ledger: &mut Ledger) -> Result<(), String> {
    let capacity_bytes = Some((200 + 37 * seed) << 10);
    disk.resume(Faults { capacity_bytes, ..Faults::default() });
    run_until_stopped(disk, &FLAGS, (LOAD, Harm::None), ledger)
}

#[test]
fn a_disk_that_fills_up_loses_nothing_acknowledged() {
    if !is_available() {
        return;
    }
    let scenario = "a_disk_that_fills_up_loses_nothing_acknowledged";
    run_seeds(scenario, seeds(6, 500), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        fill(&disk, seed, &mut ledger)?;
        match seed % 3 {
            0 => {}
            1 => disk.lose_power(Unsynced::Lost, seed),
            _ => disk.lose_power(Unsynced::Chosen, seed),
        }
        recover(&disk, &FLAGS, Harm::None, &mut ledger)
    });
}

#[test]
fn a_hub_on_a_full_disk_starts_or_logs_why_not() {
    if !is_available() {
        return;
    }
    let scenario = "a_hub_on_a_full_disk_starts_or_logs_why_not";
    run_seeds(scenario, seeds(4, 200), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        fill(&disk, seed, &mut ledger)?;
        let capacity_bytes = Some(disk.snapshot().allocated());
        disk.resume(Faults { capacity_bytes, ..Faults::default() });
        let (mut hub, started) = Hub::start(&disk, &FLAGS);
        let result = match started {
            Started::Listening => ledger.check_reads(&hub.client(), Harm::None),
            Started::Exited if hub.log().contains("space") => Ok(()),
            failed => Err(format!("the hub does not start ({failed:?})")),
        };
        let result = result.map_err(|error| format!("{error}\n--- log\n{}", hub.log()));
        hub.kill(&disk);
        result?;
        recover(&disk, &FLAGS, Harm::None, &mut ledger)
    });
}

/// The disk is full before the creation; once there is space, the hub starts as on an empty disk.
#[test]
fn a_creation_on_a_full_disk_is_completed_once_there_is_space() {
    if !is_available() {
        return;
    }
    let scenario = "a_creation_on_a_full_disk_is_completed_once_there_is_space";
    run_seeds(scenario, seeds(12, 60), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        disk.resume(Faults { capacity_bytes: Some(seed * 4096), ..Faults::default() });
        let (mut hub, _) = Hub::start(&disk, &FLAGS);
        hub.kill(&disk);
        recover(&disk, &FLAGS, Harm::None, &mut ledger)
    });
}
