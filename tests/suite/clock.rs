//! A hub whose wall clock jumps while it runs, and whose monotonic clock does not (libfaketime).

use crate::hub::Hub;
use std::path::Path;

/// Returns the path of the library in a Debian system.
pub fn libfaketime() -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.exists());
    library.expect("libfaketime is missing: apt-get install faketime").display().to_string()
}

/// Moves the clock. Replaces the file atomically, because the hub may read it at any time.
fn move_clock(file: &Path, offset: &str) {
    let new_file = file.with_extension("new");
    std::fs::write(&new_file, format!("{offset}\n")).unwrap();
    std::fs::rename(&new_file, file).unwrap();
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn retention_by_age_waits_when_the_clock_jumps_forward() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    move_clock(&clock, "+0");
    let variables = [
        ("LD_PRELOAD", libfaketime()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let hub = Hub::with_variables(&variables, &["--max-age", "1h"]).await;
    let jump = "fanfare_journal_clock_jump_seconds";
    let first = hub.publish_id("s", "before").await;
    assert_eq!(hub.metric(jump).await, 0.0);

    // A jump of a day, with a retention of an hour.
    move_clock(&clock, "+24h");
    hub.wait_for_metric(jump, |seconds| seconds > 86_000.0).await;
    hub.publish("s", "while it is wrong").await;
    move_clock(&clock, "+0");
    hub.wait_for_metric(jump, |seconds| seconds == 0.0).await;
    hub.publish("s", "after").await;

    let start = first.replace(first.rsplit('-').next().unwrap(), "0000000000000000");
    let mut reader = hub.resume("/streams/s/events", &start).await;
    let remaining: Vec<_> = reader.take(3).await.into_iter().map(|event| event.data).collect();
    assert_eq!(remaining, ["before", "while it is wrong", "after"]);
    hub.wait_for_log("jumped forward", 1).await;
    hub.wait_for_log("set back", 1).await;
}
