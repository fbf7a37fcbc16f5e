//! A connection that reads an event stream.

use super::http1::Decoder;
use super::ledger::Ledger;
use super::sse::Scanner;
use mio::net::TcpStream;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections from one loopback address to one port; Linux has about 28,000 ports for them.
const PER_SOURCE: usize = 20_000;
/// Receive buffer of a subscriber that never reads, small so that it is stuck soon.
const STUCK_BUFFER_BYTES: usize = 4_096;

/// Stage of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Closed.
    Closed,
    /// Opening: the request or the head of the response is in flight.
    Opening,
    /// Receiving events.
    Reading,
    /// Open, but never read.
    Stuck,
}

/// A subscriber across all its connections.
pub struct Subscriber {
    /// Number among all subscribers.
    pub index: usize,
    /// Stage.
    pub stage: Stage,
    /// The connection.
    pub socket: Option<TcpStream>,
    /// Bytes of the request that were not written yet.
    pub unsent: Vec<u8>,
    /// Decoder of the response.
    pub decoder: Decoder,
    /// Scanner of the events.
    pub scanner: Scanner,
    /// Received events.
    pub ledger: Ledger,
    /// Time at which the connection was started.
    pub opened_ns: u64,
    /// Events received on this connection.
    pub seen: u64,
}

impl Subscriber {
    /// Creates a subscriber that is not connected.
    pub fn new(index: usize, ledger: Ledger, keep_ids: bool) -> Self {
        Self {
            index,
            stage: Stage::Closed,
            socket: None,
            unsent: Vec::new(),
            decoder: Decoder::default(),
            scanner: Scanner::new(keep_ids),
            ledger,
            opened_ns: 0,
            seen: 0,
        }
    }

    /// Begins to connect; `request` is sent once the connection is established.
    pub fn open(&mut self, address: SocketAddr, request: Vec<u8>, stuck: bool) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if stuck {
            socket.set_recv_buffer_size(STUCK_BUFFER_BYTES)?;
        }
        if let Some(source) = source_of(self.index, address) {
            socket.bind(&SockAddr::from(source))?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(e) => return Err(e),
        }
        self.socket = Some(TcpStream::from_std(socket.into()));
        self.unsent = request;
        self.decoder = Decoder::default();
        self.scanner.restart();
        self.stage = Stage::Opening;
        self.seen = 0;
        Ok(())
    }

    /// Writes as much of the request as the socket takes.
    pub fn send(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while !self.unsent.is_empty() {
            match socket.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(e) if would_block(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads once into `buffer`; returns `None` if no data is available.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(socket) = &mut self.socket else { return Ok(None) };
        loop {
            match socket.read(buffer) {
                Ok(read) => return Ok(Some(read)),
                Err(e) if would_block(&e) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Drops the connection.
    pub fn close(&mut self) {
        self.socket = None;
        self.stage = Stage::Closed;
    }
}

/// Returns true if a socket is only not ready, or still connecting.
fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// Returns the loopback address to connect from if one address has too few ports.
fn source_of(index: usize, to: SocketAddr) -> Option<SocketAddr> {
    let source_index = index / PER_SOURCE;
    let is_loopback = matches!(to.ip(), IpAddr::V4(ip) if ip.is_loopback());
    (source_index > 0 && is_loopback).then(|| {
        let source =
            Ipv4Addr::new(127, 0, (source_index >> 8) as u8 + 1, (source_index & 255) as u8);
        SocketAddr::new(source.into(), 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn connections_beyond_the_ports_of_one_address_use_several() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let to = listener.local_addr().expect("an address");
        let mut sources = Vec::new();
        for index in [0, PER_SOURCE - 1, PER_SOURCE, 2 * PER_SOURCE, 300 * PER_SOURCE] {
            let mut subscriber = Subscriber::new(index, Ledger::new(1, false), false);
            subscriber.open(to, Vec::new(), false).expect("connects");
            let (_, from) = listener.accept().expect("accepts");
            sources.push(from.ip().to_string());
        }
        assert_eq!(sources, ["127.0.0.1", "127.0.0.1", "127.0.1.1", "127.0.1.2", "127.0.2.44"]);
        let remote = "192.0.2.1:80".parse().expect("an address");
        assert_eq!(source_of(PER_SOURCE, remote), None);
    }
}
