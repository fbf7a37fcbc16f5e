//! Files that are followed: each line of theirs an event.
//!
//! Promises: what stands in a file comes once and in order, through rotation by renaming, emptying and
//! new files, and across restarts of the hub; a journal that takes nothing holds the reading up.

mod file;
mod place;
mod renamed;
mod spec;
mod text;

pub use place::{KEPT_EVENTS, STREAM};
pub use spec::{StreamTemplate, TailSpec};
pub use text::Joins;

use super::keeper::Feed;
use super::output::log_data;
use super::remembered::off_thread;
use crate::event::{Draft, Timestamp};
use crate::journal::{History, PublishError};
use crate::telemetry::TailFigures;
use file::{Followed, New};
use place::{Begun, FileId, Places, draft};
use serde_json::value::to_raw_value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use text::Text;

/// Files that are followed at once; each is open.
pub const MAX_FILES: usize = 256;
/// How often is looked whether files have grown, and whether there are others.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Events of one commit, beside the place behind them.
const EVENTS_TOGETHER: usize = 500;
/// After so many places, and so long, all of them are said again.
const PLACES_BETWEEN: usize = 5_000;
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Places of one commit.
const PLACES_TOGETHER: usize = 1_000;

/// All that is followed.
struct Tail {
    specs: Arc<[TailSpec]>,
    places: Places,
    files: Vec<Followed>,
    listed: Option<Instant>,
    /// What to say of files that were found.
    to_say: Vec<Draft>,
    /// Files that found no room, when that was last said.
    left_out: usize,
    said: (usize, Instant),
}

/// Follows for ever.
pub async fn follow(
    feed: Feed,
    history: Arc<History>,
    specs: Arc<[TailSpec]>,
    figures: TailFigures,
) -> Result<(), String> {
    let mut tail = off_thread(move || Tail::begin(&history, specs)).await?;
    loop {
        let now = feed.now();
        let (looked, new) = off_thread(move || tail.look(now)).await?;
        tail = looked;
        figures.set(tail.files.len(), tail.files.iter().map(Followed::behind).sum());
        let has_more = tail.publish(&feed, new, &figures).await?;
        if !has_more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Tail {
    fn begin(history: &History, specs: Arc<[TailSpec]>) -> Result<Self, String> {
        let mut tail = Self {
            specs,
            places: Places::read(history)?,
            files: Vec::new(),
            listed: None,
            to_say: Vec::new(),
            left_out: 0,
            said: (PLACES_BETWEEN, Instant::now()),
        };
        tail.find_renamed();
        Ok(tail)
    }

    /// Finds what was renamed while nobody looked, and what was renamed after it.
    fn find_renamed(&mut self) {
        let known: Vec<_> = self.places.files.values().cloned().collect();
        for place in &known {
            let Some(spec) = self.specs.iter().position(|spec| spec.key() == place.tail) else {
                continue;
            };
            let beside = renamed::beside(Path::new(&place.path));
            let Some(at) = beside.iter().position(|file| file.id == place.file) else { continue };
            let mut open = |file: &renamed::Beside, place| {
                if let Ok(file) = Followed::open((&file.path, spec), place, |_| 0) {
                    self.files.push(file);
                }
            };
            open(&beside[at], Some(place));
            let is_known = |file: &&renamed::Beside| known.iter().any(|k| k.file == file.id);
            for file in beside[at + 1..].iter().filter(|file| !is_known(file)) {
                // It was written after that one and is not what has the name now.
                if file.path != Path::new(&place.path) {
                    open(file, None);
                }
            }
        }
    }

    /// Looks at what there is, and reads some of what is new in each file.
    fn look(mut self, now: Timestamp) -> Result<(Self, Vec<(usize, New)>), String> {
        if self.listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY) {
            self.list(now)?;
        }
        let mut all = Vec::new();
        let mut unread: HashSet<(usize, PathBuf)> = HashSet::new();
        for (at, file) in self.files.iter_mut().enumerate() {
            let called = (file.spec, file.path.clone());
            if unread.contains(&called) {
                // What was written before it, to the file that had its name, comes first.
                continue;
            }
            match file.read(&self.specs[file.spec]) {
                Ok(new) if new.texts.is_empty() && !new.was_reset && !new.is_over => {}
                Ok(new) => {
                    if new.has_more {
                        unread.insert(called);
                    }
                    all.push((at, new));
                }
                Err(error) => {
                    tracing::warn!(path = %file.path.display(), "a file cannot be read: {error}");
                }
            }
        }
        Ok((self, all))
    }

    /// Finds files that are new, and those that are gone.
    fn list(&mut self, now: Timestamp) -> Result<(), String> {
        let is_first = self.listed.is_none();
        self.listed = Some(Instant::now());
        let specs = self.specs.clone();
        let mut listed: HashMap<(usize, FileId), ()> = HashMap::new();
        let mut left_out = 0;
        for (at, spec) in specs.iter().enumerate() {
            // What it finds first was there before; what comes later is new and read from its start.
            let is_new_tail = !self.places.begun.contains(&spec.key());
            for path in paths(spec) {
                let Ok(about) = path.metadata() else { continue };
                let id = FileId::of(&about);
                if !about.is_file() || listed.insert((at, id), ()).is_some() {
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
                let place = self.places.files.get(&(spec.key(), id));
                let from = |size| if skips { size } else { 0 };
                if let Ok(file) = Followed::open((&path, at), place, from) {
                    if skips {
                        self.to_say.push(draft("place", &file.place(spec, false), now)?);
                        self.places.note(file.place(spec, false));
                    }
                    self.files.push(file);
                }
            }
            if is_new_tail {
                self.to_say.push(draft("begun", &Begun { tail: spec.key() }, now)?);
                self.places.begun.insert(spec.key());
            }
        }
        for file in &mut self.files {
            file.is_listed(listed.contains_key(&(file.spec, file.id)));
        }
        if left_out > self.left_out {
            tracing::warn!(left_out, "more files than {MAX_FILES} are to be followed");
        }
        self.left_out = left_out;
        Ok(())
    }

    /// Publishes what is new; whether there may be more at once.
    async fn publish(
        &mut self,
        feed: &Feed,
        new: Vec<(usize, New)>,
        figures: &TailFigures,
    ) -> Result<bool, String> {
        self.say(feed).await?;
        let (mut over, mut has_more) = (Vec::new(), false);
        for (at, new) in new {
            has_more |= !new.texts.is_empty();
            if new.was_reset {
                let path = self.files[at].path.display().to_string();
                tracing::info!(
                    path,
                    "a file was emptied or written anew, and is read from its start"
                );
            }
            let mut from = 0;
            for texts in new.texts.chunks(EVENTS_TOGETHER) {
                let until = texts.last().map_or(from, |text| text.until);
                let took = (until - from) as u64;
                self.files[at].took(took).map_err(|e| e.to_string())?;
                figures.replaced(texts.iter().map(|text| text.replaced).sum());
                self.publish_texts(feed, at, texts, false).await?;
                from = until;
            }
            if new.is_over {
                over.push(at);
                self.publish_texts(feed, at, &[], true).await?;
            }
        }
        for at in over.into_iter().rev() {
            // The others keep their order: one that was renamed is before the one in its place.
            self.files.remove(at);
        }
        Ok(has_more)
    }

    /// Publishes some events of a file together with the place behind them.
    async fn publish_texts(
        &mut self,
        feed: &Feed,
        at: usize,
        texts: &[Text],
        is_over: bool,
    ) -> Result<(), String> {
        let (file, now) = (&self.files[at], feed.now());
        let spec = &self.specs[file.spec];
        let place = file.place(spec, is_over);
        let behind = draft("place", &place, now)?;
        let events = texts.iter().filter_map(|text| event(spec, &file.path, &text.text, now));
        let events: Vec<Draft> = events.chain([behind.clone()]).collect();
        // Lines that are not what the type needs.
        feed.lost((texts.len() + 1 - events.len()) as u64);
        match feed.publish_surely(events).await {
            Ok(()) => {}
            // Its stream takes nothing any more; the others go on.
            Err(PublishError::Refused(why)) => {
                tracing::warn!(path = place.path, lines = texts.len(), "lines are refused: {why}");
                feed.lost(texts.len() as u64);
                feed.publish_surely(vec![behind]).await.map_err(|e| e.to_string())?;
            }
            Err(other) => return Err(other.to_string()),
        }
        self.places.note(place);
        self.said.0 += 1;
        Ok(())
    }

    /// Says what is to be remembered, and now and again everything.
    async fn say(&mut self, feed: &Feed) -> Result<(), String> {
        let is_due = self.said.0 >= PLACES_BETWEEN
            || (self.said.0 > 0 && self.said.1.elapsed() >= SAID_AGAIN_AFTER);
        let drafts = match is_due {
            true => self.places.drafts(feed.now())?,
            false => std::mem::take(&mut self.to_say),
        };
        for some in drafts.chunks(PLACES_TOGETHER) {
            feed.publish_surely(some.to_vec()).await.map_err(|e| e.to_string())?;
        }
        if is_due {
            self.to_say.clear();
            self.said = (0, Instant::now());
        }
        Ok(())
    }
}

/// The files that a pattern finds now.
fn paths(spec: &TailSpec) -> impl Iterator<Item = PathBuf> {
    let found = spec.paths.iter().flat_map(|pattern| glob::glob(pattern.as_str()));
    found.flatten().flatten()
}

/// A line as an event: of a log that is JSON already as it is, of any other as the message.
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
