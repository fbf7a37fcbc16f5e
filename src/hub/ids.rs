//! Ids of shards, sessions, groups and views.

/// Id of a shard; never reused.
pub(super) type ShardId = u64;

/// Id of a session within its shard; never reused.
pub(super) type SessionKey = u64;

/// Id of a group of sessions with the same interest; never reused.
pub(super) type GroupId = u64;

/// Id of a view within its shard; never reused.
pub(super) type ViewId = u64;

/// Sessions of a shard with the same interest and the same view.
pub(super) type GroupKey = (GroupId, ViewId);
