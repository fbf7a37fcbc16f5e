//! The rooms: a stage uses only stages before it, files stay small, the dangerous stays away.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order of the flow; `app`, `cli` and `main` may use all.
const ROOMS: [&str; 10] = [
    "telemetry",
    "event",
    "wire",
    "limits",
    "access",
    "journal",
    "hub",
    "source",
    "config",
    "http",
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn a_room_uses_only_the_rooms_before_it() {
    let mut uses = 0;
    for (path, text) in all_sources() {
        let room = path.iter().next().unwrap().to_str().unwrap();
        let Some(at) = ROOMS.iter().position(|r| *r == room) else { continue };
        for (other_at, other) in ROOMS.iter().enumerate() {
            if text.contains(&format!("crate::{other}::"))
                || text.contains(&format!("crate::{other};"))
            {
                uses += 1;
                assert!(other_at <= at, "{} uses {other}, which comes later", path.display());
            }
        }
        for above in ["app", "cli"] {
            assert!(!text.contains(&format!("crate::{above}")), "{} uses {above}", path.display());
        }
    }
    assert!(uses > 20, "the test looks at nothing");
}

#[test]
fn the_bench_knows_a_hub_but_from_outside() {
    for (path, text) in all_sources() {
        if path.starts_with("bench") {
            for room in ROOMS.iter().filter(|room| **room != "config") {
                assert!(
                    !text.contains(&format!("crate::{room}")),
                    "{} uses {room}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn only_the_rooms_that_may_know_of_actix_and_fjall() {
    for (path, text) in all_sources() {
        let room = path.iter().next().unwrap().to_str().unwrap();
        if ["event", "wire", "journal", "config"].contains(&room) {
            assert!(
                !text.contains("actix::") && !text.contains("actix_"),
                "{} knows actix",
                path.display()
            );
        }
        if path != Path::new("journal/kv/disk.rs") {
            assert!(!text.contains("fjall::"), "{} knows fjall", path.display());
        }
        // The command line is a client, and reads them.
        if !["http", "app.rs", "cli"].contains(&room) {
            assert!(!text.contains("StatusCode"), "{} knows statuses", path.display());
        }
    }
}

#[test]
fn files_are_one_concept_and_say_what_they_are() {
    for (path, text) in all_sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests", path.display());
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
        let head = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(path.ends_with("lib.rs") || head <= 25, "{} has a long head", path.display());
    }
    let main =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 40);
}
