//! Dispatch of a batch to the queues of a shard: framed once for each view, queued once for each
//! group.

use super::flush_scheduler::FlushScheduler;
use super::frames::Frames;
use super::members::Members;
use super::shared_queue::Segment;
use crate::event::Body;
use crate::hub::ids::{GroupId, GroupKey, SessionKey};
use crate::journal::{CommittedBatch, History};
use crate::wire::View;
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::time::Instant;

/// A batch framed for one view.
struct FramedBatch<'a> {
    batch: &'a CommittedBatch,
    view: &'a View,
    frames: Frames,
    history: &'a History,
    /// Shared by the groups that get the batch; the last one to be written to measures the fan-out.
    committed_at: &'a Rc<Instant>,
}

/// Queues a batch for the groups that take its entries, and schedules their flushes. Returns the
/// sessions that are too far behind now.
pub(in crate::hub) fn deliver(
    members: &mut Members,
    flushes: &mut FlushScheduler,
    history: &History,
    batch: &CommittedBatch,
    recipients: &[(u32, GroupId)],
) -> Vec<SessionKey> {
    let by_group = group_entries(recipients);
    let committed_at = Rc::new(batch.at);
    let mut too_far_behind = Vec::new();
    for (id, view) in members.views() {
        let has_queue = |(group, _): &&(GroupId, _)| members.queue((*group, id)).is_some();
        let groups: Vec<_> = by_group.iter().filter(has_queue).collect();
        let indexes = groups.iter().flat_map(|(_, entries)| entries).copied();
        let frames = Frames::of(batch, &view, history, indexes);
        let framed =
            FramedBatch { batch, view: &view, frames, history, committed_at: &committed_at };
        for (group, entries) in groups {
            let key = (*group, id);
            framed.queue(members, key, entries);
            let Some(queue) = members.queue_mut(key) else { continue };
            flushes.schedule(key, queue);
            if queue.exceeds_limit() {
                too_far_behind.extend(members.too_far_behind(key));
            }
        }
    }
    too_far_behind
}

/// Returns the entries of each group; groups and entries keep the order of `recipients`.
fn group_entries(recipients: &[(u32, GroupId)]) -> Vec<(GroupId, Vec<u32>)> {
    let mut by_group: Vec<(GroupId, Vec<u32>)> = Vec::new();
    let mut index_of: FxHashMap<GroupId, usize> = FxHashMap::default();
    for (entry, group) in recipients {
        let index = *index_of.entry(*group).or_insert_with(|| {
            by_group.push((*group, Vec::new()));
            by_group.len() - 1
        });
        by_group[index].1.push(*entry);
    }
    by_group
}

impl FramedBatch<'_> {
    /// Appends some entries to the queue of one group.
    fn queue(&self, members: &mut Members, key: GroupKey, entries: &[u32]) {
        let Some(queue) = members.queue_mut(key) else { return };
        let (mut events, mut ends) = (0, Vec::new());
        for index in entries {
            let Some(entry) = self.batch.entries.get(*index as usize) else { continue };
            match entry.body {
                Body::Event { .. } => events += 1,
                Body::Created => {}
                Body::End(_) => ends.extend(entry.streams.iter().cloned()),
            }
        }
        // A frame names only the streams that its group selects, so it differs between groups.
        let has_several_streams = |index: &u32| {
            self.batch.entries.get(*index as usize).is_some_and(|entry| entry.streams.len() > 1)
        };
        let bytes = if self.view.names_streams() && entries.iter().any(has_several_streams) {
            Frames::of_group(self.batch, entries, self.history, self.view, queue)
        } else {
            self.frames.of_entries(entries)
        };
        let (first, last, at) = (self.batch.first, self.batch.last, self.batch.at);
        queue.push(Segment { bytes, events, first, last, at, ends }, self.committed_at);
    }
}
