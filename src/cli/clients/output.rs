//! Human-readable output: one line per event, with colours by level and type.
//!
//! Published data is only ever text: none of its control sequences reaches the terminal.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// An event in its envelope.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    pub(super) stream: Value,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) time: String,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
}

impl Envelope<'_> {
    /// Returns the names of the event's streams.
    pub(super) fn streams(&self) -> Vec<&str> {
        match &self.stream {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the data as published: the text of a string, or JSON.
    pub(super) fn text(&self) -> String {
        serde_json::from_str::<String>(self.data.get()).unwrap_or_else(|_| self.data.get().into())
    }
}

/// Use of colours.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) colours: bool,
}

impl Style {
    /// Returns the style for `always`, `never` or `auto`. `auto` has colours if standard output is
    /// a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
    pub(super) fn named(name: &str) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let auto = std::io::stdout().is_terminal() && !no_color;
        Self { colours: name == "always" || (name == "auto" && auto) }
    }

    fn paint(self, out: &mut String, code: &str, text: &str) {
        if self.colours && !code.is_empty() {
            let _ = write!(out, "\x1b[{code}m{text}\x1b[0m");
        } else {
            out.push_str(text)
        }
    }

    /// Formats an event as a line, or as several if its text has several.
    pub(super) fn line(self, event: &Envelope<'_>) -> String {
        let mut out = String::new();
        self.paint(&mut out, "2", &event.time);
        out.push(' ');
        self.paint(&mut out, "36", &escape_controls(&event.streams().join(",")));
        out.push(' ');
        let data: Value = serde_json::from_str(event.data.get()).unwrap_or_default();
        let member = |name: &str| data.get(name).map(text_or_json).unwrap_or_default();
        let text = match event.kind.as_str() {
            "log" => {
                let level = member("level");
                self.paint(&mut out, colour_of(&level), &format!("{:<8}", level.to_uppercase()));
                out.push(' ');
                member("message")
            }
            "metric" => {
                let unit = data
                    .get("unit")
                    .map_or(String::new(), |unit| " ".to_owned() + &text_or_json(unit));
                let labels =
                    data.get("labels").map_or(String::new(), |labels| format!(" {labels}"));
                format!("{} = {}{unit}{labels}", member("name"), member("value"))
            }
            "message" => text_or_json(&data),
            other => {
                self.paint(&mut out, "35", &escape_controls(other));
                out.push(' ');
                text_or_json(&data)
            }
        };
        out.push_str(&escape_controls(&text).replace('\n', "\n    "));
        out.push('\n');
        out
    }
}

/// Returns the text of a string, or JSON.
fn text_or_json(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn colour_of(level: &str) -> &'static str {
    match level {
        "trace" | "debug" => "2",
        "info" => "32",
        "warn" => "33",
        "error" => "31",
        "critical" => "1;31",
        _ => "",
    }
}

/// Escapes the control characters of `text`, which a terminal would interpret, except line breaks
/// and tabs.
pub(super) fn escape_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end_matches(['\r', '\n']).chars() {
        match c {
            '\n' | '\t' => out.push(c),
            // Bidirectional controls would change the order on the screen.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c if c.is_control() => {
                let _ = write!(out, "{}", c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(json: &str, colours: bool) -> String {
        Style { colours }.line(&serde_json::from_str(json).expect("an envelope"))
    }

    fn event(kind: &str, data: &str) -> String {
        format!(r#"{{"stream":"a","type":"{kind}","time":"T","data":{data}}}"#)
    }

    #[test]
    fn lines_are_formatted_by_event_type() {
        for (kind, data, line) in [
            ("log", r#"{"level":"warn","message":"two\nlines"}"#, "T a WARN     two\n    lines\n"),
            ("metric", r#"{"name":"cpu","value":1.5,"unit":"%"}"#, "T a cpu = 1.5 %\n"),
            ("message", r#""hello""#, "T a hello\n"),
            ("deploy", r#"{"n":1}"#, "T a deploy {\"n\":1}\n"),
        ] {
            assert_eq!(formatted(&event(kind, data), false), line);
        }
        let red = formatted(&event("log", r#"{"level":"error","message":"x"}"#), true);
        assert!(red.contains("\x1b[31mERROR   \x1b[0m"), "{red:?}");
    }

    #[test]
    fn control_sequences_in_data_are_escaped() {
        let line = formatted(&event("message", r#""\u001b[2Jgone\u0007\u009b\u202e\r""#), false);
        assert_eq!(line, "T a \\u{1b}[2Jgone\\u{7}\\u{9b}\\u{202e}\n");
    }
}
