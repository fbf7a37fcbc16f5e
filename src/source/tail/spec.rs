//! Files that are followed, as they are configured.

use super::joining::JoinRule;
use crate::event::{EventType, StreamName};
use std::path::Path;

/// Files that are followed, and where their lines go.
#[derive(Clone, Debug)]
pub struct TailSpec {
    /// Patterns of their paths.
    pub paths: Vec<glob::Pattern>,
    /// The stream of each.
    pub stream: StreamTemplate,
    /// The type of the events.
    pub kind: EventType,
    /// Rule for lines that belong together.
    pub joins: JoinRule,
    /// True if the content before the first sight of a file is published, too.
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

/// The name of a stream with `{name}`, `{file}` and `{dir}` in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamTemplate(String);

impl StreamTemplate {
    /// Checks and takes a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        let stream = template.of(Path::new("/dir/name.log"))?;
        if stream.is_written_by_hub() || stream.is_for_admins() {
            Err(format!("only the hub publishes to {stream:?}"))
        } else {
            Ok(template)
        }
    }

    /// The stream of a file. What may not stand in a name is an underscore there.
    pub(super) fn of(&self, path: &Path) -> Result<StreamName, String> {
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
        StreamName::parse(&name).map_err(|e| format!("{name:?} is no stream: {}", e.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_file_says_which_it_is() {
        let of = |template: &str, path: &str| {
            let template = StreamTemplate::parse(template).expect("a template");
            template.of(Path::new(path)).map(|name| name.to_string())
        };
        assert_eq!(of("logs.{name}", "/var/log/app/web.log"), Ok("logs.web".to_owned()));
        assert_eq!(of("{dir}.{file}", "/var/log/app/a b*.log"), Ok("app.a_b_.log".to_owned()));
        assert_eq!(of("all", "x"), Ok("all".to_owned()));
        for bad in ["", "a b", "hub.{name}", "jobs.x.y", "system"] {
            assert!(StreamTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
