//! Cargo features of this build, and the settings that need one.

/// A Cargo feature.
pub struct Feature {
    /// Name of the feature.
    pub name: &'static str,
    /// True if this build has it.
    pub is_enabled: bool,
    /// Settings that need it; a name that ends with `-` is a prefix.
    settings: &'static [&'static str],
    /// Tables of the file that need it.
    tables: &'static [&'static str],
}

macro_rules! features {
    ($($name:literal $settings:expr, $tables:expr;)*) => {
        /// Every feature, in the order of its name.
        pub const FEATURES: &[Feature] = &[$(Feature {
            name: $name,
            is_enabled: cfg!(feature = $name),
            settings: &$settings,
            tables: &$tables,
        },)*];
    };
}

features! {
    "bench" [], [];
    "chat" ["chat-", "max-chats", "max-chats-per-subject"], ["chat.upstream"];
    "cli" [], [];
    "cluster" ["cluster-", "node"], [];
    "dashboard" [], [];
    "durable-streams" ["durable-streams", "durable-streams-"], [];
    "files" [], ["files"];
    "jobs" [], ["job"];
    "mercure" ["mercure", "mercure-"], [];
    "remote-keys" [], [];
    "search" [], [];
    "system" ["system"], [];
    "tail" [], ["source.tail"];
}

/// Returns the names of the features of this build.
pub fn enabled_features() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().filter(|feature| feature.is_enabled).map(|feature| feature.name)
}

/// Returns the feature that a setting needs and this build lacks.
pub(super) fn missing_for_setting(name: &str) -> Option<&'static str> {
    let is_named = |setting: &&str| {
        if setting.ends_with('-') { name.starts_with(*setting) } else { name == *setting }
    };
    missing(|feature| feature.settings.iter().any(is_named))
}

/// Returns the feature that a table of the file needs and this build lacks.
pub(super) fn missing_for_table(name: &str) -> Option<&'static str> {
    missing(|feature| feature.tables.contains(&name))
}

fn missing(is_needed: impl Fn(&Feature) -> bool) -> Option<&'static str> {
    let feature = FEATURES.iter().find(|feature| is_needed(feature))?;
    (!feature.is_enabled).then_some(feature.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn each_feature_names_settings_that_exist() {
        for setting in FEATURES.iter().flat_map(|feature| feature.settings) {
            let exists = SETTINGS.iter().any(|known| {
                known.name == *setting || setting.ends_with('-') && known.name.starts_with(setting)
            });
            assert!(exists, "{setting}");
        }
    }

    #[test]
    fn every_setting_of_a_feature_is_missing_exactly_when_the_feature_is() {
        for (setting, is_enabled) in
            [("chat-kept", cfg!(feature = "chat")), ("system", cfg!(feature = "system"))]
        {
            assert_eq!(missing_for_setting(setting).is_none(), is_enabled, "{setting}");
        }
        assert_eq!(missing_for_table("job").is_none(), cfg!(feature = "jobs"));
        assert_eq!(missing_for_setting("retry"), None);
    }
}
