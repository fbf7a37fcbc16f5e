//! The floor: a minimal server. It writes each frame once to each socket of its stream and does
//! nothing else: no journal, no meaningful ids, no heartbeats, no limits.
//!
//! Each thread has its own epoll instance, listener and sockets; a frame is built once and passed
//! to the other threads. The cost of a server above the floor is the cost of its features.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustc_hash::FxHashMap;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const BACKLOG: i32 = 4_096;
const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_AT_ONCE: usize = 1_024;
/// Maximum number of frames queued for another thread.
const MAX_WAITING_FRAMES: usize = 1_024;
/// Frames of other threads that are written before the sockets are polled again.
const FRAMES_AT_ONCE: usize = 16;
const MAX_HEADERS: usize = 32;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[derive(Clone)]
struct Frame {
    stream: Arc<str>,
    bytes: Arc<[u8]>,
}

/// Serves on a free loopback port until it is killed.
pub fn serve(workers: usize) -> io::Result<()> {
    let first = listen("127.0.0.1:0".parse().map_err(io::Error::other)?)?;
    let address = first.local_addr()?;
    let (mut peers, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (sender, inbox) = sync_channel(MAX_WAITING_FRAMES);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        peers.push(Peer { sender, waker });
        inboxes.push((poll, inbox));
    }
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(listen(address)?);
    }
    writeln!(io::stdout(), "listening on http://{address}")?;
    let next_id = Arc::new(AtomicU64::new(1));
    let threads: Vec<_> = inboxes
        .into_iter()
        .zip(listeners)
        .enumerate()
        .map(|(index, ((poll, inbox), listener))| {
            let others = peers.iter().enumerate().filter(|(i, _)| *i != index);
            let worker = Worker {
                poll,
                listener,
                inbox,
                peers: others.map(|(_, peer)| peer.clone()).collect(),
                next_id: next_id.clone(),
                connections: Vec::new(),
                free: Vec::new(),
                readers: FxHashMap::default(),
                buffer: vec![0; BUFFER_BYTES],
            };
            std::thread::spawn(move || worker.run())
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

/// Creates a listener with `SO_REUSEPORT`: each thread accepts, and the kernel distributes the
/// connections.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[derive(Clone)]
struct Peer {
    sender: SyncSender<Frame>,
    waker: Arc<Waker>,
}

struct Connection {
    socket: TcpStream,
    /// Bytes of a request that is not complete.
    incoming: Vec<u8>,
    /// Bytes of frames that the socket has not taken.
    outgoing: Vec<u8>,
    reads: Option<Arc<str>>,
}

struct Worker {
    poll: Poll,
    listener: TcpListener,
    inbox: Receiver<Frame>,
    peers: Vec<Peer>,
    next_id: Arc<AtomicU64>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    readers: FxHashMap<Arc<str>, Vec<usize>>,
    buffer: Vec<u8>,
}

impl Worker {
    fn run(mut self) -> io::Result<()> {
        self.poll.registry().register(&mut self.listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(EVENTS_AT_ONCE);
        let mut has_more = false;
        loop {
            match self.poll.poll(&mut events, has_more.then_some(Duration::ZERO)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {}
                    Token(at) if self.serve(at).is_err() => self.close(at),
                    Token(_) => {}
                }
            }
            has_more = self.take_frames();
        }
    }

    /// Writes some frames of other threads; returns true if there may be more.
    fn take_frames(&mut self) -> bool {
        for _ in 0..FRAMES_AT_ONCE {
            let Ok(frame) = self.inbox.try_recv() else { return false };
            self.write(&frame);
        }
        true
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut socket, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            socket.set_nodelay(true)?;
            let at = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(at), interest)?;
            self.connections[at] = Some(Connection {
                socket,
                incoming: Vec::new(),
                outgoing: Vec::new(),
                reads: None,
            });
        }
    }

    fn close(&mut self, at: usize) {
        let Some(connection) = self.connections[at].take() else { return };
        self.free.push(at);
        if let Some(stream) = connection.reads
            && let Some(readers) = self.readers.get_mut(&stream)
        {
            readers.retain(|reader| *reader != at);
        }
    }

    /// Serves a connection that is ready; on an error the caller closes it.
    fn serve(&mut self, at: usize) -> io::Result<()> {
        loop {
            let Some(connection) = &mut self.connections[at] else { return Ok(()) };
            flush(connection)?;
            match connection.socket.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => connection.incoming.extend_from_slice(&self.buffer[..read]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            while self.request(at)? {}
        }
    }

    /// Serves one complete request; returns false if there is none.
    fn request(&mut self, at: usize) -> io::Result<bool> {
        let Some(connection) = &mut self.connections[at] else { return Ok(false) };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&connection.incoming).map_err(io::Error::other)?;
        let httparse::Status::Complete(head) = parsed else { return Ok(false) };
        let stream: Arc<str> = request.path.unwrap_or_default().into();
        let is_publish = request.method == Some("POST");
        let length = request
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case("content-length"))
            .and_then(|h| std::str::from_utf8(h.value).ok()?.parse().ok())
            .unwrap_or(0);
        let end = head + length;
        if connection.incoming.len() < end {
            return Ok(false);
        }
        if is_publish {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let mut bytes = format!("id: {id}\ndata: ").into_bytes();
            bytes.extend_from_slice(&connection.incoming[head..end]);
            bytes.extend_from_slice(b"\n\n");
            connection.incoming.drain(..end);
            self.publish(Frame { stream, bytes: bytes.into() });
            return self.answer(at, ACCEPTED).map(|()| true);
        }
        connection.incoming.drain(..end);
        connection.reads = Some(stream.clone());
        self.readers.entry(stream).or_default().push(at);
        self.answer(at, HEAD).map(|()| true)
    }

    fn answer(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        connection.outgoing.extend_from_slice(bytes);
        flush(connection)
    }

    fn publish(&mut self, frame: Frame) {
        for index in 0..self.peers.len() {
            let mut frame = frame.clone();
            // Two threads with full queues must not wait for each other, so each drains its own.
            while let Err(TrySendError::Full(returned)) = self.peers[index].sender.try_send(frame) {
                frame = returned;
                self.take_frames();
            }
            // A failure is ignored: the end of a thread ends the server.
            let _ = self.peers[index].waker.wake();
        }
        self.write(&frame);
    }

    fn write(&mut self, frame: &Frame) {
        let Some(readers) = self.readers.get(&frame.stream) else { return };
        for at in readers {
            let Some(connection) = &mut self.connections[*at] else { continue };
            let mut rest = &frame.bytes[..];
            if connection.outgoing.is_empty() {
                // An error shows when the socket is read.
                let written = connection.socket.write(rest).unwrap_or(0);
                rest = &rest[written..];
            }
            connection.outgoing.extend_from_slice(rest);
        }
    }
}

fn flush(connection: &mut Connection) -> io::Result<()> {
    while !connection.outgoing.is_empty() {
        match connection.socket.write(&connection.outgoing) {
            Ok(written) => drop(connection.outgoing.drain(..written)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
