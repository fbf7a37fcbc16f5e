//! Names of shards, sessions, groups and views.

/// A shard's name; never used twice.
pub(super) type ShardId = u64;

/// A session's name within its shard; never used twice.
pub(super) type SessionKey = u64;

/// An interest's name; never used twice.
pub(super) type GroupId = u64;

/// A view's name within its shard; never used twice.
pub(super) type ViewId = u64;

/// Sessions of a shard with the same interest and the same view.
pub(super) type GroupKey = (GroupId, ViewId);
