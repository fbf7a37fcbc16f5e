//! Reasons for refusals, closes and reads: the label values of metrics, all known in advance.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Number of reasons.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the label value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
    // Reasons that also may be one of some limits.
    ($(#[$doc:meta])* $name:ident limits [$($limit:ident),*] {
        $($(#[$vdoc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            /// A limit was reached; the label value is the name of its setting.
            Limit(Limit),
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            pub(super) const ALL: &'static [Self] =
                &[$(Self::Limit(Limit::$limit),)* $(Self::$variant,)*];

            /// Returns the reason for a limit, if it is one that can cause such a refusal.
            pub fn of_limit(limit: Limit) -> Option<Self> {
                Self::ALL.contains(&Self::Limit(limit)).then_some(Self::Limit(limit))
            }

            /// Returns the label value.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::Limit(limit) => limit.as_str(),
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// Reason for which a session ended.
    CloseReason {
        /// The client disconnected.
        Client = "client_disconnected",
        /// The client took no byte for the write timeout.
        WriteTimeout = "connection_timeout",
        /// Every stream of the subscription has ended.
        Ended = "ended",
        /// The session sent everything that existed, and the client asked for no more.
        Complete = "complete",
        /// The maximum time of a session of its protocol was over.
        Lifetime = "lifetime",
        /// Retention removed events that it had not read, which its protocol cannot report in-band.
        Overtaken = "overtaken",
        /// The credential expired.
        Expired = "token_expired",
        /// The credential was revoked.
        Revoked = "token_revoked",
        /// An operator closed it.
        Operator = "closed_by_operator",
        /// The hub stopped.
        Draining = "draining",
        /// The hub was cut off from the log of its cluster.
        Isolated = "isolated",
        /// The history could not be read.
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
        /// Memory of the process.
        MemoryBudget = "memory_budget",
        /// Running chats.
        Chats = "max_chats",
        /// Running chats of one subject.
        ChatsPerSubject = "max_chats_per_subject",
    }
}

impl Limit {
    /// Returns true for a limit of each client or subject, false for a limit of the hub.
    pub fn is_of_caller(self) -> bool {
        match self {
            Self::ConnectionsPerClient
            | Self::ConnectionsPerSubject
            | Self::PublishEventsPerClient
            | Self::PublishBytesPerClient
            | Self::PublishEventsPerSubject
            | Self::PublishBytesPerSubject
            | Self::ChatsPerSubject => true,
            Self::Connections
            | Self::ConnectionsPerStream
            | Self::Selectors
            | Self::Streams
            | Self::MemoryBudget
            | Self::Chats => false,
        }
    }
}

reasons! {
    /// Reason for which a subscriber was refused.
    SubscribeRejectReason limits [Connections, ConnectionsPerClient, ConnectionsPerSubject, ConnectionsPerStream, Selectors, MemoryBudget] {
        /// The hub is stopping.
        Draining = "draining",
        /// The hub is cut off from the log of its cluster.
        Isolated = "isolated",
        /// The queue of the connection manager is full.
        ManagerBusy = "manager_queue",
        /// The request is invalid.
        Invalid = "validation_error",
        /// The credential is missing or invalid, or grants none of the streams.
        Forbidden = "forbidden",
        /// The body is too large.
        TooLarge = "payload_too_large",
        /// The bodies that are being received use up their limit.
        RequestBodies = "request_bodies",
        /// The client disconnected while sending the body.
        Client = "client_disconnected",
        /// The client stalled while sending the body.
        Timeout = "connection_timeout",
        /// Every stream of the subscription has ended.
        Finished = "finished",
        /// The journal cannot be read, or a part of the hub does not answer.
        Error = "server_error",
    }
}

reasons! {
    /// Reason for which a publish was refused.
    PublishRefused limits [Streams, PublishEventsPerClient, PublishBytesPerClient, PublishEventsPerSubject, PublishBytesPerSubject, MemoryBudget] {
        /// A value fails its check or cannot be read.
        Invalid = "validation_error",
        /// The credential is missing or invalid, or does not grant the stream.
        Forbidden = "forbidden",
        /// A body or an event is too large.
        TooLarge = "payload_too_large",
        /// A stream has ended, or an idempotency key was used for another event.
        Conflict = "conflict",
        /// The stream to delete does not exist.
        NotFound = "not_found",
        /// The publish queue is full.
        QueueFull = "publish_queue",
        /// The bodies that are being received use up their limit.
        RequestBodies = "request_bodies",
        /// The disk has too little free space.
        DiskFull = "disk_full",
        /// The journal is poisoned.
        Poisoned = "journal_poisoned",
        /// The log of the cluster does not answer.
        LogUnavailable = "log_unavailable",
        /// The log of the cluster has not confirmed the publish.
        Unconfirmed = "unconfirmed",
        /// The hub is stopping.
        Draining = "draining",
        /// The client disconnected while sending the body.
        Client = "client_disconnected",
        /// The client stalled while sending the body.
        Timeout = "connection_timeout",
        /// The hub failed, or a part of it does not answer.
        Error = "server_error",
    }
}

reasons! {
    /// Reason for which a chat was refused.
    ChatRefused limits [Chats, ChatsPerSubject] {
        /// The request is invalid.
        Invalid = "validation_error",
        /// The credential is missing or invalid, or does not grant the model.
        Forbidden = "forbidden",
        /// The model or the chat does not exist.
        NotFound = "not_found",
        /// The chat to continue is deleted.
        Gone = "gone",
        /// The request is too large.
        TooLarge = "payload_too_large",
        /// The idempotency key was used for another request.
        KeyTaken = "idempotency_key_reused",
        /// The bodies that are being received use up their limit, or the publish queue is full.
        Busy = "resource_exhausted",
        /// The hub is stopping.
        Draining = "draining",
        /// The journal does not accept events.
        Journal = "journal_unavailable",
        /// The client disconnected or stalled while sending the request.
        Client = "client_disconnected",
        /// The hub failed.
        Error = "server_error",
    }
}

reasons! {
    /// Reason for which a credential was refused.
    CredentialRefused {
        /// A credential is required, and there is none.
        Missing = "missing",
        /// The form of the credential is not known.
        Malformed = "malformed",
        /// The key is not known, or no known key has signed the token.
        Unknown = "unknown",
        /// The algorithm is not accepted.
        Algorithm = "algorithm",
        /// The signature is invalid.
        Signature = "signature",
        /// The credential has expired.
        Expired = "expired",
        /// The credential was revoked.
        Revoked = "revoked",
        /// The credential is not valid yet.
        Early = "not_yet_valid",
        /// The credential expires too late, or never.
        Lifetime = "lifetime",
        /// The audience does not match.
        Audience = "audience",
        /// The issuer does not match.
        Issuer = "issuer",
        /// The claims are invalid.
        Claims = "claims",
        /// The credential is in the query, which would be logged.
        InQuery = "in_query",
    }
}

reasons! {
    /// Reason for which a request was refused by its host or by the page that sent it.
    RequestRefused {
        /// The host is not a name of this hub.
        Host = "host",
        /// A page of another site sent it.
        CrossSite = "cross_site",
        /// The maximum number of searches is running.
        Searches = "max_searches",
    }
}

reasons! {
    /// Outcome of a search.
    SearchOutcome {
        /// The search reached the end of the history.
        Complete = "complete",
        /// The maximum number of matches or of examined events was reached.
        Bounded = "bounded",
        /// The client disconnected, or took nothing for the write timeout.
        Cancelled = "cancelled",
        /// The journal could not be read.
        Error = "server_error",
    }
}

reasons! {
    /// Reason for which a connection was refused, or closed because a request on it was unreadable.
    ConnectionRefused limits [ConnectionsPerClient, MemoryBudget] {
        /// The TLS handshake failed.
        Tls = "tls",
        /// The request is not valid HTTP/1.1.
        Http1 = "http1",
        /// The HTTP/2 handshake failed, or no request followed.
        Http2 = "http2",
        /// The head of a request took too long.
        Slow = "connection_timeout",
    }
}

reasons! {
    /// Outcome of a request for a file.
    FileOutcome {
        /// The whole file is sent.
        Whole = "whole",
        /// A part of it is sent.
        Part = "part",
        /// The client has the current version.
        NotModified = "not_modified",
        /// The file does not exist or must not be served.
        NotFound = "not_found",
        /// The folder, or the stream for the progress, is not granted.
        Forbidden = "forbidden",
        /// The maximum number of downloads is in progress.
        Busy = "max_downloads",
        /// The request is invalid, or the file has no such part.
        Invalid = "validation_error",
        /// The file cannot be read.
        Error = "server_error",
    }
}

reasons! {
    /// A bound that was reached.
    BoundHit {
        /// The queue of publishes.
        PublishQueue = "publish_queue",
        /// The committed batches that wait for the manager; the writer waited.
        DispatchQueue = "dispatch_queue",
        /// The manager's mailbox.
        ManagerMailbox = "manager_mailbox",
        /// A shard's mailbox; its sessions continued from history.
        ShardMailbox = "shard_mailbox",
        /// A session's queue; it continued from history.
        SessionQueue = "session_queue",
        /// The concurrent disk reads of history; one waited.
        DiskReads = "disk_reads",
        /// The concurrent requests of other hubs of the cluster; one was refused.
        HubRequests = "hub_requests",
        /// The concurrent disk lookups; one waited.
        DiskLookups = "disk_lookups",
        /// The bytes of bodies that are being received.
        RequestBodies = "request_bodies",
    }
}

reasons! {
    /// Origin of replayed events.
    ReplaySource {
        /// The recent events in memory.
        Memory = "memory",
        /// The journal.
        Disk = "disk",
    }
}

reasons! {
    /// Protocol of a session or a publish.
    Protocol {
        /// The hub's own.
        Native = "native",
        /// The Mercure protocol.
        Mercure = "mercure",
        /// The Durable Streams protocol.
        DurableStreams = "durable-streams",
    }
}
