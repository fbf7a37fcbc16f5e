//! Scenarios of a bench, and their defaults.

/// Scenario of a bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Events at a steady rate.
    Paced,
    /// Maximum rate of events.
    Saturated,
    /// Connections without events.
    Idle,
    /// All subscribers drop at once and resume.
    Storm,
    /// Subscribers connect, read and leave, repeatedly.
    Churn,
    /// Very many streams with few readers each.
    ManyStreams,
    /// Publishes without subscribers.
    Publish,
    /// Events at a steady rate, beside clients that are slow on purpose.
    Slow,
    /// Events at a steady rate, while the metrics are scraped.
    Scraped,
    /// Events at a steady rate, while stored events are searched.
    Searched,
}

/// Defaults of a scenario.
pub struct Preset {
    /// Scenario.
    pub scenario: Scenario,
    /// Name of the scenario.
    pub name: &'static str,
    /// Help.
    pub about: &'static str,
    /// Connections that subscribe.
    pub subscribers: usize,
    /// Number of streams.
    pub streams: usize,
    /// Streams of each subscriber.
    pub per_subscriber: usize,
    /// Connections that publish.
    pub publishers: usize,
    /// Events per second; `None` for as many as possible.
    pub rate: Option<f64>,
    /// Duration.
    pub seconds: u64,
}

/// Defaults of all scenarios.
pub const PRESETS: [Preset; 10] = [
    Preset {
        scenario: Scenario::Paced,
        name: "paced",
        about: "events at a steady rate",
        subscribers: 1_000,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: Some(50.0),
        seconds: 20,
    },
    Preset {
        scenario: Scenario::Saturated,
        name: "saturated",
        about: "as many events as possible",
        subscribers: 1_000,
        streams: 1,
        per_subscriber: 1,
        publishers: 16,
        rate: None,
        seconds: 10,
    },
    Preset {
        scenario: Scenario::Idle,
        name: "idle",
        about: "connections without events",
        subscribers: 10_000,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: None,
        seconds: 30,
    },
    Preset {
        scenario: Scenario::Storm,
        name: "storm",
        about: "all subscribers disconnect at once and resume after missing --missed events",
        subscribers: 10_000,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: None,
        seconds: 60,
    },
    Preset {
        scenario: Scenario::Churn,
        name: "churn",
        about: "subscribers connect, read --visit events, disconnect, and repeat",
        subscribers: 500,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: Some(100.0),
        seconds: 10,
    },
    Preset {
        scenario: Scenario::ManyStreams,
        name: "many-streams",
        about: "100,000 streams with two subscribers each",
        subscribers: 5_000,
        streams: 100_000,
        per_subscriber: 40,
        publishers: 4,
        rate: Some(2_000.0),
        seconds: 20,
    },
    Preset {
        scenario: Scenario::Publish,
        name: "publish",
        about: "publishes without subscribers",
        subscribers: 0,
        streams: 1,
        per_subscriber: 1,
        publishers: 64,
        rate: None,
        seconds: 10,
    },
    Preset {
        scenario: Scenario::Slow,
        name: "slow",
        about: "events at a steady rate, with --slow additional clients that are slow on purpose",
        subscribers: 100,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: Some(50.0),
        seconds: 20,
    },
    Preset {
        scenario: Scenario::Scraped,
        name: "scraped",
        about: "events at a steady rate to many, with the metrics scraped every --scrape",
        subscribers: 15_000,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: Some(2.0),
        seconds: 20,
    },
    Preset {
        scenario: Scenario::Searched,
        name: "searched",
        about: "events at a steady rate, while --history stored events are searched",
        subscribers: 100,
        streams: 1,
        per_subscriber: 1,
        publishers: 1,
        rate: Some(50.0),
        seconds: 20,
    },
];
