//! Scenarios of a bench.

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
