//! Why things were refused, closed or read: the label values of the metrics, all known beforehand.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a session ended.
    Closed {
        /// The client went away.
        Client = "client_disconnected",
        /// It took no byte for the write timeout.
        WriteTimeout = "connection_timeout",
        /// Every stream it named has ended.
        Ended = "ended",
        /// It has what there was, and asked for no more.
        Complete = "complete",
        /// Its credential ended.
        Expired = "token_expired",
        /// Its credential was revoked.
        Revoked = "token_revoked",
        /// An operator ended it.
        Operator = "closed_by_operator",
        /// The hub stopped.
        Draining = "draining",
        /// Its history could not be read.
        Error = "server_error",
    }
}

reasons! {
    /// The limits, by the names of their settings.
    #[derive(Hash, PartialOrd, Ord)]
    Limit {
        /// Sessions.
        Connections = "max_connections",
        /// Sessions of one client, by its address.
        ConnectionsPerClient = "max_connections_per_client",
        /// Sessions of one subject: a key, or the `sub` of tokens.
        ConnectionsPerSubject = "max_connections_per_subject",
        /// Sessions that name one stream, or one pattern.
        ConnectionsPerStream = "max_connections_per_stream",
        /// Selectors of one subscription.
        Selectors = "max_selectors",
        /// Streams with history.
        Streams = "max_streams",
        /// Events that one client publishes in a second.
        PublishEventsPerClient = "publish_events_per_client",
        /// Bytes that one client publishes in a second.
        PublishBytesPerClient = "publish_bytes_per_client",
        /// Events that one subject publishes in a second.
        PublishEventsPerSubject = "publish_events_per_subject",
        /// Bytes that one subject publishes in a second.
        PublishBytesPerSubject = "publish_bytes_per_subject",
        /// Memory that the process takes.
        MemoryBudget = "memory_budget",
        /// Chats that run.
        Chats = "max_chats",
        /// Chats of one subject that run.
        ChatsPerSubject = "max_chats_per_subject",
    }
}

reasons! {
    /// Why a subscriber was turned away.
    SubscribeRejectReason {
        /// The hub is stopping.
        Draining = "draining",
        /// As many sessions as allowed are open.
        MaxConnections = "max_connections",
        /// As many of that client are.
        MaxConnectionsPerClient = "max_connections_per_client",
        /// As many of that subject are.
        MaxConnectionsPerSubject = "max_connections_per_subject",
        /// As many of that stream are.
        MaxConnectionsPerStream = "max_connections_per_stream",
        /// It asked for too many streams at once.
        MaxSelectors = "max_selectors",
        /// The memory budget is nearly used up.
        MemoryBudget = "memory_budget",
        /// The connection manager has more to do than it is allowed to put off.
        ManagerBusy = "manager_queue",
        /// What it asked for cannot be understood.
        Invalid = "validation_error",
        /// It did not say who it is, or may read nothing of what it asked for.
        Forbidden = "forbidden",
        /// Its body is too large.
        TooLarge = "payload_too_large",
        /// The bodies that are being received take all that is there for them.
        RequestBodies = "request_bodies",
        /// Its client went away in the middle of its body.
        Client = "client_disconnected",
        /// Its client stopped in the middle of its body.
        Timeout = "connection_timeout",
        /// Everything it asked for has ended.
        Finished = "finished",
        /// The journal cannot be read, or a part of the hub does not answer.
        Error = "server_error",
    }
}

reasons! {
    /// Why a publish was refused.
    PublishRefused {
        /// A value fails its check or cannot be read.
        Invalid = "validation_error",
        /// It did not say who it is, or may not publish there.
        Forbidden = "forbidden",
        /// A body or an event is too large.
        TooLarge = "payload_too_large",
        /// A stream has ended or a key means something else.
        Conflict = "conflict",
        /// The stream to delete is not there.
        NotFound = "not_found",
        /// The publish queue is full.
        QueueFull = "publish_queue",
        /// There are as many streams as allowed.
        MaxStreams = "max_streams",
        /// That client publishes too many events a second.
        EventsPerClient = "publish_events_per_client",
        /// That client publishes too many bytes a second.
        BytesPerClient = "publish_bytes_per_client",
        /// That subject publishes too many events a second.
        EventsPerSubject = "publish_events_per_subject",
        /// That subject publishes too many bytes a second.
        BytesPerSubject = "publish_bytes_per_subject",
        /// The memory budget is nearly used up.
        MemoryBudget = "memory_budget",
        /// The disk has too little room.
        DiskFull = "disk_full",
        /// The journal is poisoned.
        Poisoned = "journal_poisoned",
        /// The hub is stopping.
        Draining = "draining",
        /// The sender went away in the middle.
        Client = "client_disconnected",
        /// The sender stopped in the middle.
        Timeout = "connection_timeout",
        /// The hub failed, or a part of it does not answer.
        Error = "server_error",
    }
}

reasons! {
    /// Why no chat was begun.
    ChatRefused {
        /// It cannot be read, or a value fails its check.
        Invalid = "validation_error",
        /// It did not say who it is, or may not ask that model.
        Forbidden = "forbidden",
        /// There is no such model, or no such chat.
        NotFound = "not_found",
        /// What it goes on with is deleted.
        Gone = "gone",
        /// It is too large.
        TooLarge = "payload_too_large",
        /// Its key was used for something else.
        KeyTaken = "idempotency_key_reused",
        /// As many run as may.
        MaxChats = "max_chats",
        /// As many of that subject do.
        MaxChatsPerSubject = "max_chats_per_subject",
        /// The bodies that are being received take all that is there for them, or the publish queue is
        /// full.
        Busy = "resource_exhausted",
        /// The hub is stopping.
        Draining = "draining",
        /// The journal takes no more.
        Journal = "journal_unavailable",
        /// The client went away or stopped in the middle.
        Client = "client_disconnected",
        /// The hub failed.
        Error = "server_error",
    }
}

reasons! {
    /// Why a credential was refused.
    CredentialRefused {
        /// There is none, and one is needed.
        Missing = "missing",
        /// It has no form that is known.
        Malformed = "malformed",
        /// No key is like it, or none has signed it.
        Unknown = "unknown",
        /// Its algorithm is not among those that are taken.
        Algorithm = "algorithm",
        /// Its signature is not right.
        Signature = "signature",
        /// It has ended.
        Expired = "expired",
        /// It was revoked.
        Revoked = "revoked",
        /// It has not begun.
        Early = "not_yet_valid",
        /// It ends too late, or never.
        Lifetime = "lifetime",
        /// It is for somebody else.
        Audience = "audience",
        /// It is by somebody else.
        Issuer = "issuer",
        /// What it claims cannot be understood.
        Claims = "claims",
        /// It stands where it would be written into logs.
        InQuery = "in_query",
    }
}

reasons! {
    /// Why a request was refused before anybody asked who it is by.
    RequestRefused {
        /// It is for a host that this hub is not.
        Host = "host",
        /// A page of another site sent it.
        CrossSite = "cross_site",
    }
}

reasons! {
    /// Why a connection was closed before anybody listened to it.
    ConnectionRefused {
        /// Its client has as many as it may.
        MaxConnectionsPerClient = "max_connections_per_client",
        /// The memory budget is nearly used up.
        MemoryBudget = "memory_budget",
        /// It did not come to TLS.
        Tls = "tls",
        /// What it said is no request of HTTP/1.1.
        Http1 = "http1",
        /// It did not come to a request of HTTP/2.
        Http2 = "http2",
        /// It took too long to say what it wants.
        Slow = "connection_timeout",
    }
}

reasons! {
    /// What became of a request for a file.
    Served {
        /// It is sent.
        Whole = "whole",
        /// A part of it is sent.
        Part = "part",
        /// The client has it as it is.
        NotModified = "not_modified",
        /// There is none, or none to give out.
        NotFound = "not_found",
        /// Its folder is not granted, or telling a stream of it.
        Forbidden = "forbidden",
        /// As many downloads as may be are under way.
        Busy = "max_downloads",
        /// It cannot be meant, or the file has no such part.
        Invalid = "validation_error",
        /// It cannot be read.
        Error = "server_error",
    }
}

reasons! {
    /// What had no room.
    BoundHit {
        /// The queue of publishes.
        PublishQueue = "publish_queue",
        /// The committed batches that wait for the manager, so that the writer waited.
        DispatchQueue = "dispatch_queue",
        /// The manager's mailbox.
        ManagerMailbox = "manager_mailbox",
        /// A shard's mailbox, so that its sessions went on from history.
        ShardMailbox = "shard_mailbox",
        /// A session's queue, so that it went on from history.
        SessionQueue = "session_queue",
        /// The reads of history that may be on the disk, so that one waited.
        DiskReads = "disk_reads",
        /// The look-ups that may be, so that one waited.
        DiskLookups = "disk_lookups",
        /// The bytes of bodies that are being received.
        RequestBodies = "request_bodies",
    }
}

reasons! {
    /// Where replayed events came from.
    Replayed {
        /// The newest, in memory.
        Memory = "memory",
        /// The journal.
        Disk = "disk",
    }
}
