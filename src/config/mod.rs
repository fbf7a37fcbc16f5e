//! Configuration: what was said (flags, environment, file) resolved into what is meant.
//!
//! Promises: one table defines every setting, for `--help`, the file and the documentation;
//! whatever is wrong is reported at once, each with its place.
//! Never: reads a setting anywhere else.

mod access;
mod chats;
mod documentation;
mod invalid_value;
mod limits;
mod raw;
mod resolve;
mod retention;
mod settings;
mod sources;
mod units;

pub use documentation::markdown;
pub use invalid_value::InvalidValue;
pub use raw::{ConfigError, RawConfig};
pub use resolve::Config;
pub(crate) use resolve::HEARTBEAT_RANGE;
pub use settings::{SETTINGS, Setting, command};
pub(crate) use units::duration;
