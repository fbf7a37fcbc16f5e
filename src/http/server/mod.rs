//! The server: its listeners, and the workers that serve connections.

mod acceptor;
mod http2;
#[cfg(feature = "cluster")]
mod joining;
#[cfg(feature = "cluster")]
mod peers;
mod sockets;
mod takeover;

#[cfg(feature = "cluster")]
pub use joining::{JoinProgress, start_joining};
#[cfg(feature = "cluster")]
pub use peers::answer_peers;
pub use sockets::{BoundSockets, bind};

use crate::http::limits::head_clock::KEEP_ALIVE_S;
use crate::http::routes::app;
use crate::http::server::acceptor::{Acceptor, Transport};
use crate::http::state::AppState;
use actix_http::HttpService;
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory as _, Service, ServiceFactory as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Number of bytes that an encoder joins before it writes: the amount that a new socket takes.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
/// Maximum time for closing a connection.
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of connections to the admin listener.
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// Maximum time for requests to end once all sessions are closed.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that is listening.
pub struct Server {
    /// Addresses it listens on.
    pub addresses: Vec<SocketAddr>,
    /// Stops it.
    pub handle: ServerHandle,
    /// Resolves once it has stopped.
    pub running: actix_web::dev::Server,
}

/// Starts to serve the hub on these sockets.
pub fn start(state: Data<AppState>, sockets: BoundSockets) -> std::io::Result<Server> {
    let (workers, max_connections) = (state.settings.workers, state.settings.max_connections);
    serve(state, sockets, false, workers, max_connections)
}

/// Starts the admin listener, if it has sockets. Its server is separate, so that clients of the hub
/// cannot use up its connections.
pub fn start_admin(
    state: Data<AppState>,
    sockets: BoundSockets,
) -> std::io::Result<Option<Server>> {
    if sockets.is_empty() {
        Ok(None)
    } else {
        serve(state, sockets, true, 1, MAX_ADMIN_CONNECTIONS).map(Some)
    }
}

fn serve(
    state: Data<AppState>,
    sockets: BoundSockets,
    is_admin_listener: bool,
    workers: usize,
    max_connections: usize,
) -> std::io::Result<Server> {
    let mut server = actix_server::Server::build()
        .workers(workers)
        .max_concurrent_connections(max_connections)
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let mut addresses = Vec::new();
    for (address, listener) in sockets.listen()? {
        addresses.push(listener.local_addr()?);
        let (state, stopping) = (state.clone(), stopping.clone());
        server = server.listen(address.to_string(), listener, move || {
            let (state, stopping) = (state.clone(), stopping.clone());
            fn_factory(move || worker(state.clone(), stopping.clone(), is_admin_listener))
        })?;
    }
    let running = server.run();
    Ok(Server { addresses, handle: running.handle(), running })
}

/// Creates the service of a worker thread for one listener.
async fn worker(
    state: Data<AppState>,
    stopping: GracefulShutdownSignal,
    is_admin_listener: bool,
) -> Result<impl Service<TcpStream, Response = (), Error = (), Future: 'static>, ()> {
    if !is_admin_listener {
        // Starts the shard now, so that a thread that does not respond is detected from the start.
        state.shard();
    }
    let service = || map_config(app(state.clone(), is_admin_listener), |()| AppConfig::default());
    let shutdown = stopping.clone();
    let h1 = HttpService::build()
        .graceful_shutdown_signal(move || {
            let shutdown = shutdown.clone();
            async move { shutdown.notified().await }
        })
        .keep_alive(Duration::from_secs(KEEP_ALIVE_S))
        .client_disconnect_timeout(CLIENT_DISCONNECT_TIMEOUT)
        .h1_write_buffer_size(WRITE_BUFFER_BYTES)
        // A client that has closed its side counts as gone; nothing is streamed to it.
        .h1_allow_half_closed(false)
        .on_connect_ext(|wire: &Transport, data| {
            data.insert(wire.clock.clone());
            if let Some(shared) = wire.shared() {
                data.insert(shared);
            }
        })
        .finish(service());
    let h1 = h1.new_service(()).await?;
    let h2 = Rc::new(service().into_factory().new_service(()).await?);
    let connections = Rc::new(Acceptor { state, h1, h2, stopping, is_admin_listener });
    Ok(fn_service(move |stream: TcpStream| connections.clone().serve(stream)))
}
