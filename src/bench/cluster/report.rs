//! Report of a measurement of a cluster.

use super::super::number::number;
use serde::Serialize;
use std::fmt::Write as _;

/// Measured figures.
#[derive(Debug, Serialize)]
pub struct ClusterReport {
    /// Figures, in the order in which they were measured.
    pub figures: Vec<Figure>,
}

/// A figure. Those beside a single hub in rounds are medians.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Name, with its unit.
    pub name: &'static str,
    /// Value of a single hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single: Option<f64>,
    /// Value of the cluster.
    pub cluster: f64,
    /// Value of the cluster divided by that of the single hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<&'static str>,
}

impl Figure {
    /// Creates a figure without a single hub beside it.
    pub fn alone(name: &'static str, cluster: f64, goal: Option<&'static str>) -> Self {
        Self { name, single: None, cluster, ratio: None, goal }
    }

    /// Creates a figure with its ratio to a single hub.
    pub fn beside(
        name: &'static str,
        single: f64,
        cluster: f64,
        goal: Option<&'static str>,
    ) -> Self {
        Self { name, single: Some(single), cluster, ratio: Some(cluster / single), goal }
    }
}

impl ClusterReport {
    /// Returns the report as a table.
    pub fn table(&self) -> String {
        let shown = |value: Option<f64>| value.map_or(String::new(), |value| number(value, 2));
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
        let mut out = format!(
            "\n{:width$}  {:>14} {:>14} {:>7}  GOAL\n",
            "FIGURE", "SINGLE HUB", "CLUSTER", "RATIO"
        );
        for Figure { name, single, cluster, ratio, goal } in &self.figures {
            let (single, ratio, goal) = (shown(*single), shown(*ratio), goal.unwrap_or_default());
            let cluster = number(*cluster, 2);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:width$}  {single:>14} {cluster:>14} {ratio:>7}  {goal}");
        }
        out
    }
}

/// Returns the median, or 0 of no values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        Some(upper) if sorted.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(sorted[middle - 1], *upper),
        None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!([median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])], [0.0, 2.0, 2.5]);
    }
}
