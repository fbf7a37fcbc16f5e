//! Followed files: each line is an event.
//!
//! Promises: the content of a file is published once and in order, through rotation by renaming,
//! truncation and new files, and across restarts of the hub. Reading waits while the journal
//! accepts nothing.

mod file;
mod joining;
mod position;
mod renamed;
mod rotation;
mod spec;

pub use joining::JoinRule;
pub use spec::{StreamTemplate, TailSpec};

use super::last_values::off_thread;
use super::output::log_data;
use super::own_streams::TAIL_STREAM;
use super::supervisor::SourceHandle;
use crate::event::{Draft, Position, StreamName, Timestamp};
use crate::journal::{History, PublishError, Refusal};
use crate::source::error::SourceError;
use crate::telemetry::TailMetrics;
use file::{Followed, NewLines};
use joining::JoinedLines;
use position::{Begun, FileId, FilePositions, draft};
use serde_json::value::to_raw_value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of followed files; each is open.
pub const MAX_FILES: usize = 256;
/// Interval at which files are checked for growth, and folders for new files.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of events in one commit, in addition to the read position after them.
const MAX_EVENTS_PER_COMMIT: usize = 500;
/// Number of published positions, and time since the last snapshot, after either of which a
/// snapshot of all positions is published.
const SNAPSHOT_AFTER_POSITIONS: usize = 5_000;
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Maximum number of positions in one commit.
const MAX_POSITIONS_PER_COMMIT: usize = 1_000;

/// State of the followed files.
struct FileFollower {
    specs: Arc<[TailSpec]>,
    positions: FilePositions,
    files: Vec<Followed>,
    listed: Option<Instant>,
    /// Position events that are published next.
    pending: Vec<Draft>,
    /// Number of files beyond [`MAX_FILES`] at the last listing.
    left_out: usize,
    /// Files that could not be opened.
    unreadable: HashSet<PathBuf>,
    /// Files that are open and cannot be read now.
    failing: HashSet<PathBuf>,
    /// Position of the journal when all read positions were last published, and whether some of
    /// them were removed since.
    snapshot_position: Position,
    needs_snapshot: bool,
    history: Arc<History>,
    /// Stream of the read positions.
    own: StreamName,
    said: (usize, Instant),
}

/// Follows files until that fails.
pub async fn follow(
    feed: SourceHandle,
    history: Arc<History>,
    specs: Arc<[TailSpec]>,
    metrics: TailMetrics,
) -> Result<(), SourceError> {
    let now = feed.now();
    let own = feed.own_stream(TAIL_STREAM)?;
    let mut tail = off_thread(move || FileFollower::begin(&history, specs, own, now)).await?;
    loop {
        let now = feed.now();
        let (looked, new) = off_thread(move || tail.look(now)).await?;
        tail = looked;
        let behind = tail.files.iter().map(Followed::unread_bytes).sum();
        metrics.set(tail.files.len(), behind, tail.unreadable.len() + tail.left_out);
        let has_more = tail.publish(&feed, new, &metrics).await?;
        if !has_more {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl FileFollower {
    fn begin(
        history: &Arc<History>,
        specs: Arc<[TailSpec]>,
        own: StreamName,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let mut tail = Self {
            specs,
            positions: FilePositions::read(history, &own)?,
            own,
            files: Vec::new(),
            listed: None,
            pending: Vec::new(),
            left_out: 0,
            unreadable: HashSet::new(),
            failing: HashSet::new(),
            snapshot_position: Position::ZERO,
            needs_snapshot: false,
            history: history.clone(),
            said: (SNAPSHOT_AFTER_POSITIONS, Instant::now()),
        };
        tail.find_rotated(now)?;
        Ok(tail)
    }

    /// Lists files if that is due, and reads some of the new lines of each file.
    fn look(mut self, now: Timestamp) -> Result<(Self, Vec<(usize, NewLines)>), SourceError> {
        if self.listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY) {
            self.list(now)?;
        }
        let mut all = Vec::new();
        let mut unread: HashSet<(usize, PathBuf)> = HashSet::new();
        for (at, file) in self.files.iter_mut().enumerate() {
            let called = (file.spec, file.path.clone());
            if file.is_held() {
                unread.insert(called.clone());
            }
            if unread.contains(&called) {
                // Lines of an older file that had the same name come first.
                continue;
            }
            match file.read(&self.specs[file.spec]) {
                Ok(new) => {
                    self.failing.remove(&file.path);
                    if new.has_more {
                        unread.insert(called);
                    }
                    if !new.texts.is_empty() || new.was_reset || new.is_over {
                        all.push((at, new));
                    }
                }
                Err(error) => {
                    if self.failing.insert(file.path.clone()) {
                        tracing::warn!(path = %file.path.display(), %error, "failed to read a file");
                    }
                    unread.insert(called);
                }
            }
        }
        Ok((self, all))
    }

    /// Opens new files, and marks those that no longer match a pattern.
    fn list(&mut self, now: Timestamp) -> Result<(), SourceError> {
        let is_first = self.listed.is_none();
        // A full journal removes its oldest events, which may be read positions.
        let said = self.history.stream(&self.own).ok().flatten();
        let first = said.and_then(|said| said.first);
        self.needs_snapshot |=
            !is_first && first.is_none_or(|first| first > self.snapshot_position);
        self.listed = Some(Instant::now());
        let specs = self.specs.clone();
        let mut listed: HashSet<(usize, FileId)> = HashSet::new();
        let (mut left_out, mut unreadable) = (0, HashSet::new());
        for (at, spec) in specs.iter().enumerate() {
            // Files that a new pattern finds first existed before; later ones are new and read from
            // the start.
            let is_new_tail = !self.positions.begun.contains(&spec.key());
            for path in paths(spec) {
                let Ok(about) = path.metadata() else { continue };
                let id = FileId::of(&about);
                if !about.is_file() || !listed.insert((at, id)) {
                    continue;
                }
                if self.files.iter().any(|file| (file.spec, file.id) == (at, id)) {
                    continue;
                }
                if self.files.len() >= MAX_FILES {
                    left_out += 1;
                    continue;
                }
                let skips = is_new_tail && is_first && !spec.from_start;
                let place = self.positions.files.get(&(spec.key(), id));
                let from = |size| if skips { size } else { 0 };
                match Followed::open(&path, at, place, spec.follows_links, from) {
                    Ok(file) => {
                        if skips {
                            self.pending.push(draft(
                                &self.own,
                                "place",
                                &file.place(spec, false),
                                now,
                            )?);
                            self.positions.note(file.place(spec, false));
                        }
                        self.files.push(file);
                    }
                    Err(error) => {
                        unreadable.insert(path.clone());
                        if !self.unreadable.contains(&path) {
                            tracing::warn!(path = %path.display(), %error, "failed to follow a file");
                        }
                    }
                }
            }
            if is_new_tail {
                self.pending.push(draft(&self.own, "begun", &Begun { tail: spec.key() }, now)?);
                self.positions.begun.insert(spec.key());
            }
        }
        if is_first {
            self.forget_gone(now)?;
        }
        for file in &mut self.files {
            file.set_listed(listed.contains(&(file.spec, file.id)));
        }
        if left_out > self.left_out {
            tracing::warn!(left_out, max = MAX_FILES, "too many files to follow");
        }
        (self.left_out, self.unreadable) = (left_out, unreadable);
        Ok(())
    }

    /// Publishes new lines. Returns true if there may be more immediately.
    async fn publish(
        &mut self,
        feed: &SourceHandle,
        new: Vec<(usize, NewLines)>,
        metrics: &TailMetrics,
    ) -> Result<bool, SourceError> {
        self.publish_positions(feed).await?;
        let (mut over, mut has_more) = (Vec::new(), false);
        let mut held: HashSet<(usize, PathBuf)> = HashSet::new();
        for (at, new) in new {
            let called = (self.files[at].spec, self.files[at].path.clone());
            if held.contains(&called) {
                // These lines follow lines that wait; they are read again.
                continue;
            }
            has_more |= !new.texts.is_empty();
            if new.was_reset {
                let path = self.files[at].path.display().to_string();
                tracing::info!(
                    path,
                    "a file was truncated or rewritten; reading it from the start"
                );
            }
            let mut from = 0;
            let mut is_held = false;
            for texts in new.texts.chunks(MAX_EVENTS_PER_COMMIT) {
                let until = texts.last().map_or(from, |text| text.until);
                let (offset, snapshot) = self.files[at].at();
                self.files[at].advance(&new.bytes[from..until]);
                if !self.publish_texts(feed, at, texts, false).await? {
                    self.files[at].rewind(offset, snapshot);
                    (is_held, _) = (true, held.insert(called.clone()));
                    break;
                }
                metrics.replaced(texts.iter().map(|text| text.replaced).sum());
                from = until;
            }
            if new.is_over && !is_held {
                over.push(at);
                self.publish_texts(feed, at, &[], true).await?;
            }
        }
        for at in over.into_iter().rev() {
            // The others keep their order: a renamed file is before the one that replaced it.
            self.files.remove(at);
        }
        Ok(has_more)
    }

    /// Publishes events of a file together with the read position after them. Returns false if its
    /// stream would exceed the maximum number of streams.
    async fn publish_texts(
        &mut self,
        feed: &SourceHandle,
        at: usize,
        texts: &[JoinedLines],
        is_over: bool,
    ) -> Result<bool, SourceError> {
        let (file, now) = (&self.files[at], feed.now());
        let spec = &self.specs[file.spec];
        let place = file.place(spec, is_over);
        let behind = draft(&self.own, "place", &place, now)?;
        let events = texts.iter().filter_map(|text| event(spec, &file.path, &text.text, now));
        let events: Vec<Draft> = events.chain([behind.clone()]).collect();
        // Lines that are not valid for the event type.
        feed.lost((texts.len() + 1 - events.len()) as u64);
        match feed.publish_with_retry(events).await {
            Ok(()) => {}
            Err(PublishError::Refused(why @ Refusal::TooManyStreams(_))) => {
                feed.set_error(why.to_string());
                return Ok(false);
            }
            // The stream accepts no more events; other files are not affected.
            Err(PublishError::Refused(why)) => {
                tracing::warn!(path = place.path, lines = texts.len(), error = %why, "lines were refused");
                feed.lost(texts.len() as u64);
                feed.publish_with_retry(vec![behind]).await?;
            }
            Err(other) => return Err(other.into()),
        }
        self.positions.note(place);
        self.said.0 += 1;
        Ok(true)
    }

    /// Publishes waiting position events and, if it is due, a snapshot of all positions.
    async fn publish_positions(&mut self, feed: &SourceHandle) -> Result<(), SourceError> {
        let is_due = self.said.0 >= SNAPSHOT_AFTER_POSITIONS
            || self.needs_snapshot
            || (self.said.0 > 0 && self.said.1.elapsed() >= SNAPSHOT_INTERVAL);
        let before = self.history.head();
        // Waiting events are published before the snapshot, and together.
        let mut drafts = std::mem::take(&mut self.pending);
        if is_due {
            drafts.extend(self.positions.drafts(&self.own, feed.now())?);
        }
        for some in drafts.chunks(MAX_POSITIONS_PER_COMMIT) {
            feed.publish_with_retry(some.to_vec()).await?;
        }
        if is_due {
            (self.said, self.snapshot_position, self.needs_snapshot) =
                ((0, Instant::now()), before, false);
        }
        Ok(())
    }
}

/// Returns the files that the patterns match now.
fn paths(spec: &TailSpec) -> impl Iterator<Item = PathBuf> {
    let found = spec.paths.iter().flat_map(|pattern| glob::glob(pattern.as_str()));
    found.flatten().flatten()
}

/// Returns a line as an event. A line that is a JSON object, or that has a type other than `log`,
/// is published unchanged if it is valid; any other becomes the message of a log event.
fn event(spec: &TailSpec, path: &Path, text: &str, now: Timestamp) -> Option<Draft> {
    let stream = spec.stream.of(path).ok()?;
    let streams = || vec![stream.clone()];
    let is_object = text.starts_with('{');
    if spec.kind.as_str() != "log" || is_object {
        let draft = Draft::from_text(streams(), spec.kind.clone(), text, now);
        if let Ok(draft) = draft {
            return Some(draft);
        }
    }
    let data = to_raw_value(&log_data(text, None)).ok()?;
    Draft::from_json(streams(), spec.kind.clone(), &data, now).ok()
}
