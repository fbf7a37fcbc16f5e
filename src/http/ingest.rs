//! Publishing: charges the publisher's rates, then writes to the journal.

#[cfg(feature = "durable-streams")]
use crate::event::durable::{CommandRefusal, StreamCommand};
use crate::event::{Draft, Receipt, StreamName};
#[cfg(feature = "durable-streams")]
use crate::http::error::Code;
use crate::http::error::Problem;
use crate::http::state::AppState;
#[cfg(feature = "durable-streams")]
use crate::journal::Refusal;
use crate::journal::{Item, PublishError, PublishUnit};
use crate::limits::{QuotaOwner, RateExceeded};
use crate::telemetry::{Protocol, Telemetry};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Overhead of an event in the publish queue beyond its data, in bytes.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// The origin of a publish.
pub(crate) struct PublishSource<'a> {
    /// The client and subject whose rates the publish is charged to.
    pub(crate) owner: &'a QuotaOwner,
    /// Size of the body that contained the events, in bytes.
    pub(crate) body_bytes: usize,
    /// The time from which the publish is measured.
    pub(crate) started: Instant,
    pub(crate) protocol: Protocol,
}

/// Publishes events. The caller has checked the publisher's grants.
pub(crate) async fn ingest(
    state: &AppState,
    source: PublishSource<'_>,
    drafts: Vec<Draft>,
) -> Result<Vec<Receipt>, Problem> {
    refuse_in_drain(state)?;
    let sizes = drafts.iter().map(|draft| (draft.streams(), draft.payload().as_bytes().len()));
    charge_rates(state, source.owner, sizes)?;
    let events = drafts.len();
    let bytes = source.body_bytes + events * EVENT_OVERHEAD_BYTES;
    let unit: PublishUnit = drafts.into_iter().map(Item::Event).collect();
    let mut timer =
        PublishTimer { telemetry: &state.telemetry, started: source.started, was_refused: false };
    let answer = state.publisher.publish(unit, bytes).await;
    timer.was_refused = answer.is_err();
    let receipts = answer?;
    state.telemetry.accepted(source.protocol, events as u64);
    Ok(receipts)
}

/// Changes a stream by a command. The caller has checked the publisher's grants.
#[cfg(feature = "durable-streams")]
pub(crate) async fn ingest_command(
    state: &AppState,
    source: PublishSource<'_>,
    command: StreamCommand,
) -> Result<Result<Receipt, CommandRefusal>, Problem> {
    refuse_in_drain(state)?;
    let stream = [command.stream.clone()];
    let size = |draft: &Draft| (&stream[..], draft.payload().as_bytes().len());
    let events = command.drafts().len();
    match command.drafts() {
        // Its readers get an end or a creation as an event, so it is metered as one.
        [] => charge_rates(state, source.owner, std::iter::once((&stream[..], 0)))?,
        drafts => charge_rates(state, source.owner, drafts.iter().map(size))?,
    }
    let bytes = source.body_bytes + (events + 1) * EVENT_OVERHEAD_BYTES;
    let unit = vec![Item::Command(Box::new(command))];
    let mut timer =
        PublishTimer { telemetry: &state.telemetry, started: source.started, was_refused: false };
    let answer = state.publisher.publish(unit, bytes).await;
    timer.was_refused = answer.is_err();
    match answer {
        Ok(receipts) => {
            state.telemetry.accepted(source.protocol, events as u64);
            let missing = || Problem::new(Code::ServerError, "the journal returned no receipt");
            receipts.into_iter().next().map(Ok).ok_or_else(missing)
        }
        Err(PublishError::Refused(Refusal::Command(refusal))) => Ok(Err(refusal)),
        Err(error) => Err(error.into()),
    }
}

/// Measures a publish until its receipt, even if its client gives up: the slowest publishes are the
/// ones that clients give up.
struct PublishTimer<'a> {
    telemetry: &'a Telemetry,
    started: Instant,
    was_refused: bool,
}

impl Drop for PublishTimer<'_> {
    fn drop(&mut self) {
        if !self.was_refused {
            self.telemetry.publish_took(self.started.elapsed());
        }
    }
}

/// Fails once the hub is draining: a draining hub accepts no publishes from clients.
pub(crate) fn refuse_in_drain(state: &AppState) -> Result<(), Problem> {
    if state.draining.load(Ordering::Relaxed) { Err(PublishError::Draining.into()) } else { Ok(()) }
}

/// Charges events, each given as its streams and bytes, to the rates of their publisher.
pub(crate) fn charge_rates<'a>(
    state: &AppState,
    owner: &QuotaOwner,
    events: impl Iterator<Item = (&'a [StreamName], usize)>,
) -> Result<(), Problem> {
    let spent = state.rates.load().spend(owner, events);
    spent.map_err(rate_exceeded)
}

fn rate_exceeded(RateExceeded { limit, wait }: RateExceeded) -> Problem {
    let why = format!("the limit {} is reached", limit.as_str());
    Problem::limit_reached(limit, why).retry_after(wait.as_secs() + 1)
}
