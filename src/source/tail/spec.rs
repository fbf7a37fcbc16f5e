//! Configuration of followed files.

use super::joining::JoinRule;
use crate::event::{EventType, Invalid, StreamName};
use std::path::Path;

/// Files to follow, and the stream of their lines.
#[derive(Clone, Debug)]
pub struct TailSpec {
    /// Patterns of their paths.
    pub paths: Vec<glob::Pattern>,
    /// Template of the stream of each file.
    pub stream: StreamTemplate,
    /// The type of the events.
    pub kind: EventType,
    /// Rule for lines that belong together.
    pub joins: JoinRule,
    /// True if the content that a file has when it is first found is published, too.
    pub from_start: bool,
    /// True if symbolic links are followed.
    pub follows_links: bool,
}

impl TailSpec {
    /// Returns the key of its positions: the pattern and the stream.
    pub(super) fn key(&self) -> String {
        let paths: Vec<&str> = self.paths.iter().map(glob::Pattern::as_str).collect();
        format!("{} -> {}", paths.join(" "), self.stream.0)
    }
}

/// Template of a stream name, with the placeholders `{name}`, `{file}` and `{dir}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamTemplate(String);

/// Error in a template, or in the name that it produces for a path.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The name is not valid for a stream.
    #[error("{name:?} is not a stream name: {}", .source.detail)]
    Name {
        /// Name that the template produces.
        name: String,
        /// Error in the name.
        source: Invalid,
    },
    /// The stream belongs to the hub.
    #[error("only the hub publishes to {0:?}")]
    Reserved(StreamName),
}

impl StreamTemplate {
    /// Parses a template. Streams that only the hub may write to, or only admins may read, are
    /// refused.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Self(text.to_owned());
        let stream = template.of(Path::new("/dir/name.log"))?;
        if stream.is_written_by_hub() || stream.is_for_admins() {
            Err(TemplateError::Reserved(stream))
        } else {
            Ok(template)
        }
    }

    /// Returns the stream of a file. Characters that a stream name cannot contain become
    /// underscores.
    pub(super) fn of(&self, path: &Path) -> Result<StreamName, TemplateError> {
        let text = |part: Option<&std::ffi::OsStr>| {
            let part = part.unwrap_or_default().to_string_lossy();
            let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '*';
            part.chars().map(|c| if fits(c) { c } else { '_' }).collect::<String>()
        };
        let folder = path.parent().and_then(Path::file_name);
        let name = self
            .0
            .replace("{name}", &text(path.file_stem()))
            .replace("{file}", &text(path.file_name()))
            .replace("{dir}", &text(folder));
        StreamName::parse(&name).map_err(|source| TemplateError::Name { name, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_template_inserts_parts_of_the_path() {
        let of = |template: &str, path: &str| {
            let template = StreamTemplate::parse(template).expect("a template");
            template.of(Path::new(path)).expect("a stream").to_string()
        };
        assert_eq!(of("logs.{name}", "/var/log/app/web.log"), "logs.web");
        assert_eq!(of("{dir}.{file}", "/var/log/app/a b*.log"), "app.a_b_.log");
        assert_eq!(of("all", "x"), "all");
        for bad in ["", "a b", "hub.{name}", "jobs.x.y", "system"] {
            assert!(StreamTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
