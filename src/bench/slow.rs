//! Deliberately slow clients beside the measured ones: some never end a head, some never end a
//! body, some never read a response. A client that is closed reconnects.

use super::endpoint::Requests;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Interval at which each slow client sends a few more bytes; clients are staggered.
const SEND_INTERVAL: Duration = Duration::from_secs(1);
/// Groups that take turns in that time: with the default number of clients, at most three each.
const GROUPS: usize = 400;
/// Requests of a client that never reads: more than the buffers on the way can hold.
const UNREAD_REQUESTS: usize = 200;
/// Receive buffer of a slow client, in bytes.
const RECEIVE_BUFFER_BYTES: usize = 4_096;
/// Content length that a client announces.
const PROMISED_BYTES: usize = 100_000;

/// Slow clients that run until they are stopped.
pub struct SlowClients {
    is_over: Arc<AtomicBool>,
    closed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

struct Client {
    socket: Option<TcpStream>,
    initial: Vec<u8>,
    /// Bytes sent in each turn; empty if the client only waits.
    payload: &'static [u8],
    reads: bool,
}

impl SlowClients {
    /// Starts `count` slow clients, a third of each kind.
    pub fn start(requests: &Requests, count: usize) -> std::io::Result<Option<Self>> {
        let Some(url) = requests.subscribe.as_ref().filter(|_| count > 0) else { return Ok(None) };
        let address = url.address;
        let request = requests.subscription(url, 0, b"");
        let head = request[..request.len() - b"\r\n".len()].to_vec();
        let target =
            requests.publish.as_ref().map_or_else(|| "/".to_owned(), |url| url.path_of_any());
        let body = format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {PROMISED_BYTES}\r\n\r\n"
        );
        let unread = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let unread = unread.repeat(UNREAD_REQUESTS).into_bytes();
        let clients = (0..count).map(|n| match n % 3 {
            0 => Client { socket: None, initial: head.clone(), payload: b"X: y\r\n", reads: true },
            1 => Client { socket: None, initial: body.clone().into(), payload: b"x", reads: true },
            _ => Client { socket: None, initial: unread.clone(), payload: b"", reads: false },
        });
        let mut clients: Vec<Client> = clients.collect();
        let (is_over, closed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, count_closed) = (is_over.clone(), closed.clone());
        let thread = std::thread::Builder::new().name("bench-slow".into()).spawn(move || {
            let group_size = clients.len().div_ceil(GROUPS);
            while !over.load(Ordering::Relaxed) {
                for clients in clients.chunks_mut(group_size) {
                    let started = Instant::now();
                    advance(clients, address, &count_closed);
                    let pause = SEND_INTERVAL / GROUPS as u32;
                    std::thread::sleep(pause.saturating_sub(started.elapsed()));
                }
            }
        })?;
        Ok(Some(Self { is_over, closed, thread }))
    }

    /// Stops the clients. Returns the number of connections that the server closed.
    pub fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        // The thread has no result other than the count.
        let _ = self.thread.join();
        self.closed.load(Ordering::Relaxed)
    }
}

/// Lets each client send a few more bytes, or reconnect if it was closed.
fn advance(clients: &mut [Client], address: SocketAddr, closed: &AtomicU64) {
    for client in clients {
        match &mut client.socket {
            Some(socket) => {
                if !is_kept_open(socket, client.payload, client.reads) {
                    client.socket = None;
                    closed.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => {
                client.socket = open(address, &client.initial).ok();
            }
        }
    }
}

fn open(address: SocketAddr, initial: &[u8]) -> std::io::Result<TcpStream> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.connect(&address.into())?;
    let mut socket = TcpStream::from(socket);
    // The server may stop reading requests when it cannot send more responses.
    socket.set_nonblocking(true)?;
    match socket.write(initial) {
        Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
        _ => Ok(socket),
    }
}

/// Returns true if the server still keeps the connection after more bytes were sent.
fn is_kept_open(socket: &mut TcpStream, payload: &[u8], reads: bool) -> bool {
    let would_wait = |e: &std::io::Error| e.kind() == ErrorKind::WouldBlock;
    let is_sent =
        payload.is_empty() || socket.write(payload).map_or_else(|e| would_wait(&e), |_| true);
    let mut answer = [0; 512];
    let is_open = !reads || socket.read(&mut answer).map_or_else(|e| would_wait(&e), |n| n > 0);
    is_sent && is_open
}
