//! The jobs of a hub and their runs: starting, listing and stopping them.

use super::exit::{ExitReason, event};
use super::run::{self, RunTarget, Stop, StopReceiver};
use super::spec::JobSpec;
use crate::event::StreamName;
use crate::journal::{PublishError, Publisher, now};
use crate::source::own_streams::{JOB_PREFIX, NodeName};
use crate::source::publish_with_retry::publish;
use crate::telemetry::{JobMetrics, Telemetry};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum time between TERM and KILL during a drain, in percent of its window.
const GRACE_PERCENT: u32 = 60;

/// The jobs of one hub. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    jobs: BTreeMap<String, Job>,
    publisher: Publisher,
    node: NodeName,
    running: Mutex<BTreeMap<(String, String), Running>>,
    changed: Notify,
    is_stopping: AtomicBool,
}

struct Job {
    spec: Arc<JobSpec>,
    metrics: JobMetrics,
}

struct Running {
    since: String,
    /// Sender of stops; closed once the command has ended.
    stop: watch::Sender<Option<Stop>>,
    /// Process group of the command, once it was started.
    group: Arc<OnceLock<Pid>>,
}

impl Running {
    /// Returns true once the command has ended, so that only its last output is still to be
    /// published.
    fn is_over(&self) -> bool {
        self.stop.is_closed()
    }
}

/// A run that was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartedRun {
    /// Name of the run.
    pub run: String,
    /// Stream of the run.
    pub stream: StreamName,
}

/// Reason why no run was started.
#[derive(Debug, thiserror::Error)]
pub enum StartRunError {
    /// The job does not exist.
    #[error("unknown job {0:?}")]
    Unknown(String),
    /// The maximum number of concurrent runs of the job is reached.
    #[error("at-most ({0}) reached: too many runs of the job are running")]
    AtMost(usize),
    /// The first event could not be published.
    #[error(transparent)]
    Refused(#[from] PublishError),
}

/// A job and its running runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Name of the job.
    pub name: String,
    /// Maximum number of concurrent runs.
    pub at_most: usize,
    /// Running runs, the oldest first.
    pub running: Vec<RunView>,
}

/// A run that has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = JobRun)]
pub struct RunView {
    /// Name of the run.
    pub run: String,
    /// Stream of the run.
    pub stream: String,
    /// Time of the start.
    pub since: String,
}

/// Data of the first event of a run.
#[derive(Serialize)]
struct RunStart<'a> {
    job: &'a str,
    run: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

impl Jobs {
    /// Creates jobs, none of them running.
    pub fn new(
        specs: Vec<JobSpec>,
        publisher: Publisher,
        node: NodeName,
        telemetry: &Telemetry,
    ) -> Self {
        let job = |spec: JobSpec| {
            let metrics = telemetry.of_job(&spec.name);
            (spec.name.clone(), Job { spec: Arc::new(spec), metrics })
        };
        Self(Arc::new(Inner {
            jobs: specs.into_iter().map(job).collect(),
            publisher,
            node,
            running: Mutex::default(),
            changed: Notify::new(),
            is_stopping: AtomicBool::new(false),
        }))
    }

    /// Starts a run of a job for the caller `by`. Returns once the `start` event is published.
    pub async fn start_run(
        &self,
        name: &str,
        by: Option<&str>,
    ) -> Result<StartedRun, StartRunError> {
        let job = self.0.jobs.get(name).ok_or_else(|| StartRunError::Unknown(name.to_owned()))?;
        let began = now();
        let run = self.0.node.run(run_name(&began.to_string()));
        let stream = format!("{JOB_PREFIX}{name}.{run}");
        let stream =
            StreamName::parse(&stream).map_err(|_| StartRunError::Unknown(name.to_owned()))?;
        let (stop, group) = self.reserve_slot(job, &run, began.to_string())?;
        let slot = RunSlot { jobs: self.clone(), name: name.to_owned(), run: run.clone() };
        let start = event(&stream, "start", &RunStart { job: name, run: &run, by });
        let (publisher, spec, metrics) =
            (self.0.publisher.clone(), job.spec.clone(), job.metrics.clone());
        let started_run = StartedRun { run: run.clone(), stream: stream.clone() };
        let (started_sender, started) = oneshot::channel();
        // A separate task: a run that was started gets its end even if the caller is gone.
        tokio::spawn(async move {
            let published = publish(&publisher, start.into_iter().collect()).await;
            let is_started = published.is_ok();
            let _ = started_sender.send(published);
            if is_started {
                let target = RunTarget { run: &run, stream: &stream, publisher: &publisher };
                let exit = run::run(&spec, target, stop, &group).await;
                metrics.ended(exit.outcome());
                tracing::info!(job = spec.name, run, outcome = exit.outcome(), "job ended");
            }
            drop(slot);
        });
        started.await.unwrap_or(Err(PublishError::Draining))?;
        Ok(started_run)
    }

    /// Stops a run. Returns false if it is not running.
    pub fn stop(&self, name: &str, run: &str) -> bool {
        let running = self.running();
        let found = running.get(&(name.to_owned(), run.to_owned()));
        found.filter(|run| !run.is_over()).is_some_and(|run| {
            let stop = Stop { reason: ExitReason::Stopped, within: None };
            run.stop.send_if_modified(|merged| merge_stop(merged, stop));
            true
        })
    }

    /// Returns the stream of a run; `None` if the job does not exist or the name is not valid.
    pub fn stream_of(&self, name: &str, run: &str) -> Option<StreamName> {
        self.0.jobs.get(name)?;
        StreamName::parse(&format!("{JOB_PREFIX}{name}.{run}")).ok()
    }

    /// Returns the jobs whose name `is_wanted` accepts, sorted by name.
    pub fn views(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<JobView> {
        let running = self.running();
        let of = |name: &str| {
            let mine = running.iter().filter(|((job, _), run)| job == name && !run.is_over());
            let view = |((_, run), running): (&(String, String), &Running)| RunView {
                run: run.clone(),
                stream: format!("{JOB_PREFIX}{name}.{run}"),
                since: running.since.clone(),
            };
            mine.map(view).collect()
        };
        let wanted = self.0.jobs.iter().filter(|(name, _)| is_wanted(name));
        let view = |(name, job): (&String, &Job)| JobView {
            name: name.clone(),
            at_most: job.spec.at_most,
            running: of(name),
        };
        wanted.map(view).collect()
    }

    /// Stops every run and starts no more. Returns once all have ended; runs that do not end are
    /// killed within `window`.
    pub async fn stop_all(&self, window: Duration) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
        let within = window * GRACE_PERCENT / 100;
        for run in self.running().values() {
            let stop = Stop { reason: ExitReason::HubStopping, within: Some(within) };
            run.stop.send_if_modified(|merged| merge_stop(merged, stop));
        }
        self.all_ended().await;
    }

    /// Kills all running commands immediately and starts no more.
    pub fn kill_all(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
        for ((job, run), running) in self.running().iter().filter(|(_, run)| !run.is_over()) {
            // This also stops a run whose command is about to be started.
            let stop = Stop { reason: ExitReason::HubStopping, within: Some(Duration::ZERO) };
            running.stop.send_if_modified(|merged| merge_stop(merged, stop));
            if let Some(group) = running.group.get() {
                let group_id = group.as_raw_nonzero();
                tracing::warn!(job, run, group = group_id, "killing a job that did not end");
                let _ = kill_process_group(*group, Signal::KILL);
            }
        }
    }

    /// Waits until all runs have ended.
    pub async fn all_ended(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.running().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn reserve_slot(
        &self,
        job: &Job,
        run: &str,
        since: String,
    ) -> Result<(StopReceiver, Arc<OnceLock<Pid>>), StartRunError> {
        let mut running = self.running();
        if self.0.is_stopping.load(Ordering::Relaxed) {
            return Err(PublishError::Draining.into());
        }
        let (name, at_most) = (&job.spec.name, job.spec.at_most);
        let mine = running.iter().filter(|((job, _), run)| job == name && !run.is_over());
        if mine.count() >= at_most {
            job.metrics.refused();
            return Err(StartRunError::AtMost(at_most));
        }
        let (stop, stopped) = watch::channel(None);
        let group = Arc::new(OnceLock::new());
        let entry = Running { since, stop, group: group.clone() };
        running.insert((name.clone(), run.to_owned()), entry);
        job.metrics.run_started();
        Ok((stopped, group))
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Merges a stop request into an earlier one: the first gives the reason, the shortest time
/// applies. Returns true if that changes anything.
fn merge_stop(merged: &mut Option<Stop>, stop: Stop) -> bool {
    let before = merged.and_then(|merged| merged.within);
    let is_first = merged.is_none();
    let merged = merged.get_or_insert(stop);
    merged.within = before.into_iter().chain(stop.within).min();
    is_first || merged.within != before
}

/// A slot of a running run, which is freed on drop.
struct RunSlot {
    jobs: Jobs,
    name: String,
    run: String,
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        let run = (std::mem::take(&mut self.name), std::mem::take(&mut self.run));
        self.jobs.running().remove(&run);
        if let Some(job) = self.jobs.0.jobs.get(&run.0) {
            job.metrics.run_finished();
        }
        self.jobs.0.changed.notify_waiters();
    }
}

/// Returns a name that sorts by the start of the run and cannot be guessed.
fn run_name(began: &str) -> String {
    let digits = began.split('.').next().unwrap_or(began);
    let when: String = digits.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let id = Uuid::new_v4().simple().to_string();
    format!("{when}Z-{}", &id[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_stop_gives_the_reason_and_the_shortest_time_applies() {
        let second = |n| Some(Duration::from_secs(n));
        let mut merged = None;
        assert!(merge_stop(&mut merged, Stop { reason: ExitReason::Stopped, within: None }));
        assert!(!merge_stop(&mut merged, Stop { reason: ExitReason::HubStopping, within: None }));
        assert!(merge_stop(
            &mut merged,
            Stop { reason: ExitReason::HubStopping, within: second(3) }
        ));
        assert!(!merge_stop(
            &mut merged,
            Stop { reason: ExitReason::HubStopping, within: second(9) }
        ));
        assert!(merge_stop(
            &mut merged,
            Stop { reason: ExitReason::HubStopping, within: second(1) }
        ));
        let merged = merged.expect("a stop");
        assert_eq!(
            (merged.within, matches!(merged.reason, ExitReason::Stopped)),
            (second(1), true)
        );
    }
}
