//! What was said, where: flags before environment before file.

use super::settings::{SETTINGS, env_name};
use clap::ArgMatches;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A setting that cannot be meant, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// A flag, a variable, or a file with its line.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Some values and the place they were said at.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) place: String,
    pub(super) values: Vec<String>,
}

/// One table of a list of the file, like `[[retention]]`: its members by name.
pub(super) type Rule = HashMap<String, Words>;

/// The lists of tables that a file may have, and which of their members are lists.
const TABLES: [(&str, &[&str]); 3] = [
    ("retention", &["streams"]),
    ("limit", &["streams"]),
    ("key", &["publish", "subscribe", "run", "files"]),
];

/// Everything that was said.
#[derive(Default)]
pub struct Said {
    words: HashMap<&'static str, Words>,
    /// By list: each table with its place.
    tables: HashMap<&'static str, Vec<(String, Rule)>>,
    pub(super) wrong: Vec<Wrong>,
}

impl Said {
    /// Collects flags, the environment as `env` tells it, and the file that `--config`,
    /// `FANFARE_CONFIG` or the presence of `fanfare.toml` names.
    pub fn collect(flags: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Self {
        let mut said = Self::default();
        let file =
            match flags.get_one::<String>("config").cloned().or_else(|| env("FANFARE_CONFIG")) {
                Some(named) => Some(PathBuf::from(named)),
                // One that is there and cannot be read is an error, not nothing.
                None => {
                    Some(PathBuf::from("fanfare.toml")).filter(|p| p.symlink_metadata().is_ok())
                }
            };
        if let Some(path) = file {
            match std::fs::read_to_string(&path) {
                Ok(text) => said.read_file(&path, &text),
                Err(e) => said.note(path.display().to_string(), format!("cannot be read: {e}")),
            }
        }
        for setting in SETTINGS {
            let variable = env_name(setting.name);
            let each = |value: &String| -> Vec<String> {
                match setting.repeatable {
                    true => value.split(',').map(|v| v.trim().to_owned()).collect(),
                    false => vec![value.clone()],
                }
            };
            if let Some(value) = env(&variable) {
                said.words.insert(setting.name, Words { place: variable, values: each(&value) });
            }
            if let Some(values) = flags.get_many::<String>(setting.name) {
                let place = format!("--{}", setting.name);
                let values = values.flat_map(each).collect();
                said.words.insert(setting.name, Words { place, values });
            }
        }
        said
    }

    /// What was said of a setting.
    pub(super) fn of(&self, name: &'static str) -> Option<Words> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name}");
        self.words.get(name).cloned()
    }

    /// The tables of a list, each with its place.
    pub(super) fn take_tables(&mut self, list: &str) -> Vec<(String, Rule)> {
        debug_assert!(TABLES.iter().any(|(name, _)| *name == list), "{list}");
        self.tables.remove(list).unwrap_or_default()
    }

    pub(super) fn note(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.wrong.push(Wrong { place: place.into(), why: why.into() });
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let place = |offset: usize| {
            let line = text[..offset.min(text.len())].matches('\n').count() + 1;
            format!("{}:{line}", path.display())
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(e) => {
                let at = e.span().map_or(0, |span| span.start);
                return self.note(place(at), e.message().to_owned());
            }
        };
        for (key, value) in table.get_ref() {
            let (name, at) = (key.get_ref().replace('_', "-"), place(key.span().start));
            if let Some(list) = TABLES.iter().find(|(list, _)| *list == name) {
                self.read_tables(value.get_ref(), *list, &at, &place);
            } else if let Some(setting) = SETTINGS.iter().find(|s| s.name == name) {
                match words(value.get_ref(), setting.repeatable) {
                    Some(values) if values.is_empty() => {
                        self.note(at, format!("{name} is an empty list; leave it out"));
                    }
                    Some(values) => {
                        let words = Words { place: at.clone(), values };
                        if self.words.insert(setting.name, words).is_some() {
                            self.note(at, format!("{name} is given twice"));
                        }
                    }
                    None => self.note(at, format!("{name} must be a string or a number")),
                }
            } else {
                self.note(at, format!("there is no setting {name:?}"));
            }
        }
    }

    fn read_tables(
        &mut self,
        value: &DeValue<'_>,
        (list, lists): (&'static str, &[&str]),
        at: &str,
        place: &impl Fn(usize) -> String,
    ) {
        let no_list = format!("{list} is a list of tables: [[{list}]]");
        let DeValue::Array(tables) = value else { return self.note(at, no_list) };
        if tables.is_empty() {
            return self.note(at, format!("{list} is an empty list; leave it out"));
        }
        for item in tables {
            let at = place(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                self.note(at, no_list.clone());
                continue;
            };
            let mut rule = Rule::new();
            for (key, value) in table {
                let (name, at) = (key.get_ref().replace('_', "-"), place(key.span().start));
                match words(value.get_ref(), lists.contains(&name.as_str())) {
                    Some(values) => {
                        let words = Words { place: at.clone(), values };
                        if rule.insert(name.clone(), words).is_some() {
                            self.note(at, format!("{name} is given twice"));
                        }
                    }
                    None => self.note(at, format!("{name} must be a string, a number or a bool")),
                }
            }
            self.tables.entry(list).or_default().push((at, rule));
        }
    }
}

fn words(value: &DeValue<'_>, repeatable: bool) -> Option<Vec<String>> {
    Some(match value {
        DeValue::String(text) => vec![text.to_string()],
        DeValue::Integer(number) => vec![number.to_string()],
        DeValue::Boolean(truth) => vec![truth.to_string()],
        DeValue::Array(list) if repeatable => {
            let each = list.iter().map(|item| words(item.get_ref(), false));
            each.collect::<Option<Vec<_>>>()?.concat()
        }
        _ => return None,
    })
}
