//! Creates metric families and registers them.

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// Buckets in seconds, from 50 µs to 10 s: the range of a publish, a commit and a fan-out.
pub(super) const LATENCY_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Factory that registers each metric that it creates.
pub(super) struct MetricFactory(pub(super) Registry);

impl MetricFactory {
    fn register_metric<T: Collector + Clone + 'static>(
        &self,
        metric: T,
    ) -> Result<T, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register_metric(IntGauge::new(name, help)?)
    }

    /// Creates a gauge with fractions.
    pub(super) fn fraction(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register_metric(Gauge::new(name, help)?)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.register_metric(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register_metric(IntCounter::new(name, help)?)
    }

    /// Creates a counter with fractions.
    pub(super) fn sum(&self, name: &str, help: &str) -> Result<Counter, prometheus::Error> {
        self.register_metric(Counter::new(name, help)?)
    }

    /// Creates counters with labels whose values are not known in advance.
    pub(super) fn open_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register_metric(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates counters with a label whose values are known; all series exist from the start.
    pub(super) fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = self.open_counters(name, help, &[label])?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        Ok(counters)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register_metric(Histogram::with_opts(opts)?)
    }

    /// Registers the metrics of the process and the build.
    pub(super) fn process(&self) -> Result<(), prometheus::Error> {
        let build = Opts::new("fanfare_build_info", "Always 1; the labels describe this binary")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        self.register_metric(IntGauge::with_opts(build)?)?.set(1);
        crate::platform::register_process_metrics(&self.0)
    }
}
