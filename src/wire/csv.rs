//! CSV (RFC 4180): a row per event, with the members of its data as columns.
//!
//! The first line names the columns. If the request names none, they are the members of the first
//! event's data, or `data` if that is not an object. With an envelope, the columns `id`, `stream`
//! (several with spaces between), `type` and `time` come first.

use super::envelope::names;
use crate::event::json::{Members, MembersByName};
use crate::event::{Body, Entry, EventId, Interest, Invalid, Payload, json};
use rustc_hash::FxHashSet;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Maximum number of columns, also if the first event determines them.
const MAX_COLUMNS: usize = 256;
/// Column of data that is not an object.
const DATA_COLUMN: &str = "data";
/// Columns of the envelope.
const ENVELOPE_COLUMNS: [&str; 4] = ["id", "stream", "type", "time"];

/// Columns of a table, by the members of data. `a.b` is the member `b` of the member `a`, unless
/// there is a member of that name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Columns(Vec<String>);

impl Columns {
    /// Parses column names that are separated by commas.
    ///
    /// # Errors
    ///
    /// Fails if a name is empty or occurs twice, or if there are more than 256.
    pub fn parse(list: &str) -> Result<Self, Invalid> {
        let refuse = |why: String| Err(Invalid::new("columns", why));
        let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        if names.len() > MAX_COLUMNS {
            return refuse(format!("at most {MAX_COLUMNS} columns allowed, got {}", names.len()));
        }
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                return refuse("a column name must not be empty".into());
            }
            if names[..at].contains(name) {
                return refuse(format!("duplicate column {name:?}"));
            }
        }
        Ok(Self(names))
    }

    /// Returns the columns of `payload`.
    fn of(payload: &Payload) -> Self {
        let names_of = |members: Members<'_>| {
            let mut known = FxHashSet::default();
            let names = members.0.into_iter().map(|(name, _)| name.into_owned());
            names.filter(|name| known.insert(name.clone())).take(MAX_COLUMNS).collect::<Vec<_>>()
        };
        let names = Members::of(payload).map(names_of).filter(|names| !names.is_empty());
        Self(names.unwrap_or_else(|| vec![DATA_COLUMN.to_owned()]))
    }

    /// Returns the columns of an event; `None` for the end of a stream.
    pub(super) fn of_entry(entry: &Entry) -> Option<Self> {
        match &entry.body {
            Body::Event { payload, .. } => Some(Self::of(payload)),
            Body::Created | Body::End(_) => None,
        }
    }
}

/// A table whose columns are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) columns: &'a Columns,
    pub(super) style: TableOptions,
}

/// Options of a table beside its columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// True if the columns of the envelope come before those of the data.
    pub envelope: bool,
    /// True if an apostrophe is put before texts that a spreadsheet would run as formulas.
    pub escape_formulas: bool,
}

impl TableOptions {
    /// Returns a text as a cell. The escaped first characters are those of OWASP, "CSV Injection".
    fn cell<'a>(self, text: Cow<'a, str>) -> Cow<'a, str> {
        if self.escape_formulas && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            return Cow::Owned(format!("'{text}"));
        }
        text
    }
}

/// Appends the line that names the columns.
pub fn header(out: &mut Vec<u8>, columns: &Columns, style: TableOptions) {
    let envelope_columns = if style.envelope { &ENVELOPE_COLUMNS[..] } else { &[] };
    let names = envelope_columns.iter().copied().chain(columns.0.iter().map(String::as_str));
    row(out, names.map(|name| style.cell(Cow::Borrowed(name))));
}

/// Appends the row of `entry`, whose id is `id`; an end has none.
pub(super) fn entry(
    out: &mut Vec<u8>,
    id: EventId,
    entry: &Entry,
    table: Table<'_>,
    reader: Option<&Interest>,
) {
    let Table { columns, style } = table;
    let Body::Event { kind, payload } = &entry.body else { return };
    let members = MembersByName::of(payload);
    let cell = |name: &'_ String| match &members {
        Some(members) => members.get(name).map_or(Cow::Borrowed(""), |value| text(value, style)),
        None if name == DATA_COLUMN => data_cell(payload, style),
        None => Cow::Borrowed(""),
    };
    let cells = columns.0.iter().map(cell);
    if !style.envelope {
        return row(out, cells);
    }
    let streams = names(entry, reader).join(" ");
    let leading = [id.to_string(), streams, kind.as_str().to_owned(), entry.time.to_string()];
    row(out, leading.into_iter().map(|text| style.cell(Cow::Owned(text))).chain(cells));
}

/// Returns data that is not an object as a cell. A number is not escaped.
fn data_cell(payload: &Payload, style: TableOptions) -> Cow<'_, str> {
    let text = super::envelope::text(payload);
    match text.parse::<f64>() {
        Ok(_) => text,
        Err(_) => style.cell(text),
    }
}

/// Returns a value as a cell: the text of a string, nothing for `null`, otherwise its JSON.
fn text(value: &RawValue, style: TableOptions) -> Cow<'_, str> {
    match value.get() {
        "null" => Cow::Borrowed(""),
        other => json::string(value).map_or(Cow::Borrowed(other), |text| style.cell(text)),
    }
}

/// Appends a line of cells (RFC 4180 §2).
fn row<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = Cow<'a, str>>) {
    let start = out.len();
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !cell.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
            out.extend_from_slice(cell.as_bytes());
            continue;
        }
        out.push(b'"');
        for byte in cell.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    if out.len() == start {
        // A single empty cell is quoted, because many readers skip an empty line.
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use crate::event::Epoch;

    fn table(columns: &str, events: &[&str]) -> String {
        let events: Vec<Entry> =
            events.iter().map(|text| example(&["a", "b"], "x", text)).collect();
        let (columns, envelope) = match columns {
            "" => (Columns::of_entry(&events[0]).expect("an event"), false),
            "envelope" => (Columns::of_entry(&events[0]).expect("an event"), true),
            named => (Columns::parse(named).expect("columns"), false),
        };
        let mut out = Vec::new();
        let style = TableOptions { envelope, ..TableOptions::default() };
        header(&mut out, &columns, style);
        for event in &events {
            let id = EventId { epoch: Epoch(0), position: event.position };
            entry(&mut out, id, event, Table { columns: &columns, style }, None);
        }
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn first_event_determines_the_columns() {
        let events = [
            r#"{"name":"a,b","n":1.50,"tags":["x"],"none":null}"#,
            r#"{"n":2,"name":"say \"hi\"\r\nnow","more":true}"#,
            "no object",
        ];
        let expected = "name,n,tags,none\r\n\"a,b\",1.50,\"[\"\"x\"\"]\",\r\n\
                        \"say \"\"hi\"\"\r\nnow\",2,,\r\n,,,\r\n";
        assert_eq!(table("", &events), expected);
    }

    #[test]
    fn data_that_is_no_object_has_one_column_and_empty_data_is_a_row() {
        assert_eq!(
            table("", &["a", "b\nc", "", "[1, 2]"]),
            "data\r\na\r\n\"b\nc\"\r\n\"\"\r\n\"[1,2]\"\r\n"
        );
    }

    #[test]
    fn columns_can_name_nested_members() {
        let events = [r#"{"a":{"b":1,"c":{"d":"x"}},"a.b":2}"#, r#"{"a":{"b":3}}"#];
        assert_eq!(table("a.c.d,a.b,z", &events), "a.c.d,a.b,z\r\nx,2,\r\n,3,\r\n");
    }

    #[test]
    fn envelope_adds_four_columns() {
        assert_eq!(
            table("envelope", &[r#"{"n":1}"#]),
            "id,stream,type,time,n\r\n00000000-0000000000001000,a b,x,1970-01-01T00:00:01.000Z,1\r\n"
        );
    }

    #[test]
    fn invalid_column_lists_are_refused() {
        let many = vec!["a"; MAX_COLUMNS + 1].join(",");
        for list in ["", "a,,b", "a,a", &many] {
            assert_eq!(Columns::parse(list).expect_err(list).field, "columns");
        }
    }
}
