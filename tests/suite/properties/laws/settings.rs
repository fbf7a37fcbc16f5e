//! Laws of the configuration: durations, sizes and the file.

use clap::ArgMatches;
use fanfare::config::{Config, ConfigError, RawConfig, command};
use std::path::Path;

fn flags(words: &[&str]) -> ArgMatches {
    command().try_get_matches_from([&["serve"], words].concat()).expect("flags")
}

/// Resolves a configuration with the environment variable `name` set to `value`.
fn config_with_variable(name: &str, value: &str) -> Result<Config, Vec<ConfigError>> {
    let env = |variable: &str| (variable == name).then(|| value.to_owned());
    Config::resolve(RawConfig::collect(&flags(&[]), env))
}

/// Returns `text` in milliseconds if it has the usual form: numbers with units from the largest to
/// the smallest, each once.
fn expected_ms(text: &str) -> Option<u64> {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let (mut rest, mut units, mut total) = (text, &units[..], 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // A larger number may exceed the range of a span, which this law does not cover.
        let number: u64 = rest.get(..digits).filter(|d| d.len() <= 6)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let index = units.iter().position(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(units[index].1)?)?;
        (rest, units) = (&rest[letters..], &units[index + 1..]);
    }
    (!text.is_empty()).then_some(total)
}

/// A duration is the sum of its parts.
pub fn duration(text: &str) {
    match (config_with_variable("FANFARE_DRAIN", text), expected_ms(text)) {
        (Ok(config), Some(ms)) => assert_eq!(config.drain.as_millis(), u128::from(ms), "{text:?}"),
        (Err(errors), None) => check_locations(&errors, Path::new("-"), ""),
        // Other forms are valid, too, but not a number without a unit.
        (Ok(_), None) => assert!(text.parse::<f64>().is_err(), "{text:?} has no unit"),
        (Err(errors), Some(_)) => panic!("{text:?}: {errors:?}"),
    }
}

/// Returns `text` in bytes: digits and an optional unit.
fn expected_bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u128 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim_start() {
        "" if digits == text.len() => 1,
        "B" => 1,
        unit => {
            let (prefix, base) = match unit.strip_suffix("iB") {
                Some(prefix) => (prefix, 1024),
                None => (unit.strip_suffix('B')?, 1000u128),
            };
            let exponent = ["K", "M", "G", "T"].iter().position(|p| *p == prefix)? as u32 + 1;
            base.pow(exponent)
        }
    };
    number.checked_mul(factor)?.try_into().ok()
}

/// A size is its number times its unit.
pub fn bytes(text: &str) {
    let config = config_with_variable("FANFARE_MIN_FREE_BYTES", text);
    match (config, expected_bytes(text)) {
        (Ok(config), Some(bytes)) => assert_eq!(config.min_free_bytes, bytes, "{text:?}"),
        (Err(errors), None) => check_locations(&errors, Path::new("-"), ""),
        // White space and a plus sign are allowed.
        (Ok(config), None) => {
            let digits = text.trim().trim_start_matches('+');
            assert_eq!(expected_bytes(digits), Some(config.min_free_bytes), "{text:?}");
        }
        (Err(errors), Some(_)) => panic!("{text:?}: {errors:?}"),
    }
}

/// A setting has the same value, or the same errors, as a flag, in the environment and in the file.
pub fn same_value_from_every_source(name: &str, value: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.toml");
    let quoted = serde_json::Value::from(value).to_string();
    std::fs::write(&path, format!("{name} = {quoted}\n")).expect("writes");
    let file = path.to_str().expect("text");
    let variable = format!("FANFARE_{}", name.to_uppercase().replace('-', "_"));
    let env = |requested: &str| (requested == variable).then(|| value.to_owned());
    let flag = format!("--{name}={value}");
    let results = [
        RawConfig::collect(&flags(&[&flag]), |_| None),
        RawConfig::collect(&flags(&[]), env),
        RawConfig::collect(&flags(&["--config", file]), |_| None),
    ]
    .map(Config::resolve)
    .map(|config| match config {
        Ok(config) => {
            let retention = config.retention.otherwise;
            Ok((config.drain, config.heartbeat, retention, config.limits, config.max_body_bytes))
        }
        Err(errors) => Err(errors.into_iter().map(|errors| errors.why).collect::<Vec<_>>()),
    });
    assert_eq!(results[0], results[1], "{name} = {value:?}");
    assert_eq!(results[0], results[2], "{name} = {value:?}");
}

/// Checks that each error names a flag, a variable or a line of the file.
fn check_locations(errors: &[ConfigError], file: &Path, text: &str) {
    assert!(!errors.is_empty());
    let lines = text.matches('\n').count() + 1;
    let file = format!("{}:", file.display());
    for ConfigError { place, why } in errors {
        let line = place.strip_prefix(&file).and_then(|line| line.parse::<usize>().ok());
        let is_flag_or_variable = place.starts_with("--") || place.starts_with("FANFARE_");
        assert!(
            is_flag_or_variable || line.is_some_and(|l| (1..=lines).contains(&l)),
            "{place:?}: {why}"
        );
        assert!(!why.is_empty(), "{place}");
    }
}

/// A file is accepted, or each of its errors names a place. The environment overrides settings that
/// would look up names or read files.
pub fn file(folder: &Path, text: &str) {
    let path = folder.join("f.toml");
    std::fs::write(&path, text).expect("writes");
    // A name may also be spelled with escapes.
    let may_name_files = text.contains(['j', '\\']);
    let env = |name: &str| match name {
        "FANFARE_LISTEN" => Some("127.0.0.1:0".to_owned()),
        "FANFARE_JWT_PUBLIC_KEY" | "FANFARE_JWKS" if may_name_files => Some("/dev/null".to_owned()),
        _ => None,
    };
    let flags = flags(&["--config", path.to_str().expect("text")]);
    if let Err(errors) = Config::resolve(RawConfig::collect(&flags, env)) {
        check_locations(&errors, &path, text);
    }
}
