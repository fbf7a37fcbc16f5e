//! Problems of publishes that the journal did not accept.

use super::{Code, Problem};
use crate::event::durable::CommandRefusal;
use crate::journal::{PublishError, Refusal};
use crate::limits::Limit;
use crate::telemetry::BoundHit;

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Refused(Refusal::Unknown(_)) => Self::new(Code::NotFound, detail),
            PublishError::Refused(Refusal::Ended(_)) => {
                Self::new(Code::Conflict, detail).field("stream")
            }
            PublishError::Refused(Refusal::KeyConflict(_)) => {
                Self::new(Code::Conflict, detail).field("key")
            }
            PublishError::Refused(Refusal::TooManyStreams(_)) => {
                Self::limit_reached(Limit::Streams, detail).field("stream")
            }
            PublishError::Refused(Refusal::Command(refusal)) => {
                Self::new(Code::of_command(&refusal), detail)
            }
            PublishError::QueueFull => Self::bound_hit(BoundHit::PublishQueue, detail),
            PublishError::Draining => Self::new(Code::Draining, detail).retry_after(5),
            PublishError::DiskFull(_) => Self::new(Code::DiskFull, detail).retry_after(30),
            PublishError::TooLarge(_) => Self::new(Code::PayloadTooLarge, detail),
            PublishError::LogUnavailable => Self::new(Code::LogUnavailable, detail).retry_after(5),
            PublishError::Unconfirmed => Self::new(Code::Unconfirmed, detail).retry_after(5),
            PublishError::Poisoned(_) => Self::new(Code::JournalPoisoned, detail).retry_after(30),
        }
    }
}

impl From<CommandRefusal> for Problem {
    fn from(refusal: CommandRefusal) -> Self {
        PublishError::Refused(refusal.into()).into()
    }
}

impl Code {
    /// Returns the code of a command that was not applied.
    fn of_command(refusal: &CommandRefusal) -> Self {
        match refusal {
            CommandRefusal::Unknown => Self::NotFound,
            CommandRefusal::Gone => Self::Gone,
            CommandRefusal::StaleEpoch { .. } => Self::Forbidden,
            CommandRefusal::EpochStart => Self::Malformed,
            CommandRefusal::Exists
            | CommandRefusal::SourceGone
            | CommandRefusal::InUse
            | CommandRefusal::Closed
            | CommandRefusal::Applied { .. }
            | CommandRefusal::SeqRegression { .. }
            | CommandRefusal::SeqGap { .. } => Self::Conflict,
        }
    }
}
