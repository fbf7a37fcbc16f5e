//! Configuration files.

#![no_main]

use fanfare_fuzz::laws::settings;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

fuzz_target!(|text: &str| settings::file(FOLDER.path(), text));
