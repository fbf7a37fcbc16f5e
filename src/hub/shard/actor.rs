//! The actor of a shard: messages, timers and the loops that write to sockets.

use super::close::LEAVE_STEP;
use super::settings::ShardSettings;
use super::state::ShardState;
use crate::hub::ids::ShardId;
use crate::hub::messages::{CloseSession, FromShard, ListSessions, ShardAddress, ToShard};
use crate::hub::session_view::SessionView;
use actix::prelude::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use actix::{Addr, Recipient};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum number of messages that wait for a shard; beyond it, its sessions read from history.
const SHARD_MAILBOX: usize = 1024;

/// Actor of a shard. It shares its state with the connections of its thread.
pub(in crate::hub) struct Shard {
    state: Rc<RefCell<ShardState>>,
    /// Timer that runs while sessions are closed over a window.
    leave_timer: Option<SpawnHandle>,
}

impl Shard {
    /// Starts a shard on this thread; returns what it shares with the thread's connections.
    pub(in crate::hub) fn start(
        manager: Recipient<FromShard>,
        settings: ShardSettings,
    ) -> Rc<RefCell<ShardState>> {
        static NEXT_SHARD: AtomicU64 = AtomicU64::new(1);
        let shard = ShardId::of(NEXT_SHARD.fetch_add(1, Ordering::Relaxed));
        let state = Rc::new(RefCell::new(ShardState::new(shard, manager, settings)));
        let address = Self::address(&Self { state: state.clone(), leave_timer: None }.start());
        state.borrow_mut().join(address);
        state
    }

    /// Returns the recipients of an actor's messages.
    pub(in crate::hub) fn address(shard: &Addr<Self>) -> ShardAddress {
        ShardAddress {
            work: shard.clone().recipient(),
            list: shard.clone().recipient(),
            close: shard.clone().recipient(),
        }
    }
}

/// Writes new events to the sockets, for as long as the shard's thread runs.
async fn run_flushes(state: Rc<RefCell<ShardState>>) {
    let scheduled = state.borrow().flushes.scheduled();
    loop {
        scheduled.notified().await;
        loop {
            let has_more = state.borrow_mut().write_slice();
            // Connections that were woken, such as those over TLS, run meanwhile.
            tokio::task::yield_now().await;
            state.borrow_mut().measure_fan_out();
            if !has_more {
                break;
            }
        }
    }
}

/// Writes delayed events that are due, for as long as the shard's thread runs.
async fn run_delayed_flushes(state: Rc<RefCell<ShardState>>) {
    let changed = state.borrow().delayed.changed();
    loop {
        let due = state.borrow().delayed.next();
        match due {
            None => changed.notified().await,
            Some(due) => tokio::select! {
                () = changed.notified() => continue,
                () = tokio::time::sleep_until(due.into()) => {}
            },
        }
        while state.borrow_mut().write_delayed() {
            tokio::task::yield_now().await;
        }
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SHARD_MAILBOX);
        ctx.run_interval(Duration::from_secs(1), |shard, _| shard.state.borrow_mut().tick());
        // In the actor's own task: if a loop panics, the actor ends and the manager notices.
        ctx.spawn(actix::fut::wrap_future(run_flushes(self.state.clone())));
        ctx.spawn(actix::fut::wrap_future(run_delayed_flushes(self.state.clone())));
    }
}

impl Handler<ToShard> for Shard {
    type Result = ();

    fn handle(&mut self, message: ToShard, ctx: &mut Self::Context) {
        let mut state = self.state.borrow_mut();
        match message {
            ToShard::Registered { key, answer } => state.registered(key, answer),
            ToShard::Deliver { batch, recipients } => state.deliver(&batch, &recipients),
            ToShard::Resync { through } => state.resync(through),
            ToShard::Leave { window, reason } => {
                state.start_leaving(window, reason);
                if self.leave_timer.is_none() {
                    let timer = ctx.run_interval(LEAVE_STEP, |shard, ctx| {
                        if !shard.state.borrow_mut().leave_step()
                            && let Some(timer) = shard.leave_timer.take()
                        {
                            ctx.cancel_future(timer);
                        }
                    });
                    self.leave_timer = Some(timer);
                }
            }
        }
    }
}

impl Handler<ListSessions> for Shard {
    type Result = Vec<SessionView>;

    fn handle(&mut self, query: ListSessions, _: &mut Self::Context) -> Vec<SessionView> {
        self.state.borrow().list(&query.0)
    }
}

impl Handler<CloseSession> for Shard {
    type Result = bool;

    fn handle(&mut self, request: CloseSession, _: &mut Self::Context) -> bool {
        self.state.borrow_mut().close_by_operator(request.0)
    }
}
