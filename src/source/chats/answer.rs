//! Answers of upstreams and of the echo, read as they arrive.

use super::endpoint::Endpoint;
use super::spec::{ECHO, Upstream};
use crate::wire::chat::{
    ChatRequest, Decoder, Delta, StreamUsage, UpstreamEvent, UpstreamFailure, Usage,
};
use crate::wire::{SseDecoder, SseEvent, SseFrame};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Maximum size of an upstream's event, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// Size after which the rest of an error body is not read, in bytes.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// Maximum time for reading an error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum `Retry-After` that is followed.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Content encodings that the hub does not decode; it asks for none of them.
const ENCODINGS: [&str; 7] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];
/// Interval between the tokens of the echo upstream.
const ECHO_PACE: Duration = Duration::from_millis(20);

/// Reason why an upstream gave no answer.
#[derive(Debug)]
pub(super) enum UpstreamError {
    /// The upstream could not be reached.
    Unreached(String),
    /// The connection broke.
    Broken(String),
    /// The upstream answered with an error.
    Refused(UpstreamFailure, Option<Duration>),
}

/// An answer that has started.
pub(super) enum UpstreamAnswer {
    /// Answer of an upstream.
    Of(Box<HttpAnswer>),
    /// Answer of the echo.
    Echo(Echo),
}

/// A request to one upstream.
pub(super) struct UpstreamRequest<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) endpoint: &'a Endpoint,
    pub(super) model: &'a str,
    pub(super) ask: &'a ChatRequest,
    pub(super) max_tokens: Option<u64>,
}

impl UpstreamRequest<'_> {
    /// Sends the request, and again without `stream_options` if the upstream refuses them.
    pub(super) async fn ask(&self) -> Result<UpstreamAnswer, UpstreamError> {
        let usage = self.endpoint.stream_usage(self.upstream);
        let refused = match self.ask_with(usage).await {
            Err(UpstreamError::Refused(trouble, wait)) => (trouble, wait),
            asked => return asked,
        };
        let Some(usage) = usage.filter(|usage| self.ask.has_options(*usage)) else {
            return Err(UpstreamError::Refused(refused.0, refused.1));
        };
        if !Endpoint::refuses_options(self.upstream, &refused.0) {
            return Err(UpstreamError::Refused(refused.0, refused.1));
        }
        let asked = self.ask_with(None).await;
        // The options of one client do not predict those of others.
        if asked.is_ok() && self.ask.asks_for_usage_alone(usage) {
            self.endpoint.answers_without_options(self.upstream);
        }
        asked
    }

    async fn ask_with(&self, usage: Option<StreamUsage>) -> Result<UpstreamAnswer, UpstreamError> {
        let upstream = self.upstream;
        let mut request = self
            .endpoint
            .client
            .post(upstream.endpoint(self.model))
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .header("accept-encoding", "identity")
            .body(self.ask.for_upstream(self.model, self.max_tokens, usage));
        for (name, value) in &upstream.headers {
            request = request.header(name, value.0.as_str());
        }
        if let Some((name, value)) = upstream.credential() {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() {
                UpstreamError::Unreached(describe_error(error))
            } else {
                UpstreamError::Broken(describe_error(error))
            }
        })?;
        let status = response.status().as_u16();
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_encoded =
            |name: &&str| ENCODINGS.iter().any(|known| known.eq_ignore_ascii_case(name));
        let encoding = header("content-encoding").filter(is_encoded).map(str::to_owned);
        let wait = header("retry-after").and_then(retry_after);
        let is_json =
            header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let is_refused = !response.status().is_success();
        if let Some(encoding) = encoding {
            let message = format!(
                "the upstream answered {status} with content encoding {encoding:?}, which was not \
                 requested"
            );
            let status = is_refused.then_some(status);
            return Err(UpstreamError::Refused(
                UpstreamFailure { message, status, ..UpstreamFailure::default() },
                wait,
            ));
        }
        if is_refused {
            let body = refusal(&mut response).await;
            return Err(UpstreamError::Refused(UpstreamFailure::of_body(&body, status), wait));
        }
        Ok(UpstreamAnswer::Of(Box::new(HttpAnswer {
            response,
            frames: SseDecoder::new(MAX_EVENT_BYTES),
            decoder: Decoder::default(),
            body: is_json.then(Vec::new),
            waiting: VecDeque::new(),
            is_over: false,
        })))
    }
}

impl UpstreamAnswer {
    /// Returns an answer that repeats the request.
    pub(super) fn echo(ask: &ChatRequest) -> Self {
        Self::Echo(Echo::of(ask))
    }

    /// Returns the next event; `None` at the end. It is cancel safe: no event is lost if the future
    /// is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<UpstreamEvent>, UpstreamError> {
        match self {
            Self::Of(spoken) => spoken.next().await,
            Self::Echo(echo) => Ok(echo.next().await),
        }
    }
}

/// Answer of an upstream over HTTP.
pub(super) struct HttpAnswer {
    response: reqwest::Response,
    frames: SseDecoder,
    decoder: Decoder,
    /// Whole body of an answer that is not streamed.
    body: Option<Vec<u8>>,
    waiting: VecDeque<SseFrame>,
    is_over: bool,
}

impl HttpAnswer {
    async fn next(&mut self) -> Result<Option<UpstreamEvent>, UpstreamError> {
        loop {
            match self.waiting.pop_front() {
                Some(SseFrame::Event(event)) if event.data.trim_ascii().is_empty() => {}
                Some(SseFrame::Event(event)) => return Ok(Some(self.decoder.decode(&event.data))),
                Some(SseFrame::Comment) => return Ok(Some(UpstreamEvent::Alive)),
                Some(SseFrame::Error(error)) => {
                    return Ok(Some(UpstreamEvent::Failure(UpstreamFailure::of_field(&error))));
                }
                None if self.is_over => return Ok(None),
                None => {
                    let chunk = self.response.chunk().await;
                    let broken = |error| UpstreamError::Broken(describe_error(error));
                    self.take(chunk.map_err(broken)?)?;
                }
            }
        }
    }

    fn take(&mut self, chunk: Option<bytes::Bytes>) -> Result<(), UpstreamError> {
        let too_large = || {
            let message =
                format!("the upstream sent an event of more than {MAX_EVENT_BYTES} bytes");
            UpstreamError::Refused(UpstreamFailure { message, ..UpstreamFailure::default() }, None)
        };
        let mut frames = Vec::new();
        match (chunk, &mut self.body) {
            (Some(chunk), Some(body)) => {
                body.extend_from_slice(&chunk);
                if body.len() > MAX_EVENT_BYTES {
                    return Err(too_large());
                }
            }
            (Some(chunk), None) => {
                self.frames.take(&chunk, &mut frames).map_err(|_| too_large())?;
            }
            (None, body) => {
                self.is_over = true;
                self.frames.end(&mut frames);
                let body = body.take().map(|data| SseEvent { data, ..SseEvent::default() });
                frames.extend(body.map(SseFrame::Event));
            }
        }
        self.waiting.extend(frames);
        Ok(())
    }
}

/// Returns the part of an error body that arrives in time.
async fn refusal(response: &mut reqwest::Response) -> Vec<u8> {
    let (mut body, by) = (Vec::new(), Instant::now() + ERROR_BODY_TIMEOUT);
    while body.len() <= MAX_REFUSAL_BYTES {
        match timeout_at(by, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    body
}

/// Returns the delay of a `Retry-After` header: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// Describes an error without the URL, which may hold secrets.
fn describe_error(error: reqwest::Error) -> String {
    let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if !is_connect {
        format!("the connection to the upstream failed: {cause}")
    } else if is_timeout {
        "timeout while connecting to the upstream".to_owned()
    } else {
        format!("cannot connect to the upstream: {cause}")
    }
}

/// Answer that repeats the last message, one word at a time.
pub(super) struct Echo {
    words: VecDeque<String>,
    due: Instant,
    usage: Usage,
    is_finished: bool,
}

impl Echo {
    fn of(ask: &ChatRequest) -> Self {
        let text = format!(
            "This is not a model: the built-in `{ECHO}` of this hub only repeats your last \
             message:\n\n{}",
            ask.last_text()
        );
        let words: VecDeque<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let (prompt_tokens, completion_tokens) = (ask.characters() / 4, words.len() as u64);
        let total_tokens = prompt_tokens + completion_tokens;
        let usage = Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() };
        Self { words, due: Instant::now(), usage, is_finished: false }
    }

    async fn next(&mut self) -> Option<UpstreamEvent> {
        if self.is_finished {
            return None;
        }
        sleep_until(self.due).await;
        self.due += ECHO_PACE;
        let delta = match self.words.pop_front() {
            Some(word) => Delta { content: Some(word), ..Delta::default() },
            None => {
                self.is_finished = true;
                let (finish, usage) = (Some("stop".to_owned()), Some(self.usage.clone()));
                Delta { finish, usage, ..Delta::default() }
            }
        };
        Some(UpstreamEvent::Delta(Box::new(delta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let far = retry_after("Thu, 31 Dec 2099 23:59:59 GMT");
        assert!(far.is_some_and(|wait| wait > MAX_RETRY_AFTER));
        assert_eq!((retry_after("soon"), retry_after("-1")), (None, None));
    }
}
