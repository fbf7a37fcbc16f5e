//! One run: an upstream is asked, once or again, what it says is told, and how it ended.
//!
//! Promises: exactly one end, told last; a cut answer is never a whole one; the upstream is asked
//! again only before it has said anything; its connection closes with the run.

use super::answer::{Answer, MAX_RETRY_AFTER, NoAnswer};
use super::chat::{Chat, Progress, StopBy};
use super::spec::{ChatSettings, Upstream};
use super::teller::{Teller, Untold};
use crate::telemetry::ChatFigures;
use crate::wire::chat::{Ask, ChatEvent, Fault, Heard, State, Trouble, Usage};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Times that an upstream is asked at most.
const MAX_ATTEMPTS: u64 = 3;
/// How soon it is asked again, where it does not say; twice as late the second time.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// After how long without a word its readers are told so.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// How long what it took may come behind the end of an answer.
const USAGE_WITHIN: Duration = Duration::from_secs(2);
/// Characters of a token, where tokens have to be estimated.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// What a run goes by.
pub(super) struct Run {
    pub(super) chat: Arc<Chat>,
    pub(super) ask: Ask,
    pub(super) client: reqwest::Client,
    pub(super) settings: Arc<ChatSettings>,
    pub(super) figures: ChatFigures,
}

/// How it went, beside its events.
struct Went {
    attempts: u64,
    usage: Option<Usage>,
}

/// An end that is not by the model.
enum Cut {
    Failed { fault: Fault, message: String, retryable: bool, status: Option<u16> },
    Untold(String),
}

impl From<Untold> for Cut {
    fn from(Untold(why): Untold) -> Self {
        Self::Untold(why)
    }
}

impl Cut {
    fn failed(fault: Fault, message: impl Into<String>) -> Self {
        Self::Failed { fault, message: message.into(), retryable: true, status: None }
    }

    /// What an upstream's error comes to. What it says of the hub's key is nobody's business.
    fn of(trouble: Trouble, upstream: Option<&Upstream>) -> Self {
        let status = trouble.status;
        let fault = match status {
            _ if trouble.is_of_filter() => Fault::ContentFilter,
            Some(401 | 403) => Fault::UpstreamAuth,
            _ => Fault::UpstreamError,
        };
        let retryable = fault == Fault::UpstreamError && status.is_none_or(may_pass);
        let message = match (fault, status) {
            (Fault::UpstreamAuth, Some(status)) => {
                format!("the upstream answered {status}: it does not take the hub's key")
            }
            _ => upstream.map_or(trouble.message.clone(), |of| of.without_key(&trouble.message)),
        };
        Self::Failed { fault, message, retryable, status }
    }
}

/// Whether what failed with a status may succeed later.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429) || status >= 500
}

impl Run {
    /// Runs it; returns its last events, which are not published yet.
    pub(super) async fn finish(self, teller: &mut Teller) -> Vec<ChatEvent> {
        let mut went = Went { attempts: 0, usage: None };
        let deadline = Instant::now() + self.settings.total_timeout;
        let mut stopped = self.chat.stop.subscribe();
        let end = tokio::select! {
            end = timeout_at(deadline, self.answer(teller, &mut went)) => match end {
                Ok(Ok(finish_reason)) => ChatEvent::Done { finish_reason, is_final: true },
                Ok(Err(cut)) => self.cut(cut, teller),
                Err(_) => {
                    let why = format!("it took longer than {:?}", self.settings.total_timeout);
                    self.cut(Cut::failed(Fault::Timeout, why), teller)
                }
            },
            by = stopped.wait_for(Option::is_some) => {
                let by = by.ok().and_then(|by| *by).unwrap_or(StopBy::Hub);
                match by {
                    StopBy::Hub => {
                        let why = "the hub stopped while the model answered";
                        self.cut(Cut::failed(Fault::HubRestarted, why), teller)
                    }
                    by => ChatEvent::Cancelled { by: by.as_str().to_owned() },
                }
            }
        };
        let usage = self.usage(&went, teller);
        self.figures.told(usage.completion_tokens, teller.first.map(|first| first.elapsed()));
        [ChatEvent::Usage(usage), end].into()
    }

    fn cut(&self, cut: Cut, teller: &Teller) -> ChatEvent {
        let (code, message, retryable, upstream_status) = match cut {
            Cut::Failed { fault, message, retryable, status } => {
                (fault, message, retryable, status)
            }
            Cut::Untold(why) => (Fault::JournalUnavailable, why, true, None),
        };
        let partial = teller.first.is_some();
        ChatEvent::Error { code, message, retryable, partial, upstream_status }
    }

    fn usage(&self, went: &Went, teller: &Teller) -> Usage {
        let attempts = went.attempts;
        if let Some(usage) = went.usage {
            return Usage { attempts, ..usage };
        }
        let prompt_tokens = self.ask.characters() / CHARACTERS_PER_TOKEN;
        let completion_tokens = teller.parts;
        let total_tokens = prompt_tokens + completion_tokens;
        Usage { prompt_tokens, completion_tokens, total_tokens, estimated: true, attempts }
    }

    async fn answer(&self, teller: &mut Teller, went: &mut Went) -> Result<String, Cut> {
        let upstream = self.settings.upstream_of(&self.chat.model).cloned();
        loop {
            went.attempts += 1;
            let began = Instant::now();
            teller.status(State::Connecting, (went.attempts, None), None).await?;
            let first_by = began + self.settings.first_token_timeout;
            let (cut, wait) = match self.begin(upstream.as_ref(), first_by).await {
                Ok(answer) => {
                    self.figures.attempted("answered");
                    self.chat.progress.send_replace(Progress::Answered);
                    match self.listen(answer, teller, (went, began)).await {
                        Err((cut, may_retry)) if teller.first.is_none() && may_retry => (cut, None),
                        Err((cut, _)) => return Err(cut),
                        Ok(finish) => return Ok(finish),
                    }
                }
                Err((cut, wait, may_retry)) => {
                    self.figures.attempted(if may_retry { "refused_for_now" } else { "refused" });
                    if !may_retry {
                        return Err(cut);
                    }
                    (cut, wait)
                }
            };
            let wait = wait.unwrap_or(RETRY_AFTER * went.attempts as u32);
            if went.attempts == MAX_ATTEMPTS || wait > MAX_RETRY_AFTER {
                return Err(cut);
            }
            let reason = match &cut {
                Cut::Failed { message, .. } => Some(message.clone()),
                Cut::Untold(_) => return Err(cut),
            };
            teller.status(State::Retrying, (went.attempts + 1, Some(wait)), reason).await?;
            sleep(wait).await;
        }
    }

    /// Asks once; the error says how long to wait before the next time, and whether there may be one.
    async fn begin(
        &self,
        upstream: Option<&Upstream>,
        first_by: Instant,
    ) -> Result<Answer, (Cut, Option<Duration>, bool)> {
        let ask = (&self.ask, self.most_tokens());
        let asked = Answer::ask(&self.client, upstream, &self.chat.model, ask);
        match timeout_at(first_by, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(NoAnswer::Unreached(why))) => {
                Err((Cut::failed(Fault::UpstreamError, why), None, true))
            }
            // It may have been asked already, and be at it.
            Ok(Err(NoAnswer::Broken(why))) => {
                Err((Cut::failed(Fault::UpstreamIncomplete, why), None, false))
            }
            Ok(Err(NoAnswer::Refused(trouble, wait))) => {
                let may_retry = trouble.status.is_some_and(|status| status == 429 || status >= 500);
                Err((Cut::of(trouble, upstream), wait, may_retry))
            }
            Err(_) => Err((self.silent(self.settings.first_token_timeout), None, false)),
        }
    }

    /// Tells what it says to its end; the error says whether it may be asked again.
    async fn listen(
        &self,
        mut answer: Answer,
        teller: &mut Teller,
        (went, began): (&mut Went, Instant),
    ) -> Result<String, (Cut, bool)> {
        let fatal = |untold: Untold| (Cut::from(untold), false);
        let mut finish: Option<String> = None;
        let (mut last, mut is_stalled) = (Instant::now(), false);
        loop {
            let (silent_at, most) = match (&finish, teller.first) {
                (Some(_), _) => (last + USAGE_WITHIN, USAGE_WITHIN),
                (None, None) => {
                    let most = self.settings.first_token_timeout;
                    (began + most, most)
                }
                (None, Some(_)) => {
                    let most = self.settings.idle_timeout;
                    (last + most, most)
                }
            };
            let due = teller.due();
            let stalled_at = last + STALLED_AFTER;
            let heard = tokio::select! {
                heard = answer.next() => heard,
                () = sleep_until(due.unwrap_or(last)), if due.is_some() => {
                    teller.tell().await.map_err(fatal)?;
                    continue;
                }
                () = sleep_until(silent_at) => match finish {
                    Some(finish) => return Ok(finish),
                    None => return Err((self.silent(most), false)),
                },
                () = sleep_until(stalled_at), if !is_stalled && finish.is_none() => {
                    is_stalled = true;
                    self.figures.stalled();
                    let attempt = (went.attempts, None);
                    teller.status(State::Stalled, attempt, None).await.map_err(fatal)?;
                    continue;
                }
            };
            let delta = match heard {
                Ok(Some(Heard::Delta(delta))) => *delta,
                Ok(Some(Heard::Trouble(trouble))) => {
                    let may_retry =
                        trouble.status.is_some_and(|status| status == 429 || status >= 500);
                    return Err((self.cut_of(trouble), may_retry));
                }
                Ok(Some(Heard::End) | None) => return finish.ok_or_else(|| (incomplete(), false)),
                // What broke behind its end is whole.
                Err(_) if finish.is_some() => return Ok(finish.unwrap_or_default()),
                Err(NoAnswer::Unreached(why) | NoAnswer::Broken(why)) => {
                    return Err((Cut::failed(Fault::UpstreamIncomplete, why), false));
                }
                Err(NoAnswer::Refused(trouble, _)) => return Err((self.cut_of(trouble), false)),
            };
            (last, is_stalled) = (Instant::now(), false);
            went.usage = delta.usage.or(went.usage);
            finish = finish.or_else(|| delta.finish.clone());
            if delta.says_something() && self.is_long_enough(teller) {
                // Whatever the upstream was told: its connection closes with this.
                return Ok("length".to_owned());
            }
            if delta.redact.is_some() {
                self.chat.is_redacted.store(true, Ordering::Release);
            }
            let had_none = teller.first.is_none();
            let is_said = teller.hear(delta).await.map_err(fatal)?;
            if is_said && had_none {
                self.figures.first_token(began.elapsed());
            }
        }
    }

    fn cut_of(&self, trouble: Trouble) -> Cut {
        Cut::of(trouble, self.settings.upstream_of(&self.chat.model))
    }

    fn is_long_enough(&self, teller: &Teller) -> bool {
        let has_most = self.most_tokens().is_some_and(|most| teller.parts >= most);
        has_most || teller.said_bytes >= self.settings.max_output_bytes
    }

    /// Tokens of the answer at most: as was asked, and no more than the hub allows.
    fn most_tokens(&self) -> Option<u64> {
        [self.ask.max_tokens, self.settings.max_tokens].into_iter().flatten().min()
    }

    fn silent(&self, most: Duration) -> Cut {
        Cut::failed(Fault::UpstreamStalled, format!("the upstream said nothing for {most:?}"))
    }
}

fn incomplete() -> Cut {
    Cut::failed(
        Fault::UpstreamIncomplete,
        "the upstream's answer ended without a finish reason, so that it is not whole",
    )
}
