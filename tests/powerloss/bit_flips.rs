//! Damage to data that was synced within the last second before a power loss.

use crate::disk::{Disk, inode_of, is_available};
use crate::faults::Faults;
use crate::hub::{Hub, Started};
use crate::ledger::{Harm, Ledger};
use crate::loss::Unsynced;
use crate::medium::{Change, Journaling, Medium};
use crate::publishers::Load;
use crate::scenario::{recover, run_seeds, run_until_stopped, seeds, stop_in_commit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const WAL: &str = "data/journal/0.jnl";
const LOAD: Load = Load { publishers: 2, events: 8, padding: 1500, padded: 3 };
/// Approximate size of the last batches in bytes.
const LAST_BATCHES: u64 = 500;

/// Recovers twice: the loss must be reported once, and everything that is left must stay.
fn recover_from_damage(disk: &Disk, ledger: &mut Ledger) -> Result<(), String> {
    recover(disk, &[], Harm::Damage, ledger)?;
    disk.lose_power(Unsynced::Lost, 0);
    recover(disk, &[], Harm::None, ledger).map_err(|error| format!("at the second start: {error}"))
}

fn wal_of(medium: &Medium) -> Result<u64, String> {
    inode_of(medium, WAL).ok_or_else(|| format!("there is no {WAL}"))
}

/// Runs a hub, cuts the power and flips one bit between `from` and the end of the written bytes.
fn flip(seed: u64, from: impl Fn(u64) -> u64) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = Disk::mount(Journaling::Ordered);
    let mut ledger = Ledger::default();
    disk.resume(Faults::default());
    run_until_stopped(&disk, &[], (LOAD, Harm::None), &mut ledger)?;
    disk.lose_power(Unsynced::Lost, seed);
    {
        let mut state = disk.state();
        let inode = wal_of(&state.medium)?;
        let used = state.medium.file(inode).map_or(0, |file| file.stable.used());
        let offset = random.random_range(from(used)..used);
        state.medium.flip_bit(inode, offset, random.random());
    }
    recover_from_damage(&disk, &mut ledger)
}

#[test]
fn a_flipped_bit_in_the_last_synced_batches_is_reported() {
    if is_available() {
        let scenario = "a_flipped_bit_in_the_last_synced_batches_is_reported";
        run_seeds(scenario, seeds(8, 700), |seed| {
            flip(seed, |used| used.saturating_sub(LAST_BATCHES))
        });
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_write_ahead_file_is_reported() {
    if is_available() {
        let scenario = "a_flipped_bit_anywhere_in_the_write_ahead_file_is_reported";
        run_seeds(scenario, seeds(8, 700), |seed| flip(seed, |_| 0));
    }
}

/// Stops a hub in a commit and destroys the block that was being written. The block also contains
/// the end of the acknowledged data.
pub fn destroy_block(seed: u64, is_noise: bool) -> Result<(Disk, Ledger), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = Disk::mount(Journaling::Ordered);
    let mut ledger = Ledger::default();
    stop_in_commit(&disk, 2 + seed % 8, &mut ledger)?;
    let inode = wal_of(&disk.snapshot())?;
    let start = first_pending_page(&disk.snapshot(), inode)?;
    disk.lose_power(Unsynced::Lost, seed);
    disk.state().medium.destroy_block(inode, start, is_noise.then_some(&mut random));
    Ok((disk, ledger))
}

#[test]
fn a_block_destroyed_by_an_unfinished_write_is_reported() {
    if is_available() {
        let scenario = "a_block_destroyed_by_an_unfinished_write_is_reported";
        run_seeds(scenario, seeds(6, 400), |seed| {
            let (disk, mut ledger) = destroy_block(seed, true)?;
            recover_from_damage(&disk, &mut ledger)
        });
    }
}

/// Zeros look like a write that was cut short, so that the last acknowledged events may be missing
/// without a report. Even so, no id names two events.
#[test]
fn a_block_zeroed_by_an_unfinished_write_gives_no_id_to_two_events() {
    if is_available() {
        let scenario = "a_block_zeroed_by_an_unfinished_write_gives_no_id_to_two_events";
        run_seeds(scenario, seeds(6, 400), |seed| {
            let (disk, mut ledger) = destroy_block(seed, false)?;
            recover(&disk, &[], Harm::Unsynced, &mut ledger)
        });
    }
}

/// Covers all files of the data directory, those of the hub and those of its store. A hub that does
/// not start must log why; one that starts shows no wrong event and reports what is missing.
#[test]
fn a_flipped_bit_in_any_file_changes_no_event_and_hides_no_loss() {
    if !is_available() {
        return;
    }
    let scenario = "a_flipped_bit_in_any_file_changes_no_event_and_hides_no_loss";
    run_seeds(scenario, seeds(16, 700), |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::mount(Journaling::Ordered);
        let mut ledger = Ledger::default();
        disk.resume(Faults::default());
        run_until_stopped(&disk, &[], (LOAD, Harm::None), &mut ledger)?;
        disk.lose_power(Unsynced::Kept, seed);
        let path = flip_any_bit(&mut disk.state().medium, &mut random);
        disk.resume(Faults::default());
        let (mut hub, started) = Hub::start(&disk, &[]);
        let result = match started {
            Started::Listening => ledger.check_reads(&hub.client(), Harm::Damage),
            Started::Exited if !hub.log().is_empty() => Ok(()),
            failed => Err(format!("the hub does not start ({failed:?})")),
        };
        hub.kill(&disk);
        result.map_err(|error| format!("{error}\n--- flipped in {path}\n--- log\n{}", hub.log()))
    });
}

/// Flips a bit of the written bytes of a file that the seed chooses, and returns its location.
fn flip_any_bit(medium: &mut Medium, random: &mut SmallRng) -> String {
    let used = |inode: u64| medium.file(inode).map_or(0, |file| file.stable.used());
    let files = medium.paths().into_iter().map(|(path, inode)| (path, inode, used(inode)));
    let files: Vec<_> = files.filter(|(_, _, used)| *used > 0).collect();
    let (path, inode, used) = files[random.random_range(0..files.len())].clone();
    let offset = random.random_range(0..used);
    medium.flip_bit(inode, offset, random.random());
    format!("{path} at {offset}")
}

fn first_pending_page(medium: &Medium, inode: u64) -> Result<u64, String> {
    let pending = medium.file(inode).into_iter().flat_map(|file| &file.pending);
    let starts = pending.filter_map(|change| match change {
        Change::Write { start, .. } => Some(*start),
        Change::Truncate(_) => None,
    });
    starts.min().ok_or_else(|| "no write was under way".to_owned())
}
