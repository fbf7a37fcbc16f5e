//! The bytes of one file, in pages, with holes that take no space.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit in which the page cache writes back.
pub const PAGE: u64 = 4096;
/// The unit that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

type Page = [u8; PAGE as usize];

/// A sparse file. Cloning it shares the pages until one side changes them.
#[derive(Clone, Default)]
pub struct Pages {
    pages: BTreeMap<u64, Arc<Page>>,
    size: u64,
}

impl Pages {
    /// The file size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are allocated.
    pub fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Pages that a write of `length` bytes at `offset` would allocate.
    pub fn missing(&self, offset: u64, length: u64) -> u64 {
        let numbers = offset / PAGE..(offset + length).div_ceil(PAGE);
        numbers.filter(|number| !self.pages.contains_key(number)).count() as u64
    }

    /// Reads up to `length` bytes; fewer at the end of the file.
    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let length = length.min(self.size.saturating_sub(offset));
        self.read_raw(offset, length)
    }

    /// Reads `length` bytes whatever the file size is.
    pub fn read_raw(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        let end = offset + length;
        for (number, page) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = number * PAGE;
            let (from, until) = (start.max(offset), (start + PAGE).min(end));
            bytes[(from - offset) as usize..(until - offset) as usize]
                .copy_from_slice(&page[(from - start) as usize..(until - start) as usize]);
        }
        bytes
    }

    /// Writes and extends the file if needed.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.write_raw(offset, bytes);
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Writes without changing the file size.
    pub fn write_raw(&mut self, offset: u64, bytes: &[u8]) {
        let mut written = 0;
        while written < bytes.len() {
            let position = offset + written as u64;
            let offset_in_page = (position % PAGE) as usize;
            let length = (PAGE as usize - offset_in_page).min(bytes.len() - written);
            let page =
                self.pages.entry(position / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[offset_in_page..offset_in_page + length]
                .copy_from_slice(&bytes[written..written + length]);
            written += length;
        }
    }

    /// Extends the file to at least `size`.
    pub fn extend(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Sets the file size; what is cut off reads as zeros if the file grows again.
    pub fn truncate(&mut self, size: u64) {
        self.pages.split_off(&size.div_ceil(PAGE));
        let offset_in_page = (size % PAGE) as usize;
        if offset_in_page > 0
            && let Some(page) = self.pages.get_mut(&(size / PAGE))
        {
            Arc::make_mut(page)[offset_in_page..].fill(0);
        }
        self.size = size;
    }

    /// The offset behind the last byte that is not zero.
    pub fn used(&self) -> u64 {
        let last = self.pages.iter().rev().find_map(|(number, page)| {
            let offset_in_page = page.iter().rposition(|byte| *byte != 0)?;
            Some(number * PAGE + offset_in_page as u64 + 1)
        });
        last.unwrap_or(0)
    }
}
