//! A publishing connection: a request, its answer, the next request.

use super::endpoint::Protocol;
use super::http1::Decoder;
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// Maximum bytes of a response body that are shown when a publish is refused.
const MAX_REASON_BYTES: usize = 300;

/// A publishing connection.
pub struct Publisher {
    /// The connection.
    pub socket: TcpStream,
    /// Send time of the current request; `None` between requests.
    pub sent_ns: Option<u64>,
    /// Time since which the connection has been idle.
    pub idle_since_ns: u64,
    /// Events that were accepted, or may have been.
    pub sent: u64,
    request: Vec<u8>,
    written: usize,
    answer: Answer,
}

/// Result of a read.
pub enum Progress {
    /// The answer is not complete.
    More,
    /// The event was accepted.
    Taken,
    /// The event was refused, with the server's reason.
    Refused(String),
}

enum Answer {
    Http(Decoder, Vec<u8>),
    Redis(Vec<u8>),
}

impl Publisher {
    /// Begins to connect.
    pub fn connect(address: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        Ok(Self {
            socket,
            sent_ns: None,
            idle_since_ns: 0,
            sent: 0,
            request: Vec::new(),
            written: 0,
            answer: match protocol {
                Protocol::Http => Answer::Http(Decoder::default(), Vec::new()),
                Protocol::Redis => Answer::Redis(Vec::new()),
            },
        })
    }

    /// Starts a request, written by `write`, and sends as much of it as the socket takes.
    pub fn publish(&mut self, now_ns: u64, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.request);
        self.written = 0;
        self.sent_ns = Some(now_ns);
        self.send()
    }

    /// Writes the rest of the request, as far as the socket takes it.
    pub fn send(&mut self) -> io::Result<()> {
        while self.sent_ns.is_some() && self.written < self.request.len() {
            match self.socket.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads once; returns `None` if no data is available.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Progress>> {
        let read = match self.socket.read(buffer) {
            Ok(0) => return Err(io::Error::other("the server closed the connection")),
            Ok(read) => read,
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        self.answer.feed(&buffer[..read]).map(Some)
    }

    /// Returns true if the server closes this connection after its answer.
    pub fn is_over(&self) -> bool {
        matches!(&self.answer, Answer::Http(decoder, _) if decoder.closes())
    }

    /// Makes the connection idle, ready for the next request.
    pub fn finish_request(&mut self, now_ns: u64) {
        self.sent_ns = None;
        self.idle_since_ns = now_ns;
        if let Answer::Http(decoder, _) = &mut self.answer {
            decoder.next();
        }
    }
}

impl Answer {
    fn feed(&mut self, input: &[u8]) -> io::Result<Progress> {
        match self {
            Self::Http(decoder, text) => {
                decoder
                    .feed(input, |body| {
                        let room = MAX_REASON_BYTES.saturating_sub(text.len());
                        text.extend_from_slice(&body[..body.len().min(room)]);
                    })
                    .map_err(io::Error::other)?;
                let Some(status) = decoder.status().filter(|_| decoder.is_complete()) else {
                    return Ok(Progress::More);
                };
                let reason = String::from_utf8_lossy(&std::mem::take(text)).into_owned();
                Ok(match status {
                    200..=299 => Progress::Taken,
                    status => Progress::Refused(format!("{status} {reason}")),
                })
            }
            Self::Redis(text) => {
                text.extend_from_slice(input);
                let Some(end) = memchr::memchr(b'\n', text) else { return Ok(Progress::More) };
                let line = String::from_utf8_lossy(&text[..end]).trim_end().to_owned();
                let progress = match line.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) {
                    Some(length) if text.len() < end + 1 + length + 2 => return Ok(Progress::More),
                    Some(_) => Progress::Taken,
                    None if line.starts_with('-') => Progress::Refused(line),
                    None => Progress::Taken,
                };
                text.clear();
                Ok(progress)
            }
        }
    }
}
