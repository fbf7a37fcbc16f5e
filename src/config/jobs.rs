//! Configuration of jobs.

use super::raw::{RawValue, Table};
use super::resolve::{Resolver, parse_count, parse_directory, parse_positive_duration};
use crate::source::{JobSpec, RunAs, check_job_name};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// Default time for a run to stop.
const STOP_AFTER: Duration = Duration::from_secs(10);

impl Resolver {
    /// Returns the jobs of the `[job.NAME]` tables.
    pub(super) fn jobs(&mut self) -> Vec<JobSpec> {
        let tables = self.raw.take_tables("job");
        tables.into_iter().filter_map(|(location, rule)| self.job(&location, rule)).collect()
    }

    fn job(&mut self, location: &str, mut rule: Table) -> Option<JobSpec> {
        let name =
            self.member(&mut rule, "name", |text| check_job_name(text).map(|()| text.to_owned()));
        let command = rule.remove("command").map(|value| value.values).unwrap_or_default();
        if command.first().is_none_or(String::is_empty) {
            let why = "missing `command` in [job.NAME]: a list of the program and its arguments";
            self.raw.add_error(location, why);
        }
        if let [program] = command.as_slice()
            && program.contains(char::is_whitespace)
            && !Path::new(program).exists()
        {
            let why = format!(
                "no program {program:?}: `command` is a list of the program and its arguments, \
                 such as [\"make\", \"all\"]"
            );
            self.raw.add_error(location, why);
        }
        let passed = rule.remove("pass-env").map(|value| value.values).unwrap_or_default();
        let environment = rule.remove("environment").map_or_else(Vec::new, |w| self.variables(&w));
        let directory = self.member(&mut rule, "directory", parse_directory);
        let timeout = self.member(&mut rule, "timeout", parse_positive_duration);
        let user = self.member(&mut rule, "user", RunAs::find);
        let at_most = self.member(&mut rule, "at-most", parse_count).unwrap_or(1);
        let stop_after =
            self.member(&mut rule, "stop-after", parse_positive_duration).unwrap_or(STOP_AFTER);
        self.refuse_others("[job.NAME]", rule);
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

    fn variables(&mut self, value: &RawValue) -> Vec<(String, String)> {
        let mut seen = HashSet::new();
        self.parse(value, |pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() && !pair.contains('\0') => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(format!("{pair:?} is not a valid environment variable")),
        })
        .into_iter()
        .filter(|(name, _)| seen.insert(name.clone()))
        .collect()
    }
}
