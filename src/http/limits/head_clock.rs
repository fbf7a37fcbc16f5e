//! Limits the time of every request head on an HTTP/1 connection. actix limits only the first head,
//! so a client could hold a connection forever by sending a later one slowly (slowloris).

use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Maximum time of a request head; actix uses the same for the first one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds that an idle connection stays open between requests, longer than in common proxies.
pub(crate) const KEEP_ALIVE_S: u64 = 75;
/// Maximum time between a response and the next request. Longer than actix's keep-alive, so that it
/// closes only connections whose next head began in the packet of the last request and stopped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(KEEP_ALIVE_S + 5);
/// Maximum size of a body that counts as sent once the response is created.
const SMALL_BODY_BYTES: u64 = 64 * 1024;

/// Phase of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first head is being read; actix limits its time.
    First,
    /// A request is being answered.
    Serving,
    /// The response is created, and nothing has been read since.
    Answered,
    /// A later head is being read.
    Reading,
}

/// The clock of one connection.
pub(crate) struct HeadClock {
    state: Cell<State>,
    since: Cell<Instant>,
    /// Timer for the last polled deadline, which may have moved since.
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
    is_expired: Cell<bool>,
    /// True if the request was refused before its body arrived; the body follows the response.
    body_is_pending: Cell<bool>,
}

impl HeadClock {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            state: Cell::new(State::First),
            since: Cell::new(Instant::now()),
            timer: RefCell::new(None),
            is_expired: Cell::new(false),
            body_is_pending: Cell::new(false),
        })
    }

    fn enter(&self, state: State) {
        self.state.set(state);
        self.since.set(Instant::now());
    }

    /// Starts the clock for the next head.
    pub(crate) fn start(&self) {
        self.enter(State::Answered);
    }

    /// Starts the clock after a response that did not wait for the body of its request.
    pub(crate) fn start_before_body(&self) {
        self.body_is_pending.set(true);
        self.start();
    }

    /// Notes that bytes were read.
    pub(crate) fn on_read(&self) {
        if self.state.get() == State::Answered && !self.body_is_pending.get() {
            self.enter(State::Reading);
        }
    }

    /// Notes that bytes of a response were written.
    pub(crate) fn on_write(&self) {
        if self.state.get() == State::Answered {
            self.since.set(Instant::now());
        }
    }

    /// Returns true once a head has taken too long.
    pub(crate) fn is_expired(&self) -> bool {
        self.is_expired.get()
    }

    /// Ready once the connection must be closed.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = match self.state.get() {
            State::First | State::Serving => return Poll::Pending,
            State::Answered => IDLE_TIMEOUT,
            State::Reading => HEAD_TIMEOUT,
        };
        let deadline = self.since.get() + timeout;
        let mut timer = self.timer.borrow_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A timer that fires too early is reset then, instead of for each request.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                self.is_expired.set(true);
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Returns the clock of a request's connection; `None` for HTTP/2.
pub(crate) fn of(request: &HttpRequest) -> Option<Rc<HeadClock>> {
    request.conn_data::<Rc<HeadClock>>().cloned()
}

/// Stops the clock while a request is answered.
pub(crate) fn stop(clock: Option<&Rc<HeadClock>>) {
    if let Some(clock) = clock {
        clock.enter(State::Serving);
    }
}

/// Starts the clock for the next head once the body of the response is sent.
pub(crate) fn start_after_response(
    response: ServiceResponse<BoxBody>,
    clock: Option<Rc<HeadClock>>,
) -> ServiceResponse<BoxBody> {
    let Some(clock) = clock else { return response };
    let (request, status) = (response.request(), response.status());
    let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let has_body = has_body.iter().any(|name| request.headers().contains_key(name));
    clock.body_is_pending.set(has_body && !status.is_success());
    let is_small = match response.response().body().size() {
        BodySize::None => true,
        BodySize::Sized(bytes) => bytes <= SMALL_BODY_BYTES,
        BodySize::Stream => false,
    };
    if is_small {
        clock.start();
        return response;
    }
    response.map_body(|_, body| TimedBody { body, clock }.boxed())
}

/// A body that starts the clock when it is dropped.
struct TimedBody {
    body: BoxBody,
    clock: Rc<HeadClock>,
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.clock.start();
    }
}

impl MessageBody for TimedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
