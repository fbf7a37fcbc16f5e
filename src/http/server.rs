//! The server: what the handlers share, the routes, the sockets.

use super::problem::{Code, Problem};
use super::socket::Socket;
use super::stats::{self, SelectorFigures};
use super::stream::serve;
use super::{guard, login, ops, pages, publish, revocations, streams, subscribe, tickets};
use crate::access::{Access, Caller, Revocations};
use crate::hub::{ConnectionManager, Pace, ShardHandle, ShardSettings};
use crate::journal::{Health, History, Publisher, StreamUsage};
use crate::limits::{Limits, MemoryBudget, Rates};
use crate::telemetry::Telemetry;
use actix::Addr;
use actix_cors::Cors;
use actix_http::{HttpService, Protocol};
use actix_service::{Service as _, ServiceFactory, apply_fn_factory, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::{Condition, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, ResponseError};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use socket2::{Domain, Type};
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections that wait to be accepted, where the system allows it.
const BACKLOG: i32 = 4096;
/// Idle connections between requests are kept this long; longer than common proxies keep theirs.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Bytes an encoder joins before it writes: what one write of a socket takes at first.
const WRITE_BUFFER_BYTES: usize = 32 * 1024;
/// How long a connection that is being closed may take to do so.
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long requests may take to end once all sessions are gone.
const SHUTDOWN_TIMEOUT_S: u64 = 2;

/// What the handlers need to know.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The data of one event at most.
    pub max_event_bytes: usize,
    /// The body of one request at most.
    pub max_body_bytes: usize,
    /// The usual sign of life.
    pub heartbeat: Duration,
    /// How long a connection may take nothing.
    pub write_timeout: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Connections that one worker holds at most.
    pub max_connections: usize,
    /// Origins whose pages may use the hub.
    pub cors_origins: Vec<String>,
    /// Whether only its own machine reaches it.
    pub is_local: bool,
    /// Proxies that are believed whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// Names it goes by, beside those of its own machine.
    pub public_hosts: Vec<String>,
}

/// What the handlers share.
pub struct Hub {
    /// What credentials are held against.
    pub access: Access,
    /// What has been revoked.
    pub revocations: Arc<Revocations>,
    /// Those who show none, where they may do something.
    pub anonymous: Option<Arc<Caller>>,
    /// How events get in.
    pub publisher: Publisher,
    /// How they are read.
    pub history: Arc<History>,
    /// How the journal is.
    pub health: Arc<Health>,
    /// How many streams there are.
    pub stream_usage: Arc<StreamUsage>,
    /// How much anybody may take.
    pub limits: Arc<ArcSwap<Limits>>,
    /// How fast anybody may publish.
    pub rates: ArcSwap<Rates>,
    /// The memory that the process takes.
    pub memory: MemoryBudget,
    /// The selectors of subscriptions.
    pub selectors: SelectorFigures,
    /// Who wants what.
    pub manager: Addr<ConnectionManager>,
    /// Where figures go.
    pub telemetry: Telemetry,
    /// When clients come back.
    pub pace: Arc<Pace>,
    /// Reads of history that may wait for the disk at once.
    pub disk_readers: Arc<Semaphore>,
    /// Short look-ups that may wait for the disk at once.
    pub lookups: Arc<Semaphore>,
    /// Bytes of request bodies that are being received.
    pub body_bytes: AtomicUsize,
    /// The hub is stopping.
    pub draining: AtomicBool,
    /// What else they need to know.
    pub settings: HttpSettings,
}

/// A server that is listening.
pub struct Server {
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// Stops it.
    pub handle: ServerHandle,
    /// Resolves once it has stopped.
    pub running: actix_web::dev::Server,
}

/// Binds every address and starts to serve.
pub fn start(hub: Data<Hub>, listen: &[SocketAddr]) -> std::io::Result<Server> {
    let settings = hub.settings.clone();
    let mut server = actix_server::Server::build()
        .workers(settings.workers)
        .max_concurrent_connections(settings.max_connections)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let mut addresses = Vec::new();
    for address in listen {
        let listener = bind(*address).map_err(|e| {
            std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"))
        })?;
        addresses.push(listener.local_addr()?);
        let (hub, stopping, timeout) = (hub.clone(), stopping.clone(), settings.write_timeout);
        server = server.listen(address.to_string(), listener, move || {
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_disconnect_timeout(CLIENT_DISCONNECT_TIMEOUT)
                .h1_write_buffer_size(WRITE_BUFFER_BYTES)
                // A client that has closed its side is gone; there is nobody to stream to.
                .h1_allow_half_closed(false)
                .on_connect_ext(|socket: &Socket, data| drop(data.insert(socket.shared())))
                .finish(map_config(app(hub.clone()), |()| AppConfig::default()));
            apply_fn_factory(http, move |stream: TcpStream, http| {
                let peer = stream.peer_addr().ok();
                close_when_stuck(&stream, timeout);
                let socket = Socket::new(stream);
                let shared = socket.shared();
                serve(http.call((socket, Protocol::Http1, peer)), shared)
            })
        })?;
    }
    let running = server.run();
    Ok(Server { addresses, handle: running.handle(), running })
}

fn app(
    hub: Data<Hub>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let origins = &hub.settings.cors_origins;
    let cors = Condition::new(!origins.is_empty(), cors(origins));
    App::new().app_data(hub).wrap(from_fn(guard::guard)).wrap(cors).configure(routes)
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Has the kernel close a connection whose peer takes nothing for `timeout`. actix polls no body
/// while its write buffer is full, so ending the body would close nothing.
fn close_when_stuck(socket: &TcpStream, timeout: Duration) {
    let socket = socket2::SockRef::from(socket);
    let set = socket.set_tcp_nodelay(true).and(socket.set_tcp_user_timeout(Some(timeout)));
    if let Err(error) = set {
        tracing::warn!("a connection will not be closed when it is stuck: {error}");
    }
}

/// The shard of this worker thread. It belongs to the thread and not to a call of the factory,
/// which runs once for every worker and address, and again when a worker is restarted.
pub(super) fn shard(hub: &Hub) -> ShardHandle {
    thread_local! {
        static SHARD: RefCell<Option<ShardHandle>> = const { RefCell::new(None) };
    }
    SHARD.with_borrow_mut(|slot| {
        let start = || {
            let settings = ShardSettings {
                history: hub.history.clone(),
                telemetry: hub.telemetry.clone(),
                pace: hub.pace.clone(),
                write_timeout: hub.settings.write_timeout,
                disk_readers: hub.disk_readers.clone(),
                revocations: hub.revocations.clone(),
            };
            ShardHandle::start(hub.manager.clone(), settings)
        };
        slot.get_or_insert_with(start).clone()
    })
}

fn routes(config: &mut ServiceConfig) {
    let route = |path: &str| web::resource(path).default_service(web::to(wrong_method));
    config
        .service(route("/publish").route(web::post().to(publish::publish)))
        .service(route("/events").route(web::get().to(subscribe::events)))
        .service(route("/streams").route(web::get().to(streams::list)))
        .service(
            route("/streams/{stream}")
                .route(web::get().to(streams::get))
                .route(web::delete().to(streams::delete)),
        )
        .service(
            route("/streams/{stream}/events")
                .route(web::get().to(subscribe::stream_events))
                .route(web::post().to(publish::publish_text)),
        )
        .service(route("/streams/{stream}/end").route(web::post().to(streams::end)))
        .service(route("/revocations").route(web::post().to(revocations::add)))
        .service(route("/tickets").route(web::post().to(tickets::mint)))
        .service(
            route("/session")
                .route(web::post().to(login::begin))
                .route(web::delete().to(login::end)),
        )
        .service(route("/stats").route(web::get().to(stats::stats)))
        .service(route("/version").route(web::get().to(ops::version)))
        .service(route("/healthz").route(web::get().to(ops::healthz)))
        .service(route("/readyz").route(web::get().to(ops::readyz)))
        .service(route("/metrics").route(web::get().to(ops::metrics)))
        .service(route("/").route(web::get().to(pages::index)))
        .service(route("/watch.js").route(web::get().to(pages::script)))
        .service(route("/watch.css").route(web::get().to(pages::style)))
        .default_service(web::to(nothing_here));
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    Problem::new(Code::NotFound, format!("there is no {}", request.path())).error_response()
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} does not take {}", request.path(), request.method());
    Problem::new(Code::MethodNotAllowed, detail).error_response()
}

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::DELETE])
        .allowed_headers([
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::CACHE_CONTROL,
            header::AUTHORIZATION,
            subscribe::LAST_EVENT_ID,
        ])
        .allowed_header("Idempotency-Key")
        .expose_headers([subscribe::LAST_EVENT_ID, header::RETRY_AFTER])
        .max_age(3600);
    // Cookies go to origins that are named, and not to whoever asks.
    let cors = match origins.iter().any(|origin| origin == "*") {
        true => cors,
        false => cors.supports_credentials(),
    };
    origins.iter().fold(cors, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
