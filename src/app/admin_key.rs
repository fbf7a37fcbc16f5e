//! The admin key that a hub makes for itself.
//!
//! A hub that other machines reach, without configured keys and tokens, would be useless or open to
//! everybody. It makes a key, prints it once, and stores its hash beside the journal.

use crate::access::{ApiKey, Grants, hash_of, new_secret};
use crate::disk::replace_file;
use anyhow::Context as _;
use std::io;
use std::path::Path;

/// File in the data directory.
pub(super) const FILE: &str = "admin-key.sha256";
/// Name of the key.
const NAME: &str = "admin";

/// An admin key.
pub(super) struct AdminKey {
    pub key: ApiKey,
    /// Secret of a key that is new; nothing stores it.
    pub secret: Option<String>,
}

/// Opens the key whose hash is in `file`, or makes one. Without a file every start makes one.
pub(super) fn open(file: Option<&Path>) -> anyhow::Result<AdminKey> {
    let stored = file.map(std::fs::read_to_string);
    let file_name = file.unwrap_or_else(|| Path::new(FILE)).display();
    match stored {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Some(hash) => {
            let hash = hash.with_context(|| format!("cannot read {file_name}"))?;
            let key = ApiKey::new(NAME, hash.trim(), Grants::all()).with_context(|| {
                format!("{file_name} is damaged; delete it to make a new admin key")
            })?;
            return Ok(AdminKey { key, secret: None });
        }
        None => {}
    }
    let secret = new_secret();
    let hash = hash_of(&secret);
    if let Some(file) = file {
        let written = replace_file(file, format!("{hash}\n").as_bytes());
        written.with_context(|| format!("cannot write {file_name}"))?;
    }
    Ok(AdminKey { key: ApiKey::new(NAME, &hash, Grants::all())?, secret: Some(secret) })
}
