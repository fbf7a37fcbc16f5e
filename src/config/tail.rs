//! Configuration of followed files.

use super::raw::Table;
use super::resolve::Resolver;
use crate::event::EventType;
use crate::source::{JoinRule, StreamTemplate, TailSpec};

/// Default stream of a followed file.
const DEFAULT_STREAM: &str = "logs.{name}";

impl Resolver {
    /// Returns the followed files of the `[[source.tail]]` tables.
    pub(super) fn tails(&mut self) -> Vec<TailSpec> {
        let tables = self.raw.take_tables("source.tail");
        tables.into_iter().filter_map(|(location, rule)| self.tail(&location, rule)).collect()
    }

    fn tail(&mut self, location: &str, mut rule: Table) -> Option<TailSpec> {
        let paths = rule.remove("paths").map_or_else(Vec::new, |value| {
            self.parse(&value, |text| {
                glob::Pattern::new(text).map_err(|e| format!("invalid pattern {text:?}: {e}"))
            })
        });
        if paths.is_empty() {
            let why = "missing `paths` in [[source.tail]]: a pattern or a list of patterns";
            self.raw.add_error(location, why);
        }
        let kind = |text: &str| EventType::parse(text).map_err(|e| e.detail);
        let template = StreamTemplate::parse(DEFAULT_STREAM).ok();
        let stream = self.member(&mut rule, "stream", StreamTemplate::parse).or(template)?;
        let kind = self.member(&mut rule, "type", kind).or(EventType::parse("log").ok())?;
        let joins =
            self.member(&mut rule, "multiline", JoinRule::parse).unwrap_or(JoinRule::Nothing);
        let from_start = self.member(&mut rule, "from", |text| match text {
            "start" => Ok(true),
            "end" => Ok(false),
            _ => Err(format!("{text:?} is not one of start, end")),
        });
        let links = self.member(&mut rule, "follow-symlinks", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{text:?} is not one of true, false")),
        });
        self.refuse_others("[[source.tail]]", rule);
        let (from_start, follows_links) =
            (from_start.unwrap_or_default(), links.unwrap_or_default());
        Some(TailSpec { paths, stream, kind, joins, from_start, follows_links })
    }
}
