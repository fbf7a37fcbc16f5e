//! Ids of shards, sessions, groups and views. None is ever used again.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
        pub(super) struct $name(u64);

        #[allow(dead_code, reason = "not every kind of id needs both")]
        impl $name {
            /// Returns the id with this number.
            pub(super) const fn of(number: u64) -> Self {
                Self(number)
            }

            /// Returns the id after this one.
            #[must_use]
            pub(super) fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// Id of a shard.
    ShardId;
    /// Id of a session within its shard.
    SessionKey;
    /// Id of a group of sessions with the same interest.
    GroupId;
    /// Id of a view within its shard.
    ViewId;
}

/// Sessions of a shard with the same interest and the same view.
pub(super) type GroupKey = (GroupId, ViewId);
