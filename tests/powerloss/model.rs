//! Tests of the simulated file system through the kernel: what it keeps and what it loses.

use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::loss::Unsynced;
use crate::medium::Journaling;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

fn mount(journaling: Journaling) -> Option<(Disk, PathBuf)> {
    let disk = is_available().then(|| Disk::mount(journaling))?;
    fs::create_dir(disk.data()).unwrap();
    sync_folder(disk.data().parent().unwrap());
    let data = disk.data();
    Some((disk, data))
}

fn sync_folder(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn synced_data_and_entries_survive_and_others_do_not() {
    let Some((disk, data)) = mount(Journaling::Strict) else { return };
    let mut file = File::create(data.join("kept")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_data().unwrap();
    sync_folder(&data);
    file.write_all(b", not synced").unwrap();
    let unnamed = File::create(data.join("unnamed")).unwrap();
    unnamed.sync_all().unwrap();
    assert_eq!(fs::read(data.join("kept")).unwrap(), b"synced, not synced");
    drop((file, unnamed));
    disk.lose_power(Unsynced::Lost, 0);
    assert_eq!(fs::read(data.join("kept")).unwrap(), b"synced");
    assert!(!data.join("unnamed").exists(), "its directory was not synced");
}

#[test]
fn in_an_ordered_journal_the_sync_of_a_new_file_also_keeps_its_entry() {
    let Some((disk, data)) = mount(Journaling::Ordered) else { return };
    fs::create_dir(data.join("folder")).unwrap();
    File::create(data.join("folder/new")).unwrap().sync_all().unwrap();
    fs::rename(data.join("folder/new"), data.join("renamed")).unwrap();
    disk.lose_power(Unsynced::Lost, 0);
    assert!(data.join("folder/new").exists(), "the rename was not synced");
    assert!(!data.join("renamed").exists());
}

#[test]
fn a_replaced_and_a_removed_file_reappear_unless_the_directory_was_synced() {
    let Some((disk, data)) = mount(Journaling::Strict) else { return };
    for (name, text) in [("old", "old"), ("new", "new"), ("removed", "removed")] {
        let mut file = File::create(data.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_all().unwrap();
    }
    sync_folder(&data);
    fs::rename(data.join("new"), data.join("old")).unwrap();
    let mut removed = File::open(data.join("removed")).unwrap();
    fs::remove_file(data.join("removed")).unwrap();
    let mut text = String::new();
    removed.read_to_string(&mut text).unwrap();
    assert_eq!(text, "removed", "a file that is open stays readable");
    assert_eq!(fs::read(data.join("old")).unwrap(), b"new");
    drop(removed);
    let before = disk.snapshot();
    disk.lose_power(Unsynced::Lost, 0);
    assert_eq!(fs::read(data.join("old")).unwrap(), b"old");
    assert_eq!(fs::read(data.join("removed")).unwrap(), b"removed");
    disk.restore(&before);
    sync_folder(&data);
    disk.lose_power(Unsynced::Lost, 0);
    assert_eq!(fs::read(data.join("old")).unwrap(), b"new");
    assert!(!data.join("removed").exists() && !data.join("new").exists());
}

#[test]
fn data_of_a_failed_sync_is_visible_but_not_on_the_medium() {
    let Some((disk, data)) = mount(Journaling::Ordered) else { return };
    let mut file = File::create(data.join("file")).unwrap();
    file.sync_all().unwrap();
    disk.resume(Faults { fail_sync_at: Some(1), ..Faults::default() });
    file.write_all(&[1; 8192]).unwrap();
    assert!(file.sync_all().is_err());
    file.sync_all().unwrap();
    file.write_all_at(&[2; 10], 4096).unwrap();
    file.sync_data().unwrap();
    let visible = fs::read(data.join("file")).unwrap();
    assert_eq!((visible.len(), visible[0], visible[4096], visible[4200]), (8192, 1, 2, 1));
    drop(file);
    disk.lose_power(Unsynced::Lost, 0);
    let stored = fs::read(data.join("file")).unwrap();
    assert_eq!((stored.len(), stored[0]), (8192, 0), "the first page was never written");
    assert_eq!((stored[4096], stored[4200]), (2, 1), "the second one was rewritten as a whole");
}

#[test]
fn appends_holes_truncations_and_a_full_disk_behave_as_on_a_real_disk() {
    let Some((disk, data)) = mount(Journaling::Ordered) else { return };
    let path = data.join("file");
    for text in ["one", "two"] {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), b"onetwo");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4).unwrap();
    file.set_len(10_000).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((&bytes[..6], bytes.len()), (&b"onet\0\0"[..], 10_000));
    assert_eq!(disk.snapshot().allocated(), 4096, "a hole takes no room");
    disk.resume(Faults { capacity_bytes: Some(8192), ..Faults::default() });
    file.write_all_at(b"fits", 4096).unwrap();
    let full = file.write_all_at(b"does not", 8192).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let stat = rustix::fs::statvfs(&data).unwrap();
    assert_eq!(stat.f_bavail, 0);
}

#[test]
fn a_torn_write_has_whole_sectors_of_the_old_and_the_new() {
    let Some((disk, data)) = mount(Journaling::Ordered) else { return };
    let file = File::create(data.join("file")).unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&[2; 8192], 0).unwrap();
    drop(file);
    let before = disk.snapshot();
    let mut torn = 0;
    for seed in 0..30 {
        disk.restore(&before);
        disk.lose_power(Unsynced::Chosen, seed);
        let bytes = fs::read(data.join("file")).unwrap();
        let sectors = bytes.chunks(512);
        assert!(sectors.clone().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let new = sectors.filter(|sector| sector[0] == 2).count();
        torn += usize::from((1..16).contains(&new));
    }
    assert!((1..30).contains(&torn), "{torn} of 30 are torn");
}
