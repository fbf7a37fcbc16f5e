//! The run of a chat: requests to an upstream, its answer, and the end.
//!
//! Promises: exactly one end, published last; a cut answer is never reported as complete; a request
//! is retried only before the upstream has answered anything; the connection closes with the run.

use super::answer::{MAX_RETRY_AFTER, UpstreamAnswer, UpstreamError, UpstreamRequest};
use super::chat::{Chat, Progress, StopBy};
use super::endpoint::Endpoints;
use super::event_batcher::{EventBatcher, Status};
use super::failure::{AttemptFailure, Failure, RunFailure, incomplete, is_temporary};
use super::permits::{UpstreamPermit, UpstreamPermits};
use super::spec::{ChatSettings, Timeouts, Upstream};
use crate::telemetry::ChatMetrics;
use crate::wire::chat::{
    ChatEvent, ChatRequest, Delta, FailureCause, State, UpstreamEvent, UpstreamFailure, Usage,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Maximum number of requests to an upstream.
const MAX_ATTEMPTS: u64 = 3;
/// Time until a retry, if the upstream names none; doubled for the second one.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Time without output after which readers get the status `stalled`.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Maximum time of waiting for the usage after the end of an answer.
const USAGE_WITHIN: Duration = Duration::from_secs(2);
/// Number of characters of a token, if tokens have to be estimated.
const CHARACTERS_PER_TOKEN: u64 = 4;
/// Maximum number of bytes of a token, on average over an answer, and an allowance for short
/// answers with long tokens. They limit an answer whose parts have many tokens each.
const MAX_BYTES_PER_TOKEN: u64 = 32;
const MAX_BYTES_OF_FEW_TOKENS: u64 = 4 * 1024;

/// Parameters of a run.
pub(super) struct Run {
    pub(super) chat: Arc<Chat>,
    pub(super) ask: ChatRequest,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) settings: Arc<ChatSettings>,
    pub(super) permits: Arc<UpstreamPermits>,
    pub(super) metrics: ChatMetrics,
}

/// State of a run beside its events.
struct RunProgress {
    attempts: u64,
    usage: Option<Usage>,
}

impl Run {
    /// Runs the chat. Returns its last events, which are not published yet.
    pub(super) async fn run(self, batcher: &mut EventBatcher) -> Vec<ChatEvent> {
        let mut progress = RunProgress { attempts: 0, usage: None };
        let deadline = Instant::now() + self.settings.total_timeout;
        let mut stopped = self.chat.stop.subscribe();
        let end = tokio::select! {
            end = timeout_at(deadline, self.answer(batcher, &mut progress)) => match end {
                Ok(Ok(finish_reason)) => ChatEvent::Done { finish_reason, is_final: true },
                Ok(Err(failure)) => self.error_event(failure, batcher),
                Err(_) => {
                    let why = format!("chat took longer than {:?}", self.settings.total_timeout);
                    self.error_event(RunFailure::failed(FailureCause::Timeout, why), batcher)
                }
            },
            by = stopped.wait_for(Option::is_some) => {
                let by = by.ok().and_then(|by| *by).unwrap_or(StopBy::Hub);
                match by {
                    StopBy::Hub => {
                        let why = "the hub stopped while the model answered";
                        self.error_event(RunFailure::failed(FailureCause::HubRestarted, why), batcher)
                    }
                    by => ChatEvent::Cancelled { by: by.as_str().to_owned() },
                }
            }
        };
        let usage = self.usage(&progress, batcher);
        self.metrics
            .record_answer(usage.completion_tokens, batcher.first.map(|first| first.elapsed()));
        [ChatEvent::Usage(usage), end].into()
    }

    fn error_event(&self, failure: RunFailure, batcher: &EventBatcher) -> ChatEvent {
        let failure = match failure {
            RunFailure::Failed(failure) => failure,
            RunFailure::Unpublished(message) => {
                Failure::new(FailureCause::JournalUnavailable, message)
            }
        };
        ChatEvent::Error {
            code: failure.cause,
            message: failure.message,
            retryable: failure.retryable,
            partial: batcher.first.is_some(),
            upstream_status: failure.status,
            // Rounded up to whole seconds, so that no retry is too early.
            retry_after: failure.wait.map(|wait| wait.as_millis().div_ceil(1000) as u64),
            upstream_code: failure.fields.code,
            upstream_type: failure.fields.kind,
            upstream_param: failure.fields.param,
        }
    }

    fn usage(&self, progress: &RunProgress, batcher: &EventBatcher) -> Usage {
        let attempts = progress.attempts;
        if let Some(usage) = &progress.usage {
            return Usage { attempts, ..usage.clone() };
        }
        if attempts == 0 {
            return Usage::default();
        }
        let prompt_tokens = self.ask.characters() / CHARACTERS_PER_TOKEN;
        let completion_tokens = batcher.parts;
        let total_tokens = prompt_tokens + completion_tokens;
        let counted = Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() };
        Usage { estimated: true, attempts, ..counted }
    }

    async fn answer(
        &self,
        batcher: &mut EventBatcher,
        progress: &mut RunProgress,
    ) -> Result<String, RunFailure> {
        let _permit = self.acquire_permit(batcher).await?;
        loop {
            progress.attempts += 1;
            let began = Instant::now();
            batcher.status(Status::attempt(State::Connecting, progress.attempts)).await?;
            let first_by = began + self.timeouts().first_token;
            let result = match self.connect(first_by).await {
                Ok(answer) => {
                    self.chat.progress.send_replace(Progress::Answered);
                    self.read_answer(answer, batcher, progress, began).await
                }
                Err(failure) => Err(failure),
            };
            let AttemptFailure { failure, may_retry } = match result {
                Ok(finish_reason) => return Ok(finish_reason),
                Err(failure) => failure,
            };
            let RunFailure::Failed(Failure { message, wait, .. }) = &failure else {
                return Err(failure);
            };
            let wait = wait.unwrap_or(RETRY_AFTER * progress.attempts as u32);
            let is_last = progress.attempts == MAX_ATTEMPTS || wait > MAX_RETRY_AFTER;
            if batcher.first.is_some() || !may_retry || is_last {
                return Err(failure);
            }
            let retry = Status::attempt(State::Retrying, progress.attempts + 1);
            let reason = Some(message.clone());
            batcher.status(Status { after: Some(wait), reason, ..retry }).await?;
            sleep(wait).await;
        }
    }

    /// Waits for a permit, if the upstream has a maximum of concurrent requests.
    async fn acquire_permit(
        &self,
        batcher: &mut EventBatcher,
    ) -> Result<Option<UpstreamPermit>, RunFailure> {
        let permits = self.upstream().and_then(|upstream| self.permits.of(upstream));
        let Some(permits) = permits else { return Ok(None) };
        let mut permit = std::pin::pin!(permits.acquire_owned());
        // The first poll takes a place in the queue, before the status `queued` is published.
        tokio::select! {
            biased;
            permit = &mut permit => return Ok(permit.ok()),
            () = std::future::ready(()) => {}
        }
        let _waits = self.metrics.queued(self.upstream_name());
        batcher.status(Status::of(State::Queued)).await?;
        // The semaphore is never closed.
        Ok(permit.await.ok())
    }

    /// Sends one request.
    async fn connect(&self, first_by: Instant) -> Result<UpstreamAnswer, AttemptFailure> {
        let request = async {
            let endpoint = |upstream| Some((upstream, self.endpoints.of(upstream)?));
            let Some((upstream, endpoint)) = self.upstream().and_then(endpoint) else {
                return Ok(UpstreamAnswer::echo(&self.ask));
            };
            let (model, ask, max_tokens) = (&self.chat.model, &self.ask, self.max_tokens());
            UpstreamRequest { upstream, endpoint, model, ask, max_tokens }.ask().await
        };
        let (label, result) = match timeout_at(first_by, request).await {
            Ok(Ok(answer)) => ("answered", Ok(answer)),
            Ok(Err(UpstreamError::Unreached(why))) => {
                let failure = RunFailure::failed(FailureCause::UpstreamError, why);
                ("unreached", Err(AttemptFailure { failure, may_retry: true }))
            }
            // The upstream may have received the request, and be working on it.
            Ok(Err(UpstreamError::Broken(why))) => {
                let failure = RunFailure::failed(FailureCause::UpstreamIncomplete, why);
                ("refused", Err(failure.into()))
            }
            Ok(Err(UpstreamError::Refused(refusal, wait))) => {
                let may_retry = is_temporary(&refusal);
                let label = if may_retry { "refused_for_now" } else { "refused" };
                let failure = RunFailure::of(refusal, wait, self.upstream());
                (label, Err(AttemptFailure { failure, may_retry }))
            }
            Err(_) => ("refused", Err(self.silent(self.timeouts().first_token).into())),
        };
        self.metrics.attempted(self.upstream_name(), label);
        result
    }

    /// Publishes an answer to its end, and returns the finish reason.
    async fn read_answer(
        &self,
        mut answer: UpstreamAnswer,
        batcher: &mut EventBatcher,
        progress: &mut RunProgress,
        began: Instant,
    ) -> Result<String, AttemptFailure> {
        let mut finish: Option<String> = None;
        let (mut last, mut is_stalled) = (Instant::now(), false);
        // A comment shows that the upstream is alive, but is not output.
        let mut alive = began;
        let timeouts = self.timeouts();
        loop {
            let (since, max_silence) = match (&finish, batcher.first) {
                (Some(_), _) => (last, USAGE_WITHIN),
                (None, None) => (alive, timeouts.first_token),
                (None, Some(_)) => (last.max(alive), timeouts.idle),
            };
            let due = batcher.due();
            let stalled_at = last + STALLED_AFTER;
            let next = tokio::select! {
                next = answer.next() => next,
                () = sleep_until(due.unwrap_or(last)), if due.is_some() => {
                    batcher.flush().await?;
                    continue;
                }
                () = sleep_until(since + max_silence) => match finish {
                    Some(finish) => return Ok(finish),
                    None => return Err(self.silent(max_silence).into()),
                },
                () = sleep_until(stalled_at), if !is_stalled && finish.is_none() => {
                    is_stalled = true;
                    self.metrics.stalled(self.upstream_name());
                    batcher.status(Status::attempt(State::Stalled, progress.attempts)).await?;
                    continue;
                }
            };
            let mut delta = match next {
                Ok(Some(UpstreamEvent::Delta(delta))) => *delta,
                Ok(Some(UpstreamEvent::Alive)) => {
                    alive = Instant::now();
                    continue;
                }
                Ok(Some(UpstreamEvent::Failure(error))) => return Err(self.upstream_failure(error)),
                Ok(Some(UpstreamEvent::End) | None) => {
                    return finish.ok_or_else(|| incomplete().into());
                }
                // An answer with a finish reason is complete, even if the connection broke after
                // it.
                Err(_) if finish.is_some() => return Ok(finish.unwrap_or_default()),
                Err(UpstreamError::Unreached(why) | UpstreamError::Broken(why)) => {
                    return Err(RunFailure::failed(FailureCause::UpstreamIncomplete, why).into());
                }
                Err(UpstreamError::Refused(error, _)) => {
                    return Err(self.upstream_failure(error).failure.into());
                }
            };
            (last, is_stalled) = (Instant::now(), false);
            progress.usage = delta.usage.take().or(progress.usage.take());
            let error = delta.trouble.take();
            finish = finish.or_else(|| delta.finish.clone());
            if let Some(ended) = self.take(delta, batcher, began).await? {
                return Ok(ended);
            }
            if let Some(error) = error {
                return Err(self.upstream_failure(error));
            }
        }
    }

    /// Publishes a part of an answer. Returns the finish reason if the hub ends the answer there.
    async fn take(
        &self,
        mut delta: Delta,
        batcher: &mut EventBatcher,
        began: Instant,
    ) -> Result<Option<String>, AttemptFailure> {
        const LENGTH: &str = "length";
        if delta.has_known_output() && self.is_long_enough(batcher) {
            // The limit applies even if the upstream ignores it; the connection closes with the
            // run.
            return Ok(Some(LENGTH.to_owned()));
        }
        if delta.redact.is_some() {
            self.chat.is_redacted.store(true, Ordering::Release);
        }
        let mut is_cut = delta.truncate(self.room(batcher));
        batcher.retain_changed(&mut delta.extra);
        let room = self.settings.max_output_bytes.saturating_sub(batcher.output_bytes());
        // The text of an answer that ends here is complete, so dropping other members is no cut.
        is_cut |= delta.cut_extra_to(room) && delta.finish.is_none();
        let had_none = batcher.first.is_none();
        let has_output = batcher.push(delta).await?;
        if has_output && had_none {
            self.metrics.first_token(began.elapsed());
        }
        Ok(is_cut.then(|| LENGTH.to_owned()))
    }

    fn timeouts(&self) -> Timeouts<Duration> {
        self.settings.timeouts_of(self.upstream())
    }

    fn upstream(&self) -> Option<&Upstream> {
        self.settings.upstream_of(&self.chat.model)
    }

    fn upstream_name(&self) -> &str {
        self.settings.upstream_name(&self.chat.model)
    }

    fn upstream_failure(&self, error: UpstreamFailure) -> AttemptFailure {
        let may_retry = is_temporary(&error);
        AttemptFailure { failure: RunFailure::of(error, None, self.upstream()), may_retry }
    }

    fn is_long_enough(&self, batcher: &EventBatcher) -> bool {
        let has_max = self.max_tokens().is_some_and(|max| batcher.parts >= max);
        has_max || self.room(batcher) == 0
    }

    /// Returns the number of bytes that the answer may still have.
    fn room(&self, batcher: &EventBatcher) -> usize {
        let bytes_of = |tokens: u64| {
            let bytes = tokens.saturating_mul(MAX_BYTES_PER_TOKEN);
            usize::try_from(bytes.saturating_add(MAX_BYTES_OF_FEW_TOKENS)).unwrap_or(usize::MAX)
        };
        let by_tokens = self.max_tokens().map_or(usize::MAX, bytes_of);
        let left = self.settings.max_output_bytes.saturating_sub(batcher.output_bytes());
        by_tokens.saturating_sub(batcher.text_bytes).min(left)
    }

    /// Returns the maximum number of tokens of the answer: the requested one, if the hub allows it.
    fn max_tokens(&self) -> Option<u64> {
        [self.ask.max_tokens, self.settings.max_tokens].into_iter().flatten().min()
    }

    fn silent(&self, max_silence: Duration) -> RunFailure {
        RunFailure::failed(
            FailureCause::UpstreamStalled,
            format!("the upstream sent nothing for {max_silence:?}"),
        )
    }
}
