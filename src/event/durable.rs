//! Streams that were created with properties, and the commands that change them (Durable Streams protocol).

use super::{Draft, Invalid, Position, StreamName, Timestamp};

/// Content type of a stream that was created without one, RFC 9110 §8.3.
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";
/// Content type of streams whose messages are JSON values. Streams without properties have it.
pub const JSON_CONTENT_TYPE: &str = "application/json";
/// Maximum length of a content type, in bytes.
const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// Maximum length of a producer's id and of a sequence, in bytes.
const MAX_PRODUCER_BYTES: usize = 255;
/// Maximum of epochs and sequence numbers: the largest integer that every JSON parser reads exactly.
pub const MAX_PRODUCER_NUMBER: u64 = (1 << 53) - 1;

/// A media type with its parameters, as the creator wrote it.
#[derive(Clone, Eq, Debug)]
pub struct ContentType(Box<str>);

impl ContentType {
    /// Parses the value of a `Content-Type` header.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is_token = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        let is_type = essence.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b));
        let is_printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !is_type || !is_printable || text.len() > MAX_CONTENT_TYPE_BYTES {
            return Err(Invalid::new("Content-Type", format!("{text:?} is not a media type")));
        }
        Ok(Self(text.trim().into()))
    }

    /// Returns the type of JSON values.
    pub fn json() -> Self {
        Self(JSON_CONTENT_TYPE.into())
    }

    /// Returns the type as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the type without parameters.
    fn essence(&self) -> &str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// Returns true if the messages are JSON values.
    pub fn is_json(&self) -> bool {
        self.essence().eq_ignore_ascii_case(JSON_CONTENT_TYPE)
    }

    /// Returns true if Server-Sent Events can have the data as it is.
    pub fn is_text(&self) -> bool {
        let is_text = |start: &str| start.eq_ignore_ascii_case("text/");
        self.is_json() || self.0.get(..5).is_some_and(is_text)
    }

    /// Returns true if two types are the same apart from their parameters.
    pub fn matches(&self, other: &Self) -> bool {
        self.essence().eq_ignore_ascii_case(other.essence())
    }
}

impl PartialEq for ContentType {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// Time at which a stream is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Ends with the deletion of the stream.
    Unlimited,
    /// Ends a number of seconds after the stream was last read or written.
    AfterUse {
        /// Seconds.
        seconds: u64,
    },
    /// Ends at a time.
    Until(Timestamp),
}

impl Lifetime {
    /// Returns true if a stream that was last used at `used` is over at `now`.
    pub fn is_over(self, used: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Unlimited => false,
            Self::AfterUse { seconds } => {
                now.ms() >= used.ms().saturating_add(seconds.saturating_mul(1000))
            }
            Self::Until(end) => now.ms() >= end.ms(),
        }
    }
}

/// A write of a producer. It is applied once, even if it is sent several times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerWrite {
    /// Id of the producer, 1 to 255 bytes.
    pub id: Box<str>,
    /// Epoch: a higher one shuts out the producer's earlier processes.
    pub epoch: u64,
    /// Sequence number in the epoch, from 0.
    pub seq: u64,
}

impl ProducerWrite {
    /// Checks the id of a producer.
    pub fn check_id(id: &str) -> Result<(), Invalid> {
        if id.is_empty() || id.len() > MAX_PRODUCER_BYTES {
            let why = format!("a producer id has 1 to {MAX_PRODUCER_BYTES} bytes");
            return Err(Invalid::new("Producer-Id", why));
        }
        Ok(())
    }
}

/// Part of another stream with which a fork begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkSource {
    /// The other stream.
    pub stream: StreamName,
    /// Position of its creation, which distinguishes it from a later stream of the same name.
    pub created: Position,
    /// Last position of it that the fork has.
    pub until: Position,
    /// Fork offset and sub-offset as they were requested, for a repeated request.
    pub requested: (Position, u64),
}

/// Properties with which a stream is created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamProperties {
    /// Content type.
    pub content_type: ContentType,
    /// Lifetime.
    pub lifetime: Lifetime,
    /// Stream whose data it begins with.
    pub source: Option<ForkSource>,
}

/// Creation of a stream.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Properties.
    pub properties: StreamProperties,
    /// First messages.
    pub drafts: Vec<Draft>,
    /// True if it ends at once.
    pub close: bool,
    /// Creation of a stream of the same name whose lifetime is over, which is removed first.
    pub replaces: Option<Position>,
}

/// Messages for the end of a stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// Position of the stream's creation; zero for a stream without properties.
    pub created: Position,
    /// Messages; none if the stream is only closed.
    pub drafts: Vec<Draft>,
    /// Sequence, which must be greater than that of the last append that had one, compared by bytes.
    pub seq: Option<Box<str>>,
    /// Producer, if it wants the append to be applied once.
    pub producer: Option<ProducerWrite>,
    /// True if the stream ends with the append.
    pub close: bool,
}

/// Command that changes a stream as a whole.
#[derive(Clone, Debug)]
pub enum StreamChange {
    /// Creates it.
    Create(Creation),
    /// Appends to it, or ends it.
    Append(Append),
    /// Removes it because its lifetime is over, if it was created at this position and has not been used since.
    Expire {
        /// Position of its creation.
        created: Position,
    },
    /// Records that it is in use.
    Touch {
        /// Position of its creation.
        created: Position,
    },
}

/// A command for one stream.
#[derive(Clone, Debug)]
pub struct StreamCommand {
    /// The stream.
    pub stream: StreamName,
    /// The change.
    pub change: StreamChange,
}

impl StreamCommand {
    /// Returns the messages that it adds.
    pub fn drafts(&self) -> &[Draft] {
        match &self.change {
            StreamChange::Create(creation) => &creation.drafts,
            StreamChange::Append(append) => &append.drafts,
            StreamChange::Expire { .. } | StreamChange::Touch { .. } => &[],
        }
    }

    /// Returns the maximum number of entries that it adds.
    pub fn max_entries(&self) -> usize {
        /// Creation and end, or the end of a stream that is replaced or removed.
        const BESIDE_MESSAGES: usize = 3;
        self.drafts().len() + BESIDE_MESSAGES
    }
}

/// Reason why a command was not applied. Some are no failure: the state is as requested already.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandRefusal {
    /// The stream exists.
    #[error("the stream exists")]
    Exists,
    /// The stream does not exist.
    #[error("the stream does not exist")]
    Unknown,
    /// The stream was deleted, and forks of it still have its data.
    #[error("the stream was deleted, and other streams still have its data")]
    Gone,
    /// The source of the fork was deleted or replaced meanwhile.
    #[error("the source of the fork was deleted")]
    SourceGone,
    /// The stream is in use again.
    #[error("the stream is in use")]
    InUse,
    /// The stream is closed.
    #[error("the stream is closed")]
    Closed,
    /// The append was applied before; the stream may be closed.
    #[error("the append was applied before")]
    Applied {
        /// Last sequence number of the producer, if one appended.
        seq: Option<u64>,
    },
    /// The sequence is not greater than the last one.
    #[error("Stream-Seq must be greater than {last:?}, that of the last append")]
    SeqRegression {
        /// The last sequence.
        last: String,
    },
    /// A producer with a higher epoch has taken over.
    #[error("the producer's epoch is {current}")]
    StaleEpoch {
        /// The higher epoch.
        current: u64,
    },
    /// Appends of the producer before this one are missing.
    #[error("the next sequence number of the producer is {expected}, not {received}")]
    SeqGap {
        /// Expected sequence number.
        expected: u64,
        /// Received sequence number.
        received: u64,
    },
    /// An epoch begins with a sequence number other than 0.
    #[error("a new epoch of a producer begins with the sequence number 0")]
    EpochStart,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_compared_without_case_and_their_kind_without_parameters() {
        let parse = |text| ContentType::parse(text).expect("a type");
        assert_eq!(parse("Text/Plain"), parse("text/plain"));
        assert_ne!(parse("text/plain; charset=utf-8"), parse("text/plain"));
        assert!(parse("text/plain; charset=utf-8").matches(&parse("TEXT/plain")));
        assert!(parse("Application/JSON; a=b").is_json() && parse("text/csv").is_text());
        assert!(!parse("application/x-ndjson").is_text());
        for bad in ["", "text", "text/", "/x", "a b/c", "text/plain\n", "text/é"] {
            assert!(ContentType::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lifetimes_end_exactly() {
        let at = Timestamp::from_ms;
        let short = Lifetime::AfterUse { seconds: 2 };
        assert!(!short.is_over(at(1_000), at(2_999)) && short.is_over(at(1_000), at(3_000)));
        let until = Lifetime::Until(at(5));
        assert!(!until.is_over(at(9), at(4)) && until.is_over(at(0), at(5)));
        assert!(!Lifetime::Unlimited.is_over(at(0), at(u64::MAX)));
        assert!(!Lifetime::AfterUse { seconds: u64::MAX }.is_over(at(1), at(u64::MAX - 1)));
    }
}
