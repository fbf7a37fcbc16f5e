//! Configuration: flags, environment and file, resolved into a `Config`.
//!
//! Promises: one table defines every setting, for `--help`, the file and the documentation; all
//! errors are reported together, each with its place.
//! Never: reads a setting anywhere else.

mod access;
#[cfg(feature = "chat")]
mod chats;
#[cfg(feature = "cluster")]
mod cluster;
mod documentation;
#[cfg(feature = "durable-streams")]
mod durable;
mod features;
#[cfg(feature = "files")]
mod files;
mod invalid_value;
#[cfg(feature = "jobs")]
mod jobs;
mod limits;
#[cfg(feature = "mercure")]
mod mercure;
mod raw;
mod resolve;
mod retention;
mod settings;
#[cfg(feature = "tail")]
mod tail;
mod tls;
mod units;

pub use documentation::markdown;
#[cfg(feature = "durable-streams")]
pub use durable::DurableSettings;
pub use features::{FEATURES, enabled_features};
pub use invalid_value::InvalidValue;
#[cfg(feature = "mercure")]
pub use mercure::MercureSettings;
#[cfg(feature = "mercure")]
pub(crate) use mercure::WELL_KNOWN_PATH;
pub use raw::{ConfigError, FixedSettings, RawConfig};
pub use resolve::Config;
pub(crate) use resolve::HEARTBEAT_RANGE;
pub use settings::{SETTINGS, Setting, command, env_name};
pub(crate) use units::duration;
