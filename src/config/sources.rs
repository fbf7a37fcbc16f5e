//! Jobs, files that are followed and folders to download from, as configured.

use super::invalid_value::InvalidValue;
use super::raw::{RawValue, Rule};
use super::resolve::{Resolver, parse_count, parse_some_time};
use crate::event::EventType;
use crate::source::{JobSpec, JoinRule, RunAs, StreamTemplate, TailSpec, check_job_name};
use std::collections::HashSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// Default stream of a followed file.
const DEFAULT_STREAM: &str = "logs.{name}";
/// Default time for a run to stop.
const STOP_AFTER: Duration = Duration::from_secs(10);

impl Resolver {
    /// The jobs of `[job.NAME]`.
    pub(super) fn jobs(&mut self) -> Vec<JobSpec> {
        let tables = self.said.take_tables("job");
        tables.into_iter().filter_map(|(place, rule)| self.job(&place, rule)).collect()
    }

    fn job(&mut self, place: &str, mut rule: Rule) -> Option<JobSpec> {
        let name =
            self.member(&mut rule, "name", |text| check_job_name(text).map(|()| text.to_owned()));
        let command = rule.remove("command").map(|words| words.values).unwrap_or_default();
        if command.first().is_none_or(String::is_empty) {
            self.said.note(place, "a job needs `command`, a list of a program and its arguments");
        }
        let passed = rule.remove("pass-env").map(|words| words.values).unwrap_or_default();
        let environment = rule.remove("environment").map_or_else(Vec::new, |w| self.variables(&w));
        let directory = self.member(&mut rule, "directory", folder);
        let timeout = self.member(&mut rule, "timeout", parse_some_time);
        let user = self.member(&mut rule, "user", RunAs::find);
        let at_most = self.member(&mut rule, "at-most", parse_count).unwrap_or(1);
        let stop_after =
            self.member(&mut rule, "stop-after", parse_some_time).unwrap_or(STOP_AFTER);
        self.refuse_others("a job", rule);
        Some(JobSpec {
            name: name?,
            command,
            directory,
            environment,
            passed,
            timeout,
            user,
            at_most: usize::try_from(at_most).unwrap_or(usize::MAX),
            stop_after,
        })
    }

    /// The files of `[[source.tail]]`.
    pub(super) fn tails(&mut self) -> Vec<TailSpec> {
        let tables = self.said.take_tables("source.tail");
        tables.into_iter().filter_map(|(place, rule)| self.tail(&place, rule)).collect()
    }

    fn tail(&mut self, place: &str, mut rule: Rule) -> Option<TailSpec> {
        let paths = rule.remove("paths").map_or_else(Vec::new, |words| {
            self.parse(&words, |text| {
                glob::Pattern::new(text).map_err(|e| format!("{text:?} is no pattern: {e}"))
            })
        });
        if paths.is_empty() {
            self.said.note(place, "source.tail needs `paths`, a pattern or a list of them");
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
            _ => Err(format!("{text:?} is neither start nor end")),
        });
        let links = self.member(&mut rule, "follow-symlinks", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        });
        self.refuse_others("source.tail", rule);
        let (from_start, follows_links) =
            (from_start.unwrap_or_default(), links.unwrap_or_default());
        Some(TailSpec { paths, stream, kind, joins, from_start, follows_links })
    }

    /// The folders of `[files.NAME]`.
    pub(super) fn folders(&mut self) -> Vec<(String, PathBuf)> {
        let tables = self.said.take_tables("files");
        tables.into_iter().filter_map(|(place, rule)| self.folder(&place, rule)).collect()
    }

    fn folder(&mut self, place: &str, mut rule: Rule) -> Option<(String, PathBuf)> {
        let name = self.member(&mut rule, "name", |text| {
            if text.is_empty() || text.contains('/') {
                Err(format!("{text:?} cannot be a part of a path"))
            } else {
                Ok(text.to_owned())
            }
        });
        if !rule.contains_key("path") {
            self.said.note(place, "files needs `path`, a folder");
        }
        let path = self.member(&mut rule, "path", folder);
        self.refuse_others("files", rule);
        Some((name?, path?))
    }

    fn variables(&mut self, words: &RawValue) -> Vec<(String, String)> {
        let mut seen = HashSet::new();
        self.parse(words, |pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() && !pair.contains('\0') => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(format!("{pair:?} is no variable")),
        })
        .into_iter()
        .filter(|(name, _)| seen.insert(name.clone()))
        .collect()
    }

    /// Returns the parsed value of a table's member; `None` if it is missing or invalid.
    pub(super) fn member<T, E: Display>(
        &mut self,
        rule: &mut Rule,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let words = rule.remove(name)?;
        self.parse(&words, parse).pop()
    }

    /// Says of what is left of a table that there is no such thing.
    pub(super) fn refuse_others(&mut self, what: &str, rule: Rule) {
        for (name, words) in rule {
            self.said.note(words.place, format!("{what} has no {name:?}"));
        }
    }
}

/// A folder that is there.
fn folder(text: &str) -> Result<PathBuf, InvalidValue> {
    let path = PathBuf::from(text);
    if path.is_dir() { Ok(path) } else { Err(InvalidValue::NoDirectory(text.to_owned())) }
}
