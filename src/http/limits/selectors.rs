//! Use of the limit of selectors per subscription.

use crate::limits::{Limit, Usage};
use std::sync::atomic::{AtomicU64, Ordering};

/// Highest number of selectors in one subscription, and number of refused subscriptions.
#[derive(Default, Debug)]
pub struct SelectorUsage {
    peak: AtomicU64,
    refusals: AtomicU64,
}

impl SelectorUsage {
    /// Counts one subscription.
    pub(crate) fn note(&self, selectors: u64, is_refused: bool) {
        if is_refused {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        } else {
            self.peak.fetch_max(selectors, Ordering::Relaxed);
        }
    }

    /// Returns the use of the limit `max`.
    pub(crate) fn usage(&self, max: Option<u64>) -> Usage {
        let peak = self.peak.load(Ordering::Relaxed);
        let refusals = self.refusals.load(Ordering::Relaxed);
        let limit = Limit::Selectors.as_str();
        Usage { limit, streams: None, max, r#use: None, peak: Some(peak), refusals }
    }
}
