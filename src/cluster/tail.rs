//! Reads the log in its order.

use super::error::LogError;
use super::log::LogMessage;
use super::settings::ClusterSettings;
use async_nats::jetstream::consumer::pull::{Config, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Interval of heartbeats of the server; without two of them the consumer is created again.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Time after which a request for messages is repeated.
const REQUEST_EXPIRES: Duration = Duration::from_secs(2);
/// Maximum number of messages of a request.
const REQUEST_MESSAGES: usize = 1_000;
/// Time after which the server deletes a consumer without requests.
const INACTIVE: Duration = Duration::from_secs(30);
/// Pause before a failed read is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Sends the messages after `last` to `messages`, and calls `wake` after each. Ends with an error if
/// the log does not continue at `last`, or when the receiver is gone.
pub(super) async fn read(
    context: Context,
    settings: ClusterSettings,
    mut last: u64,
    messages: Sender<Result<LogMessage, LogError>>,
    wake: Box<dyn Fn() + Send>,
) {
    loop {
        match read_on(&context, &settings, &mut last, &messages, &wake).await {
            Ok(()) => return,
            Err(Interrupted::Retry(reason)) => {
                tracing::warn!(reason, last, "reading the log was interrupted");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(Interrupted::Stop(error)) => {
                let _ = messages.send(Err(error)).await;
                wake();
                return;
            }
        }
    }
}

/// Reason why reading ended.
enum Interrupted {
    /// The server did not answer, or changed.
    Retry(String),
    /// The log is not the one that was read before.
    Stop(LogError),
}

/// Reads with one consumer. Returns when the receiver is gone.
async fn read_on(
    context: &Context,
    settings: &ClusterSettings,
    last: &mut u64,
    messages: &Sender<Result<LogMessage, LogError>>,
    wake: &impl Fn(),
) -> Result<(), Interrupted> {
    let retry = |error: &dyn std::fmt::Display| Interrupted::Retry(error.to_string());
    let mut stream = context.get_stream(&settings.name).await.map_err(|error| retry(&error))?;
    check_end(&mut stream, *last).await?;
    let mut batches = consume(&stream, *last + 1).await.map_err(|error| retry(&error))?;
    while let Some(message) = batches.next().await {
        let message = message.map_err(|error| retry(&error))?;
        let sequence = message.info().map_err(|error| retry(&error))?.stream_sequence;
        if sequence != *last + 1 {
            return Err(Interrupted::Stop(LogError::Gap { last: *last, found: sequence }));
        }
        *last = sequence;
        let data = message.message.payload;
        if messages.send(Ok(LogMessage { sequence, data })).await.is_err() {
            return Ok(());
        }
        wake();
    }
    Err(Interrupted::Retry("the consumer ended".to_owned()))
}

/// Fails if the log ends before `last`, or begins after the message that follows it.
async fn check_end(stream: &mut Stream, last: u64) -> Result<(), Interrupted> {
    let info = stream.info().await.map_err(|error| Interrupted::Retry(error.to_string()))?;
    let state = &info.state;
    if state.last_sequence < last {
        let error = LogError::Behind { end: state.last_sequence, applied: last };
        return Err(Interrupted::Stop(error));
    }
    if state.first_sequence > last + 1 {
        return Err(Interrupted::Stop(LogError::Gap { last, found: state.first_sequence }));
    }
    Ok(())
}

/// Creates a consumer that begins with message `first`.
async fn consume(stream: &Stream, first: u64) -> Result<Messages, async_nats::Error> {
    let config = Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(REQUEST_MESSAGES)
        .heartbeat(HEARTBEAT)
        .expires(REQUEST_EXPIRES)
        .messages()
        .await?;
    Ok(messages)
}
