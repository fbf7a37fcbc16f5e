//! Raw settings: flags take precedence over the environment, and that over the file.

use super::features::{missing_for_setting, missing_for_table};
use super::settings::{SETTINGS, env_name};
use clap::ArgMatches;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// An invalid setting, and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// A flag, a variable, or a file with its line.
    pub place: String,
    /// Description of the error.
    pub why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Values of a setting, and their location.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub(super) location: String,
    pub(super) values: Vec<String>,
}

/// A table of the file, such as one of `[[retention]]` or `[job.backup]`: its members by name.
pub(super) type Table = HashMap<String, RawValue>;

/// Kind of table that a file may have several of.
struct Tables {
    /// Name of the tables.
    name: &'static str,
    /// True if SIGHUP applies new values.
    is_reloaded: bool,
    /// True if each has a name, as in `[job.backup]`, which becomes its member `name`.
    is_named: bool,
    /// Members that are lists.
    lists: &'static [&'static str],
    /// Members that are tables of strings, which become lists of `NAME=VALUE`.
    maps: &'static [&'static str],
}

const TABLES: [Tables; 7] = [
    Tables {
        name: "retention",
        is_reloaded: false,
        is_named: false,
        lists: &["streams"],
        maps: &[],
    },
    Tables { name: "limit", is_reloaded: true, is_named: false, lists: &["streams"], maps: &[] },
    Tables {
        name: "key",
        is_reloaded: true,
        is_named: false,
        lists: &["publish", "end", "delete", "subscribe", "run", "files", "chat"],
        maps: &[],
    },
    Tables {
        name: "job",
        is_reloaded: false,
        is_named: true,
        lists: &["command", "pass-env"],
        maps: &["environment"],
    },
    Tables { name: "files", is_reloaded: false, is_named: true, lists: &[], maps: &[] },
    Tables {
        name: "chat.upstream",
        is_reloaded: false,
        is_named: true,
        lists: &["models"],
        maps: &["headers"],
    },
    Tables {
        name: "source.tail",
        is_reloaded: false,
        is_named: false,
        lists: &["paths"],
        maps: &[],
    },
];

/// Parent tables of `[[source.tail]]` and `[chat.upstream.NAME]`.
const PARENT_TABLES: [&str; 2] = ["source", "chat"];

/// Returns the tables below `parent`, for the error about an unknown one.
fn child_tables(parent: &str) -> String {
    let children = TABLES.iter().filter(|tables| tables.name.starts_with(&format!("{parent}.")));
    let named = |tables: &Tables| {
        if tables.is_named { format!("{}.NAME", tables.name) } else { format!("[{}]", tables.name) }
    };
    children.map(named).collect::<Vec<_>>().join(", ")
}

/// Settings and tables that only a restart applies, by name, as they are written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FixedSettings(BTreeMap<&'static str, String>);

impl FixedSettings {
    /// Returns the names of those that differ in `other`.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).copied().collect();
        names.into_iter().filter(|name| self.0.get(name) != other.0.get(name)).collect()
    }
}

/// All raw settings.
#[derive(Default)]
pub struct RawConfig {
    values: HashMap<&'static str, RawValue>,
    /// Tables by kind, each with its location.
    tables: HashMap<&'static str, Vec<(String, Table)>>,
    pub(super) errors: Vec<ConfigError>,
}

impl RawConfig {
    /// Collects the flags, the environment as `env` returns it, and the file that `--config` or
    /// `FANFARE_CONFIG` names, or `fanfare.toml` if it exists.
    pub fn collect(flags: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Self {
        let mut raw = Self::default();
        let file =
            match flags.get_one::<String>("config").cloned().or_else(|| env("FANFARE_CONFIG")) {
                Some(named) => Some(PathBuf::from(named)),
                // A file that exists and cannot be read is an error.
                None => {
                    Some(PathBuf::from("fanfare.toml")).filter(|p| p.symlink_metadata().is_ok())
                }
            };
        if let Some(path) = file {
            match std::fs::read_to_string(&path) {
                Ok(text) => raw.read_file(&path, &text),
                Err(e) => {
                    raw.add_error(path.display().to_string(), format!("cannot read the file: {e}"))
                }
            }
        }
        for setting in SETTINGS {
            let variable = env_name(setting.name);
            let split_value = |value: &String| -> Vec<String> {
                if setting.repeatable {
                    value.split(',').map(|v| v.trim().to_owned()).collect()
                } else {
                    vec![value.clone()]
                }
            };
            if let Some(value) = env(&variable) {
                raw.values.insert(
                    setting.name,
                    RawValue { location: variable, values: split_value(&value) },
                );
            }
            if let Some(values) = flags.get_many::<String>(setting.name) {
                let location = format!("--{}", setting.name);
                let values = values.flat_map(split_value).collect();
                raw.values.insert(setting.name, RawValue { location, values });
            }
        }
        raw
    }

    /// Returns what is configured beside the settings and tables that SIGHUP applies.
    pub(super) fn fixed(&self) -> FixedSettings {
        let settings = SETTINGS.iter().filter(|setting| !setting.is_reloaded);
        let settings = settings.filter_map(|setting| {
            self.values.get(setting.name).map(|value| (setting.name, format!("{:?}", value.values)))
        });
        let tables = TABLES.iter().filter(|tables| !tables.is_reloaded);
        let tables = tables.filter_map(|tables| {
            let written = self.tables.get(tables.name)?.iter().map(|(_, table)| {
                table.iter().map(|(name, value)| (name, &value.values)).collect::<BTreeMap<_, _>>()
            });
            Some((tables.name, format!("{:?}", written.collect::<Vec<_>>())))
        });
        FixedSettings(settings.chain(tables).collect())
    }

    /// Returns the raw value of a setting.
    pub(super) fn of(&self, name: &'static str) -> Option<RawValue> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name}");
        self.values.get(name).cloned()
    }

    /// Removes and returns the tables of a kind, each with its location.
    pub(super) fn take_tables(&mut self, list: &str) -> Vec<(String, Table)> {
        debug_assert!(TABLES.iter().any(|tables| tables.name == list), "{list}");
        self.tables.remove(list).unwrap_or_default()
    }

    pub(super) fn add_error(&mut self, location: impl Into<String>, why: impl Into<String>) {
        self.errors.push(ConfigError { place: location.into(), why: why.into() });
    }

    /// Reports the settings and tables that need a feature which this build lacks.
    pub(super) fn refuse_missing_features(&mut self) {
        // The system monitor that is off asks for nothing.
        let is_used = |name: &str, value: &RawValue| name != "system" || value.values != ["off"];
        let used = self.values.iter().filter(|(name, value)| is_used(name, value));
        let settings = used.filter_map(|(name, value)| {
            missing_for_setting(name).map(|feature| (*name, &value.location, feature))
        });
        let tables = self.tables.iter().flat_map(|(name, tables)| {
            let locations = tables.iter().map(|(location, _)| location);
            locations.filter_map(|location| {
                missing_for_table(name).map(|feature| (*name, location, feature))
            })
        });
        let mut missing: Vec<_> = settings.chain(tables).collect();
        missing.sort_unstable();
        for (name, location, feature) in missing {
            let why = format!("{name} needs the feature {feature:?}, which this build lacks");
            self.errors.push(ConfigError { place: location.clone(), why });
        }
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let location = |offset: usize| {
            let line = text[..offset.min(text.len())].matches('\n').count() + 1;
            format!("{}:{line}", path.display())
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(e) => {
                let at = e.span().map_or(0, |span| span.start);
                return self.add_error(location(at), e.message().to_owned());
            }
        };
        for (key, value) in table.get_ref() {
            let (name, at) = (key.get_ref().replace('_', "-"), location(key.span().start));
            if let Some(tables) = TABLES.iter().find(|tables| tables.name == name) {
                self.read_tables(value.get_ref(), tables, &at, &location);
            } else if let Some(parent) = PARENT_TABLES.into_iter().find(|parent| *parent == name)
                && let DeValue::Table(children) = value.get_ref()
            {
                for (key, value) in children {
                    let (name, at) =
                        (format!("{parent}.{}", key.get_ref()), location(key.span().start));
                    match TABLES.iter().find(|tables| tables.name == name) {
                        Some(tables) => self.read_tables(value.get_ref(), tables, &at, &location),
                        None => self.add_error(
                            at,
                            format!(
                                "unknown table {:?} in {parent}; expected [{}]",
                                key.get_ref(),
                                child_tables(parent)
                            ),
                        ),
                    }
                }
            } else if let Some(setting) = SETTINGS.iter().find(|s| s.name == name) {
                match to_texts(value.get_ref(), setting.repeatable) {
                    Some(values) if values.is_empty() => {
                        self.add_error(at, format!("{name} is an empty list; leave it out"));
                    }
                    Some(values) => {
                        let raw_value = RawValue { location: at.clone(), values };
                        if self.values.insert(setting.name, raw_value).is_some() {
                            self.add_error(at, format!("{name} is given twice"));
                        }
                    }
                    None => self.add_error(at, format!("{name} must be a string or a number")),
                }
            } else {
                self.add_error(at, format!("unknown setting {name:?}"));
            }
        }
    }

    fn read_tables(
        &mut self,
        value: &DeValue<'_>,
        tables: &Tables,
        at: &str,
        location: &impl Fn(usize) -> String,
    ) {
        let name = tables.name;
        match value {
            DeValue::Array(list) if !tables.is_named => {
                if list.is_empty() {
                    self.add_error(at, format!("{name} is an empty list; leave it out"));
                }
                for item in list {
                    let at = location(item.span().start);
                    match item.get_ref() {
                        DeValue::Table(table) => self.read_table(table, tables, at, location),
                        _ => self
                            .add_error(at, format!("{name} must be a list of tables: [[{name}]]")),
                    }
                }
            }
            DeValue::Table(named) if tables.is_named => {
                // In the order of the file; the parser sorts them by name.
                let mut named: Vec<_> = named.iter().collect();
                named.sort_by_key(|(key, _)| key.span().start);
                for (key, value) in named {
                    let at = location(key.span().start);
                    let DeValue::Table(table) = value.get_ref() else {
                        self.add_error(at, format!("{name} must have named tables: [{name}.NAME]"));
                        continue;
                    };
                    self.read_table(table, tables, at.clone(), location);
                    let raw_value =
                        RawValue { location: at, values: vec![key.get_ref().to_string()] };
                    if let Some((_, rule)) = self.tables.entry(name).or_default().last_mut()
                        && rule.insert("name".to_owned(), raw_value).is_some()
                    {
                        let at = location(key.span().start);
                        self.add_error(
                            at,
                            format!(
                                "the table header sets the name {:?}; remove `name`",
                                key.get_ref()
                            ),
                        );
                    }
                }
            }
            _ if tables.is_named => {
                self.add_error(at, format!("{name} must have named tables: [{name}.NAME]"));
            }
            _ => self.add_error(at, format!("{name} must be a list of tables: [[{name}]]")),
        }
    }

    fn read_table(
        &mut self,
        table: &DeTable<'_>,
        tables: &Tables,
        at: String,
        location: &impl Fn(usize) -> String,
    ) {
        let mut rule = Table::new();
        for (key, value) in table {
            let (name, at) = (key.get_ref().replace('_', "-"), location(key.span().start));
            let is_map = tables.maps.contains(&name.as_str());
            let values = match value.get_ref() {
                DeValue::Table(table) if is_map => pairs(table),
                value if !is_map => to_texts(value, tables.lists.contains(&name.as_str())),
                _ => None,
            };
            match values {
                Some(values) => {
                    let raw_value = RawValue { location: at.clone(), values };
                    if rule.insert(name.clone(), raw_value).is_some() {
                        self.add_error(at, format!("{name} is given twice"));
                    }
                }
                None if is_map => self.add_error(at, format!("{name} must be a table of strings")),
                None => {
                    self.add_error(at, format!("{name} must be a string, a number or a boolean"))
                }
            }
        }
        self.tables.entry(tables.name).or_default().push((at, rule));
    }
}

/// Returns the members of a table of strings, as `NAME=VALUE`.
fn pairs(table: &DeTable<'_>) -> Option<Vec<String>> {
    let pair = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let value = to_texts(value.get_ref(), false)?.concat();
        Some(format!("{}={value}", key.get_ref()))
    };
    table.iter().map(pair).collect()
}

fn to_texts(value: &DeValue<'_>, repeatable: bool) -> Option<Vec<String>> {
    Some(match value {
        DeValue::String(text) => vec![text.to_string()],
        DeValue::Integer(number) => vec![number.to_string()],
        DeValue::Boolean(boolean) => vec![boolean.to_string()],
        DeValue::Array(list) if repeatable => {
            let texts = list.iter().map(|item| to_texts(item.get_ref(), false));
            texts.collect::<Option<Vec<_>>>()?.concat()
        }
        _ => return None,
    })
}
