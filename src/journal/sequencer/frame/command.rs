//! Commands for streams with properties, in a batch of a replicated log.
//!
//! Layout after the tag: stream, kind of the change (u8), and
//!
//! - creation: properties, closes (u8), creation of the replaced stream (present u8, u64), messages
//! - append: creation (u64), closes (u8), sequence (present u8, length u8, text), producer (present u8, length u8,
//!   id, epoch u64, sequence number u64), messages
//! - expiry, use: creation (u64)
//!
//! Messages are their number (u32), each an event without its tag.

use super::{Reader, short, write_event};
use crate::event::durable::{Append, Creation, ProducerWrite, StreamChange, StreamCommand};
use crate::event::{Draft, MAX_ENTRIES_PER_BATCH, Position};
use crate::journal::keys::Encoder;
use crate::journal::stream_record::{read_properties, write_properties};

const CREATE: u8 = 0;
const APPEND: u8 = 1;
const EXPIRE: u8 = 2;
const TOUCH: u8 = 3;

/// Writes a command after its tag.
pub(super) fn write(out: Encoder, command: &StreamCommand) -> Encoder {
    let out = short(out, command.stream.as_str());
    match &command.change {
        StreamChange::Create(creation) => {
            let out = write_properties(out.u8(CREATE), &creation.properties);
            let replaces = creation.replaces;
            let out = out.u8(u8::from(creation.close)).u8(u8::from(replaces.is_some()));
            messages(out.u64(replaces.map_or(0, Position::get)), &creation.drafts)
        }
        StreamChange::Append(append) => {
            let mut out = out.u8(APPEND).u64(append.created.get()).u8(u8::from(append.close));
            out = out.u8(u8::from(append.seq.is_some()));
            out = short(out, append.seq.as_deref().unwrap_or_default());
            out = out.u8(u8::from(append.producer.is_some()));
            if let Some(write) = &append.producer {
                out = short(out, &write.id).u64(write.epoch).u64(write.seq);
            }
            messages(out, &append.drafts)
        }
        StreamChange::Expire { created } => out.u8(EXPIRE).u64(created.get()),
        StreamChange::Touch { created } => out.u8(TOUCH).u64(created.get()),
    }
}

fn messages(out: Encoder, drafts: &[Draft]) -> Encoder {
    drafts.iter().fold(out.u32(drafts.len() as u32), write_event)
}

impl Reader<'_> {
    /// Reads a command after its tag.
    pub(super) fn command(&mut self) -> Option<StreamCommand> {
        let stream = self.stream()?;
        let change = match self.rest.u8()? {
            CREATE => StreamChange::Create(Creation {
                properties: read_properties(&mut self.rest)?,
                close: self.flag()?,
                replaces: {
                    let (is_some, created) = (self.flag()?, self.rest.position()?);
                    is_some.then_some(created)
                },
                drafts: self.messages()?,
            }),
            APPEND => StreamChange::Append(Append {
                created: self.rest.position()?,
                close: self.flag()?,
                seq: {
                    let (is_some, seq) = (self.flag()?, self.short()?);
                    is_some.then(|| seq.into())
                },
                producer: if self.flag()? { Some(self.producer()?) } else { None },
                drafts: self.messages()?,
            }),
            EXPIRE => StreamChange::Expire { created: self.rest.position()? },
            TOUCH => StreamChange::Touch { created: self.rest.position()? },
            _ => return None,
        };
        Some(StreamCommand { stream, change })
    }

    fn producer(&mut self) -> Option<ProducerWrite> {
        let id = self.short()?.into();
        Some(ProducerWrite { id, epoch: self.rest.u64()?, seq: self.rest.u64()? })
    }

    fn messages(&mut self) -> Option<Vec<Draft>> {
        let count = self.rest.u32()?;
        if count as usize > MAX_ENTRIES_PER_BATCH {
            return None;
        }
        (0..count).map(|_| self.event()).collect()
    }
}
