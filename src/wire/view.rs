//! View of a subscriber: the form of its events.

use super::csv::{self, Columns};
use crate::event::Entry;
use crate::telemetry::Protocol;
use std::sync::Arc;

/// Format of a subscription's body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Format {
    /// Server-Sent Events, `text/event-stream`.
    #[default]
    Sse,
    /// An envelope per line, `application/x-ndjson`.
    Ndjson,
    /// The data of an event per line, `text/plain`.
    Text,
    /// A row per event, `text/csv`.
    Csv,
    /// Records for a converter inside the process, which writes Server-Sent Events.
    #[cfg(feature = "chat")]
    Records,
    /// Server-Sent Events of the Mercure protocol.
    #[cfg(feature = "mercure")]
    Updates,
    /// Server-Sent Events of the Durable Streams protocol.
    #[cfg(feature = "durable-streams")]
    Follow,
}

impl Format {
    /// Names in queries and on the command line, the default first.
    pub const NAMES: [&'static str; 4] = ["sse", "ndjson", "text", "csv"];

    /// Returns the format of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sse" => Some(Self::Sse),
            "ndjson" => Some(Self::Ndjson),
            "text" => Some(Self::Text),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Returns the format that an `Accept` header asks for: Server-Sent Events if it names them, or
    /// if it names no known format.
    pub fn accepted(accept: &str) -> Self {
        let accepts = |essence: &str| {
            accept.split(',').any(|kind| {
                let kind = kind.split(';').next().unwrap_or(kind).trim();
                kind.eq_ignore_ascii_case(essence)
            })
        };
        let known = [Self::Sse, Self::Ndjson, Self::Text, Self::Csv];
        known.into_iter().find(|format| accepts(format.essence())).unwrap_or_default()
    }

    fn essence(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            #[cfg(feature = "chat")]
            Self::Records => Self::Sse.essence(),
            #[cfg(feature = "mercure")]
            Self::Updates => Self::Sse.essence(),
            #[cfg(feature = "durable-streams")]
            Self::Follow => Self::Sse.essence(),
            Self::Ndjson => "application/x-ndjson",
            Self::Text => "text/plain",
            Self::Csv => "text/csv",
        }
    }

    /// Returns the protocol that has the format.
    pub fn protocol(self) -> Protocol {
        match self {
            #[cfg(feature = "mercure")]
            Self::Updates => Protocol::Mercure,
            #[cfg(feature = "durable-streams")]
            Self::Follow => Protocol::DurableStreams,
            _ => Protocol::Native,
        }
    }

    /// Returns the `Content-Type`. That of Server-Sent Events has no charset, because it is always
    /// UTF-8 and some clients do not expect one.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            // RFC 4180 §3.
            Self::Csv => "text/csv; charset=utf-8; header=present",
            other => other.essence(),
        }
    }
}

/// Form of a subscriber's events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Format.
    pub format: Format,
    /// True if data is sent as `{"stream","type","time","data"}`, for a client of several streams.
    /// NDJSON always has that form.
    pub envelope: bool,
    /// True if events have no `event:` line, so that an EventSource gives all of them to `onmessage`.
    pub without_types: bool,
    /// Columns of a table, once they are known.
    pub columns: Option<Arc<Columns>>,
    /// True if texts of a table that a spreadsheet would run as formulas are escaped.
    pub escape_formulas: bool,
    /// True if the hub's own control events are left out.
    pub without_control: bool,
    /// Form of the events of the Durable Streams protocol.
    #[cfg(feature = "durable-streams")]
    pub follow: Option<super::FollowView>,
}

impl View {
    /// Returns true if the hub's control events are included.
    pub fn has_control(&self) -> bool {
        !self.without_control && !matches!(self.format, Format::Text | Format::Csv)
    }

    /// Returns true if the subscriber reads why its session ends, or at least when to reconnect.
    pub fn has_closing(&self) -> bool {
        #[cfg(feature = "mercure")]
        if self.format == Format::Updates {
            return true;
        }
        self.has_control()
    }

    /// Returns true if a reader that retention has overtaken is disconnected, because nothing in its format tells it.
    pub fn ends_at_gap(&self) -> bool {
        #[cfg(feature = "durable-streams")]
        return self.format == Format::Follow;
        #[cfg(not(feature = "durable-streams"))]
        false
    }

    /// Returns the options of a table.
    pub fn style(&self) -> csv::TableOptions {
        csv::TableOptions { envelope: self.envelope, escape_formulas: self.escape_formulas }
    }

    /// Returns true for a table whose columns its first event determines.
    pub fn awaits_columns(&self) -> bool {
        self.format == Format::Csv && self.columns.is_none()
    }

    /// Takes the columns of `entry` for a table that awaits them, and appends the header line.
    pub fn take_columns(&mut self, out: &mut Vec<u8>, entry: &Entry) {
        if let Some(columns) = Columns::of_entry(entry) {
            csv::header(out, &columns, self.style());
            self.columns = Some(Arc::new(columns));
        }
    }

    /// Returns true if the streams of events are named.
    pub fn names_streams(&self) -> bool {
        match self.format {
            Format::Sse | Format::Csv => self.envelope,
            Format::Ndjson => true,
            Format::Text => false,
            #[cfg(feature = "chat")]
            Format::Records => false,
            #[cfg(feature = "mercure")]
            Format::Updates => false,
            // The last event of one stream need not be that of another.
            #[cfg(feature = "durable-streams")]
            Format::Follow => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_selects_the_format_with_sse_as_default() {
        for (accept, format) in [
            ("", Format::Sse),
            ("*/*", Format::Sse),
            ("text/event-stream", Format::Sse),
            ("application/x-ndjson", Format::Ndjson),
            ("text/html, Text/Plain; q=0.5", Format::Text),
            ("text/plain, text/event-stream", Format::Sse),
            ("text/csv", Format::Csv),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
