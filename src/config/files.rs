//! Configuration of folders to download from.

use super::raw::Table;
use super::resolve::{Resolver, parse_directory};
use std::path::PathBuf;

impl Resolver {
    /// Returns the folders of the `[files.NAME]` tables.
    pub(super) fn folders(&mut self) -> Vec<(String, PathBuf)> {
        let tables = self.raw.take_tables("files");
        tables.into_iter().filter_map(|(location, rule)| self.folder(&location, rule)).collect()
    }

    fn folder(&mut self, location: &str, mut rule: Table) -> Option<(String, PathBuf)> {
        let name = self.member(&mut rule, "name", |text| {
            if text.is_empty() || text.contains('/') {
                Err(format!("invalid folder name {text:?}: it is empty or contains a slash"))
            } else {
                Ok(text.to_owned())
            }
        });
        if !rule.contains_key("path") {
            self.raw.add_error(location, "missing `path` in [files.NAME]: the folder to serve");
        }
        let path = self.member(&mut rule, "path", parse_directory);
        self.refuse_others("[files.NAME]", rule);
        Some((name?, path?))
    }
}
