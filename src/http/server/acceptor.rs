//! Accepts connections: enforces limits, performs the TLS handshake, and detects the HTTP version.
//!
//! Promises: no client has more connections than its limit allows; no connection is accepted once
//! the memory budget is nearly used up; a connection that sends nothing is closed.

use crate::http::limits::ConnectionPermit;
use crate::http::limits::head_clock::HeadClock;
use crate::http::server::http2;
use crate::http::server::takeover::serve;
use crate::http::session_socket::{SessionSocket, Socket};
use crate::http::state::AppState;
use crate::http::tls::HTTP2;
use crate::limits::Limit;
use crate::platform;
use crate::telemetry::ConnectionRefused;
use actix_http::error::DispatchError;
use actix_http::{Protocol, Request, Response};
use actix_service::Service;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use futures_util::future::{Either, TryFutureExt as _};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// Maximum time until the protocol of a connection is known.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connection preface of HTTP/2 with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First interval at which an incomplete preface is checked again; it doubles, as most prefaces
/// arrive in one piece.
const PREFACE_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Transport of an HTTP/1.1 connection.
pub(crate) struct Transport {
    stream: TransportIo,
    pub(crate) clock: Rc<HeadClock>,
}

enum TransportIo {
    /// A socket that its session may take over.
    Plain(Socket),
    /// A TLS connection, which a session does not take over.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn plain(stream: TcpStream) -> Self {
        Self { stream: TransportIo::Plain(Socket::new(stream)), clock: HeadClock::new() }
    }

    fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: TransportIo::Tls(Box::new(stream)), clock: HeadClock::new() }
    }

    /// Returns the session's end of the socket; `None` for TLS, which no session takes over.
    pub(crate) fn shared(&self) -> Option<Rc<SessionSocket>> {
        match &self.stream {
            TransportIo::Plain(socket) => Some(socket.shared()),
            TransportIo::Tls(_) => None,
        }
    }
}

/// Calls a method of the plain or the TLS stream.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            TransportIo::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            TransportIo::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = either!(self, stream => stream.poll_read(cx, buf));
        if buf.filled().len() > before {
            self.clock.on_read();
        }
        if self.clock.poll_expired(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.clock.on_write();
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}

/// Future of a connection that is refused, uses TLS or may use HTTP/2.
type BoxedConnection = Pin<Box<dyn Future<Output = Result<(), ()>>>>;

/// Serves the connections of a worker.
pub(crate) struct Acceptor<H1, H2> {
    pub(crate) state: Data<AppState>,
    /// Service for HTTP/1, called once for each connection.
    pub(crate) h1: H1,
    /// Service for HTTP/2, called once for each request.
    pub(crate) h2: Rc<H2>,
    pub(crate) stopping: actix_server::GracefulShutdownSignal,
    /// True for the admin listener, which has a server of its own and no TLS.
    pub(crate) is_admin_listener: bool,
}

impl<H1, H2, B> Acceptor<H1, H2>
where
    H1: Service<(Transport, Protocol, Option<SocketAddr>), Response = (), Error = DispatchError>
        + 'static,
    H1::Future: 'static,
    H2: Service<Request, Response = ServiceResponse<B>> + 'static,
    H2::Error: Into<Response<BoxBody>>,
    H2::Future: 'static,
    B: MessageBody + 'static,
{
    /// Serves one connection to its end.
    ///
    /// Most connections become a session. State that only other connections need is boxed, so that
    /// it does not enlarge every connection's future.
    pub(crate) fn serve(
        self: Rc<Self>,
        stream: TcpStream,
    ) -> impl Future<Output = Result<(), ()>> + use<H1, H2, B> {
        let peer = stream.peer_addr().ok();
        set_write_timeout(&stream, self.state.settings.write_timeout);
        let permit = match self.permit(peer) {
            Ok(permit) => permit,
            Err(reason) => {
                self.state.telemetry.connection_refused(reason);
                return Either::Right(Box::pin(std::future::ready(Ok(()))) as BoxedConnection);
            }
        };
        let by_tls = self.state.tls.is_some() && !self.is_admin_listener;
        let open = OpenConnection::new(&self.state);
        if !by_tls && !self.state.settings.h2c {
            return Either::Left(self.serve_http1(Transport::plain(stream), peer, (permit, open)));
        }
        Either::Right(Box::pin(async move {
            let done = if by_tls {
                self.serve_tls(stream, peer).await
            } else {
                self.serve_negotiated(stream, peer).await
            };
            drop((permit, open));
            done
        }) as BoxedConnection)
    }

    /// Returns a permit for a connection, or the reason to refuse it. The admin listener needs no
    /// permit.
    fn permit(
        &self,
        peer: Option<SocketAddr>,
    ) -> Result<Option<ConnectionPermit>, ConnectionRefused> {
        let Some(peer) = peer.filter(|_| !self.is_admin_listener) else { return Ok(None) };
        if !self.state.memory.may_accept() {
            return Err(ConnectionRefused::Limit(Limit::MemoryBudget));
        }
        let limits = self.state.limits.load();
        let proxies = &self.state.settings.trusted_proxies;
        let permit = self.state.connections.acquire(peer.ip(), &limits, proxies);
        permit.map(Some).ok_or(ConnectionRefused::Limit(Limit::ConnectionsPerClient))
    }

    /// Serves a connection without TLS with the HTTP version that it begins with.
    async fn serve_negotiated(
        &self,
        stream: TcpStream,
        peer: Option<SocketAddr>,
    ) -> Result<(), ()> {
        let is_http2 = tokio::select! {
            is_http2 = begins_http2(&stream) => is_http2,
            // The client has sent no request yet.
            () = self.stopping.notified() => return Ok(()),
        };
        if is_http2 {
            self.serve_http2(stream, peer).await
        } else {
            self.serve_http1(Transport::plain(stream), peer, ()).await
        }
    }

    async fn serve_tls(&self, stream: TcpStream, peer: Option<SocketAddr>) -> Result<(), ()> {
        let Some(tls) = &self.state.tls else { return Ok(()) };
        let accepting = timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream));
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = self.stopping.notified() => return Ok(()),
        };
        let Ok(Ok(stream)) = accepted else {
            self.state.telemetry.connection_refused(ConnectionRefused::Tls);
            return Ok(());
        };
        if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
            self.serve_http2(stream, peer).await
        } else {
            self.serve_http1(Transport::tls(stream), peer, ()).await
        }
    }

    async fn serve_http2(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        peer: Option<SocketAddr>,
    ) -> Result<(), ()> {
        let stopping = self.stopping.notified();
        if let Err(error) = http2::serve(io, self.h2.clone(), &self.state, peer, stopping).await {
            tracing::debug!(%error, "HTTP/2 connection failed");
        }
        Ok(())
    }

    /// Serves HTTP/1; `guards` are dropped with the connection.
    fn serve_http1<T>(
        &self,
        wire: Transport,
        peer: Option<SocketAddr>,
        guards: T,
    ) -> impl Future<Output = Result<(), ()>> + use<H1, H2, B, T> {
        let (shared, clock) = (wire.shared(), wire.clock.clone());
        let telemetry = self.state.telemetry.clone();
        let http = self.h1.call((wire, Protocol::Http1, peer)).inspect_err(move |error| {
            match error {
                DispatchError::Parse(_) => telemetry.connection_refused(ConnectionRefused::Http1),
                DispatchError::SlowRequestTimeout => {
                    telemetry.connection_refused(ConnectionRefused::Slow);
                }
                DispatchError::Io(_) if clock.is_expired() => {
                    telemetry.connection_refused(ConnectionRefused::Slow);
                }
                // Other errors concern only the client.
                _ => {}
            }
        });
        serve(http, shared, guards)
    }
}

/// Returns true if a connection begins with the HTTP/2 preface, without consuming it.
async fn begins_http2(stream: &TcpStream) -> bool {
    let detection = async {
        let mut prefix = [0; PREFACE.len()];
        let mut pause = PREFACE_POLL_INTERVAL;
        loop {
            let Ok(length) = stream.peek(&mut prefix).await else { return false };
            if length == 0 || prefix[..length] != PREFACE[..length] {
                return false;
            }
            if length == PREFACE.len() {
                return true;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    };
    timeout(HANDSHAKE_TIMEOUT, detection).await.unwrap_or(false)
}

/// Makes the kernel close a connection whose peer takes nothing for `timeout`. actix polls no body
/// while its write buffer is full, so ending the body would not close the connection.
fn set_write_timeout(socket: &TcpStream, timeout: Duration) {
    let socket = socket2::SockRef::from(socket);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| platform::set_unacknowledged_timeout(&socket, timeout));
    if let Err(error) = set {
        tracing::warn!(%error, "failed to set the write timeout of a connection");
    }
}

/// Guard that counts an open connection until it is dropped.
struct OpenConnection(Data<AppState>);

impl OpenConnection {
    fn new(state: &Data<AppState>) -> Self {
        state.open_connections.fetch_add(1, Ordering::Relaxed);
        Self(state.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}
