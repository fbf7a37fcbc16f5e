//! Tickets and revocations across a power loss, and damage to their files.

use crate::access::{ADMIN, Settings, make_ticket, old_key, post, read_with_key, read_with_ticket};
use crate::disk::{Disk, inode_of, is_available};
use crate::faults::Faults;
use crate::hub::{Hub, Started};
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::scenario::{run_seeds, seeds};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// Keys that are revoked.
const REVOKED: u64 = 3;

/// Runs a hub that makes a ticket and revokes keys, then cuts the power; returns the ticket.
fn make_credentials(
    disk: &Disk,
    settings: &Settings,
    unsynced: Unsynced,
    seed: u64,
) -> Result<String, String> {
    disk.resume(Faults::default());
    let mut hub = settings.start(disk)?;
    let admin = hub.client().with_credential(ADMIN);
    let result = make_ticket(&hub).and_then(|ticket| {
        for key in (0..REVOKED).map(old_key) {
            post(&admin, "/revocations", &json!({ "key": key }))?;
        }
        Ok(ticket)
    });
    hub.kill(disk);
    disk.lose_power(unsynced, seed);
    result
}

/// Checks that the ticket is valid and that exactly the revoked keys are refused.
fn check_credentials(hub: &Hub, ticket: &str) -> Result<(), String> {
    for n in 0..5 {
        let status = read_with_key(hub, &old_key(n));
        let expected = if n < REVOKED { 401 } else { 200 };
        if status != Some(expected) {
            return Err(format!("the key {} gets {status:?}, not {expected}", old_key(n)));
        }
    }
    match read_with_ticket(hub, ticket) {
        Some(200) => Ok(()),
        status => Err(format!("a ticket gets {status:?} after a power loss")),
    }
}

fn keep_credentials(journaling: Journaling, seed: u64) -> Result<(), String> {
    let disk = Disk::mount(journaling);
    let settings = Settings::write();
    let unsynced = if seed.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Chosen };
    let ticket = make_credentials(&disk, &settings, unsynced, seed)?;
    disk.resume(Faults::default());
    let mut hub = settings.start(&disk)?;
    let result = check_credentials(&hub, &ticket);
    hub.kill(&disk);
    result
}

#[test]
fn tickets_and_revocations_survive_a_power_loss() {
    if is_available() {
        let scenario = "tickets_and_revocations_survive_a_power_loss";
        run_seeds(scenario, seeds(4, 200), |seed| keep_credentials(Journaling::Ordered, seed));
    }
}

#[test]
fn tickets_and_revocations_survive_a_power_loss_of_a_strict_disk() {
    if is_available() {
        let scenario = "tickets_and_revocations_survive_a_power_loss_of_a_strict_disk";
        run_seeds(scenario, seeds(4, 200), |seed| keep_credentials(Journaling::Strict, seed));
    }
}

/// Flips a bit of `name` and expects the next start to name the file, in its log or on `/readyz`.
fn flip_credentials(name: &str, seed: u64) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = Disk::mount(Journaling::Ordered);
    let settings = Settings::write();
    // `tickets.key` is always on the medium, because another scenario covers its loss.
    make_credentials(&disk, &settings, Unsynced::Kept, seed)?;
    let path = format!("data/{name}");
    {
        let mut state = disk.state();
        let inode = inode_of(&state.medium, &path).ok_or_else(|| format!("there is no {path}"))?;
        let size = state.medium.file(inode).map_or(0, |file| file.stable.size());
        if size == 0 {
            return Err(format!("{path} is empty"));
        }
        state.medium.flip_bit(inode, random.random_range(0..size), random.random());
    }
    disk.resume(Faults::default());
    let flags = settings.flags();
    let (mut hub, started) = Hub::start(&disk, &[&flags[0], &flags[1]]);
    let ready = match started {
        Started::Listening => hub.client().get("/readyz").map(|(_, text)| text),
        _ => None,
    };
    let revoked = (0..REVOKED).filter(|_| started == Started::Listening);
    let accepted: Vec<_> =
        revoked.filter(|n| read_with_key(&hub, &old_key(*n)) == Some(200)).map(old_key).collect();
    hub.kill(&disk);
    let output = [hub.log(), ready.unwrap_or_default()].concat();
    if output.contains(name) {
        return Ok(());
    }
    Err(format!(
        "damage to {name} is not told ({started:?}); let in: {accepted:?}\n--- told\n{output}"
    ))
}

#[test]
fn a_flipped_bit_in_the_revocations_is_not_silent() {
    if is_available() {
        let scenario = "a_flipped_bit_in_the_revocations_is_not_silent";
        run_seeds(scenario, seeds(24, 500), |seed| flip_credentials("revocations", seed));
    }
}

#[test]
fn a_flipped_bit_in_the_key_of_tickets_is_not_silent() {
    if is_available() {
        let scenario = "a_flipped_bit_in_the_key_of_tickets_is_not_silent";
        run_seeds(scenario, seeds(4, 200), |seed| flip_credentials("tickets.key", seed));
    }
}

/// Without this, the scenarios of damage would prove nothing.
#[test]
fn a_start_without_damage_names_no_file_of_credentials() {
    if !is_available() {
        return;
    }
    let disk = Disk::mount(Journaling::Ordered);
    let settings = Settings::write();
    let ticket = make_credentials(&disk, &settings, Unsynced::Kept, 0).unwrap();
    disk.resume(Faults::default());
    let mut hub = settings.start(&disk).unwrap();
    check_credentials(&hub, &ticket).unwrap();
    hub.kill(&disk);
    let log = hub.log();
    assert!(!log.contains("revocations") && !log.contains("tickets.key"), "{log}");
}
