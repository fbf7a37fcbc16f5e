//! Recovery of a cluster: the copy of one hub becomes the beginning of a new log.

use super::build::journal_settings;
use crate::cluster::LogRecovery;
use crate::config::Config;
use crate::journal::{LogComparison, LogCopy, Loss};
use anyhow::{Context as _, bail, ensure};
use arc_swap::ArcSwap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Options of a recovery.
#[derive(Clone, Copy, Default, Debug)]
pub struct RecoverOptions {
    /// Changes nothing.
    pub is_dry_run: bool,
    /// Replaces a log that has messages which the copy may lack.
    pub is_forced: bool,
}

/// A recovery that was made, or would be.
pub struct Recovery {
    data_dir: PathBuf,
    cluster: String,
    is_member: bool,
    last: u64,
    last_id: String,
    found: LogComparison,
    /// Epoch of the new log, if it was made.
    epoch: Option<u32>,
    /// Committed events that the copy has lost.
    losses: Vec<Loss>,
}

/// Makes the journal of `config` the beginning of a new log.
pub fn recover(config: &Config, options: RecoverOptions) -> anyhow::Result<Recovery> {
    let cluster = config.cluster.as_ref().context("--cluster-nats is necessary")?;
    let settings = journal_settings(config, Arc::new(ArcSwap::new(config.limits.clone())));
    let mut copy = LogCopy::open(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recovery = runtime.block_on(async {
        let log = LogRecovery::connect(cluster).await?;
        if !options.is_dry_run {
            let running = log.running_hubs().await?;
            if !running.is_empty() {
                let names = running.into_iter().collect::<Vec<_>>().join(", ");
                bail!("hubs of the cluster are running ({names}); stop all of them");
            }
        }
        let last = copy.last().sequence;
        let found = log.find(last).await?;
        let mut recovery = Recovery {
            data_dir: config.data_dir.clone(),
            cluster: cluster.name.clone(),
            is_member: copy.is_member(),
            last,
            last_id: copy.last_id().to_string(),
            found: copy.compare(found.as_ref()),
            epoch: None,
            losses: Vec::new(),
        };
        if options.is_dry_run {
            return Ok(recovery);
        }
        ensure!(
            options.is_forced || !recovery.found.loses_messages(),
            "{recovery}\nthe log has messages that this copy may lack; to delete it nevertheless, add --force"
        );
        let epoch = copy.reserve_epoch(found.as_ref())?;
        // The events are marked last: until then, this can be repeated.
        log.begin(found.as_ref(), epoch.epoch().0, last + 1).await?;
        recovery.epoch = Some(epoch.epoch().0);
        recovery.losses = copy.begin_log(epoch)?;
        Ok(recovery)
    });
    copy.close()?;
    recovery
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, last, last_id, .. } = self;
        let of = if self.is_member { "message" } else { "batch" };
        writeln!(f, "copy  {}: ends with {of} {last}, event {last_id}", self.data_dir.display())?;
        match self.found {
            LogComparison::Missing => writeln!(f, "log   {cluster} does not exist"),
            LogComparison::OtherEpoch { end, has_messages } => {
                let content =
                    if has_messages { "with messages of its own" } else { "without messages" };
                writeln!(
                    f,
                    "log   {cluster} is another one, {content}, and ends with message {end}"
                )
            }
            LogComparison::Behind { end, has_others } => {
                let (lost, others) =
                    (last - end, if has_others { ", with others than the copy has" } else { "" });
                writeln!(
                    f,
                    "log   {cluster} ends with message {end}, {lost} before the copy{others}"
                )
            }
            LogComparison::Diverged { end } => writeln!(
                f,
                "log   {cluster} ends with message {end}, and its message {last} is not that of the copy"
            ),
            LogComparison::Continues { end } => {
                let more = end.saturating_sub(*last);
                writeln!(f, "log   {cluster} has all of the copy, and {more} messages after it")
            }
            LogComparison::LeftBehind { first } => {
                writeln!(f, "log   {cluster} begins with message {first}, after the copy")
            }
        }?;
        for loss in &self.losses {
            writeln!(f, "lost  {loss}")?;
        }
        let next = last + 1;
        match self.epoch {
            Some(epoch) => {
                write!(f, "new   {cluster} begins with message {next}, epoch {epoch:08x}")
            }
            None => write!(f, "plan  delete {cluster}, and create it from message {next} on"),
        }
    }
}
