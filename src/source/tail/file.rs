//! A followed file, which may grow, be renamed, emptied or deleted.

use super::joining::{JoinedLines, split_events};
use super::position::{FileId, FilePosition, FileSnapshot};
use super::spec::TailSpec;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Maximum number of bytes in one read.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Time without growth after which the last event of a file counts as complete.
const COMPLETE_AFTER: Duration = Duration::from_secs(1);
/// Time for which a file that was renamed or deleted is still followed.
const FOLLOW_RENAMED_FOR: Duration = Duration::from_secs(5 * 60);
const DELETED_FOR: Duration = Duration::from_secs(10);
/// Time until refused events are read again.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Opens a regular file without blocking. A pipe is refused because it has no end, and a symbolic
/// link, unless it may be followed, because it may lead to a file that only the hub may read.
fn open_file(path: &Path, follows_links: bool) -> io::Result<File> {
    let links = if follows_links { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = (OFlags::NONBLOCK | links).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::other(
                "it is a symbolic link; set follow-symlinks = true to follow it",
            ));
        }
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// A followed file, which is open.
pub(super) struct Followed {
    file: File,
    /// Path at which it was first seen.
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    /// Index of its pattern in the configuration.
    pub(super) spec: usize,
    pub(super) offset: u64,
    seen: FileSnapshot,
    /// Target of a symbolic link.
    real: Option<PathBuf>,
    size: u64,
    /// Time of the last write, as the file system reports it.
    written: (i64, i64),
    /// Earliest time of the next read, after its events were refused.
    held_until: Option<Instant>,
    /// Time at which it was last seen to grow.
    grew: Instant,
    /// Time since which no pattern matches it.
    unlisted: Option<Instant>,
    /// Set if the last read found no complete event: the size of the file then, and true if it was
    /// quiet.
    last_empty_read: Option<(u64, bool)>,
}

/// New lines of a file.
#[derive(Default)]
pub(super) struct NewLines {
    pub(super) texts: Vec<JoinedLines>,
    /// The bytes that they were read from.
    pub(super) bytes: Vec<u8>,
    /// True if the file was emptied or replaced, and is read from its start.
    pub(super) was_reset: bool,
    /// True if there is more to read.
    pub(super) has_more: bool,
    /// True if nothing more will come.
    pub(super) is_over: bool,
}

impl Followed {
    /// Opens a file. Reading continues at `place` if the content before it is unchanged, otherwise
    /// at the start. Without a `place`, `from` returns the offset for the size of the file.
    pub(super) fn open(
        path: &Path,
        spec: usize,
        place: Option<&FilePosition>,
        follows_links: bool,
        from: impl Fn(u64) -> u64,
    ) -> io::Result<Self> {
        let file = open_file(path, follows_links)?;
        let about = file.metadata()?;
        let size = about.len();
        let known = |place: &FilePosition| match FileSnapshot::of(&file, place.offset) {
            Ok(seen) if place.offset <= size && seen.mark() == place.mark => {
                Ok(Some((place.offset, seen)))
            }
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(None),
        };
        let (called, (offset, seen)) = match place {
            Some(place) => match known(place)? {
                Some(known) => (PathBuf::from(&place.path), known),
                None => (path.to_owned(), (0, FileSnapshot::default())),
            },
            None => {
                let offset = from(size);
                (path.to_owned(), (offset, FileSnapshot::of(&file, offset)?))
            }
        };
        let real = path.canonicalize().ok().filter(|real| real != path);
        Ok(Self {
            file,
            path: called,
            id: FileId::of(&about),
            spec,
            offset,
            seen,
            real,
            size: offset,
            written: (about.mtime(), about.mtime_nsec()),
            held_until: None,
            grew: Instant::now(),
            unlisted: None,
            last_empty_read: None,
        })
    }

    /// Returns true if a file is the one that was read up to a position.
    pub(super) fn is_at(path: &Path, place: &FilePosition) -> bool {
        let seen = open_file(path, true).and_then(|file| FileSnapshot::of(&file, place.offset));
        place.offset > 0 && seen.is_ok_and(|seen| seen.mark() == place.mark)
    }

    /// Keeps the original path and link target, whatever path it is opened by.
    pub(super) fn set_original_path(&mut self, place: &FilePosition) {
        self.path = PathBuf::from(&place.path);
        self.real = place.real.as_ref().map(PathBuf::from);
    }

    /// Returns true while reads are delayed because events were refused.
    pub(super) fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| Instant::now() < until)
    }

    /// Returns the time of the last write.
    pub(super) fn written(&self) -> (i64, i64) {
        self.written
    }

    /// Sets whether a pattern matches it.
    pub(super) fn set_listed(&mut self, is_listed: bool) {
        if is_listed {
            self.unlisted = None
        } else {
            self.unlisted.get_or_insert_with(Instant::now);
        }
    }

    /// Returns the number of unread bytes.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    /// Returns the position to remember.
    pub(super) fn place(&self, spec: &TailSpec, gone: bool) -> FilePosition {
        FilePosition {
            tail: spec.key(),
            path: self.path.to_string_lossy().into_owned(),
            file: self.id,
            offset: self.offset,
            real: self.real.as_ref().map(|real| real.to_string_lossy().into_owned()),
            mark: self.seen.mark(),
            written: self.written,
            gone,
        }
    }

    /// Reads some of the new content. It is returned again until [`Self::advance`] moves the position.
    pub(super) fn read(&mut self, spec: &TailSpec) -> io::Result<NewLines> {
        let about = self.file.metadata()?;
        let mut new = NewLines::default();
        if self.is_held() {
            return Ok(new);
        }
        let written = (about.mtime(), about.mtime_nsec());
        if about.len() != self.size || written != self.written {
            if about.len() < self.offset || !self.seen.is_of(&self.file, self.offset)? {
                (self.offset, self.seen) = (0, FileSnapshot::default());
                new.was_reset = true;
            }
            (self.size, self.written) = (about.len(), written);
            self.grew = Instant::now();
            self.last_empty_read = None;
        }
        let is_quiet = self.grew.elapsed() >= COMPLETE_AFTER;
        let stays = if about.nlink() == 0 { DELETED_FOR } else { FOLLOW_RENAMED_FOR };
        let gone_for = self.unlisted.map_or(Duration::ZERO, |since| since.elapsed());
        let is_last = gone_for >= stays && self.grew.elapsed() >= stays;
        if self.unread_bytes() == 0
            || (self.last_empty_read == Some((self.size, is_quiet)) && !is_last)
        {
            new.is_over = is_last;
            return Ok(new);
        }
        let mut bytes = vec![0; self.unread_bytes().min(CHUNK_BYTES) as usize];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        let is_all = self.offset + read as u64 >= self.size;
        let is_over = is_all && is_last;
        new.texts = split_events(&bytes, &spec.joins, is_all && is_quiet || is_last, is_over);
        (new.has_more, new.is_over) = (!is_all, is_all && is_last);
        self.last_empty_read = new.texts.is_empty().then_some((self.size, is_quiet));
        new.bytes = bytes;
        Ok(new)
    }

    /// Moves the read position past `bytes`.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.seen.read(bytes);
    }

    /// Returns the read position, for [`Self::rewind`].
    pub(super) fn at(&self) -> (u64, FileSnapshot) {
        (self.offset, self.seen.clone())
    }

    /// Sets the read position back, and delays the next read.
    pub(super) fn rewind(&mut self, offset: u64, seen: FileSnapshot) {
        (self.offset, self.seen, self.last_empty_read) = (offset, seen, None);
        self.held_until = Some(Instant::now() + REFUSED_RETRY_AFTER);
    }
}
