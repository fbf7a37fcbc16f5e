//! Limit of concurrent downloads.

use super::per_client::{ClientHold, PerClient};
use crate::http::error::{Code, Problem};
use crate::limits::Client;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent downloads; each has a file open.
const MAX_DOWNLOADS: usize = 128;
/// Maximum number of concurrent downloads of one client. Clients on this machine have no such limit.
const MAX_DOWNLOADS_PER_CLIENT: u64 = 16;

/// Downloads in progress.
#[derive(Debug)]
pub struct Downloads {
    all: Arc<Semaphore>,
    by_client: PerClient,
}

/// Permit for one download, returned when dropped.
pub(crate) struct Download {
    _permit: OwnedSemaphorePermit,
    _hold: Option<ClientHold>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_DOWNLOADS)), by_client: PerClient::default() }
    }
}

impl Downloads {
    /// Returns a permit, or the problem that names the limit that is reached.
    pub(crate) fn begin(&self, client: &Client) -> Result<Download, Problem> {
        let permit = self.all.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_DOWNLOADS} downloads are in progress, which is the maximum");
            Problem::new(Code::ResourceExhausted, detail).retry_after(5)
        })?;
        if client.is_local {
            return Ok(Download { _permit: permit, _hold: None });
        }
        let hold = self.by_client.hold(client.key(), 1, MAX_DOWNLOADS_PER_CLIENT);
        let hold = hold.ok_or_else(|| {
            let detail = format!(
                "{MAX_DOWNLOADS_PER_CLIENT} downloads of this client are in progress, which is the \
                 maximum"
            );
            Problem::new(Code::TooMany, detail).retry_after(5)
        })?;
        Ok(Download { _permit: permit, _hold: Some(hold) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_limited_per_client_and_in_total() {
        let downloads = Downloads::default();
        let at = |last| Client::at([192, 0, 2, last].into(), false);
        let mut permits: Vec<_> =
            (0..MAX_DOWNLOADS_PER_CLIENT).map(|_| downloads.begin(&at(1))).collect();
        assert!(permits.iter().all(Result::is_ok));
        let refused = downloads.begin(&at(1)).err().map(|problem| problem.code);
        assert_eq!(refused, Some(Code::TooMany));
        assert!(downloads.begin(&at(2)).is_ok());
        permits.pop();
        assert!(downloads.begin(&at(1)).is_ok(), "a dropped permit is free again");
        drop(permits);
        let all: Vec<_> = (0..MAX_DOWNLOADS)
            .map(|n| downloads.begin(&at(3 + (n / MAX_DOWNLOADS_PER_CLIENT as usize) as u8)))
            .collect();
        assert!(all.iter().all(Result::is_ok));
        let refused = downloads.begin(&at(200)).err().map(|problem| problem.code);
        assert_eq!(refused, Some(Code::ResourceExhausted));
    }
}
