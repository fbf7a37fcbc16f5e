//! A client with one connection. It parses events as a browser does (WHATWG HTML §9.2.6) and keeps
//! the bytes for tests that check them.

use crate::hub::TEST_TIMEOUT;
use std::collections::{BTreeMap, VecDeque};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A dispatched event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub name: String,
    /// The last event id buffer when it was dispatched.
    pub id: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub fn is_control(&self) -> bool {
        self.name.starts_with("hub-")
    }
}

/// A connection and the events read from it.
pub struct Reader {
    socket: TcpStream,
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    chunks: Chunks,
    parser: Parser,
    pending: VecDeque<Event>,
    /// All bytes of the body so far.
    pub bytes: Vec<u8>,
}

impl Reader {
    /// Sends a GET and reads the response's head.
    pub async fn connect(
        address: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::io::Result<Self> {
        Self::request(address, &format!("GET {path}"), headers, "").await
    }

    /// Sends a request, such as `POST /chat`, and reads the response's head.
    pub async fn request(
        address: &str,
        request_line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Self> {
        let mut socket = TcpStream::connect(address).await?;
        let mut request = format!("{request_line} HTTP/1.1\r\nHost: {address}\r\n");
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if !headers.iter().any(|(name, _)| *name == "Accept") {
            request.push_str("Accept: text/event-stream\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all(format!("{request}\r\n{body}").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if socket.read(&mut byte).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let chunks = match headers.get("content-length") {
            Some(length) => Chunks::with_length(length.parse().unwrap()),
            None if status == 204 => Chunks::with_length(0),
            None => Chunks::default(),
        };
        let parser = Parser::default();
        let (pending, bytes) = (VecDeque::new(), Vec::new());
        Ok(Self { socket, status, headers, chunks, parser, pending, bytes })
    }

    /// Returns the next event, or `None` once the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(TEST_TIMEOUT, self.next_or_error())
            .await
            .expect("no event in time")
            .unwrap_or(None)
    }

    /// Returns the next event, or an error if the connection broke.
    pub async fn next_or_error(&mut self) -> std::io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            if !self.read_more().await? {
                return Ok(None);
            }
        }
    }

    /// Returns the next event that is not a control event.
    pub async fn next_event(&mut self) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if !event.is_control() {
                return Some(event);
            }
        }
    }

    /// Returns the next `count` events that are not control events.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next_event().await.expect("the stream ended early"));
        }
        events
    }

    /// Returns all events until the stream ends.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// Reads the first block, which must be `hub-open`, and returns its data.
    pub async fn open(&mut self) -> serde_json::Value {
        let event = self.next().await.expect("no first block");
        assert_eq!(event.name, "hub-open", "{event:?}");
        event.json()
    }

    /// Returns the id of the last parsed block, which may be ahead of the last returned event.
    pub fn last_id(&self) -> &str {
        &self.parser.last_id
    }

    /// Returns the last reconnection time received, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.parser.retry
    }

    /// Returns the number of comment lines so far.
    pub fn comments(&self) -> usize {
        self.parser.comments
    }

    /// Reads the whole body of a response that is not a stream, as JSON.
    pub async fn body(&mut self) -> serde_json::Value {
        while self.read_more().await.unwrap() {}
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// Reads some bytes; returns false at the end of the body.
    pub async fn read_more(&mut self) -> std::io::Result<bool> {
        if self.chunks.is_done {
            return Ok(false);
        }
        let mut buffer = [0; 16 * 1024];
        let count = self.socket.read(&mut buffer).await?;
        if count == 0 {
            // An end without the last chunk is a broken stream.
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let body = self.chunks.feed(&buffer[..count]);
        self.parser.feed(&body, &mut self.pending);
        self.bytes.extend_from_slice(&body);
        Ok(true)
    }
}

/// Chunked transfer coding (RFC 9112 §7.1), or a counted body.
#[derive(Default)]
struct Chunks {
    line: Vec<u8>,
    remaining: usize,
    in_chunk: bool,
    has_fixed_length: bool,
    is_done: bool,
}

impl Chunks {
    fn with_length(length: usize) -> Self {
        Self {
            remaining: length,
            in_chunk: true,
            has_fixed_length: true,
            is_done: length == 0,
            ..Self::default()
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        while !bytes.is_empty() && !self.is_done {
            if self.in_chunk {
                let count = self.remaining.min(bytes.len());
                body.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                self.remaining -= count;
                if self.remaining == 0 {
                    self.in_chunk = false;
                    self.is_done = self.has_fixed_length;
                }
                continue;
            }
            self.line.push(bytes[0]);
            bytes = &bytes[1..];
            if self.line.ends_with(b"\r\n") {
                let line = std::mem::take(&mut self.line);
                let text = std::str::from_utf8(&line).unwrap().trim();
                if !text.is_empty() {
                    self.remaining = usize::from_str_radix(text, 16).unwrap();
                    self.is_done = self.remaining == 0;
                    self.in_chunk = !self.is_done;
                }
            }
        }
        body
    }
}

/// The parser of WHATWG HTML §9.2.6.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    data: Vec<String>,
    last_id: String,
    retry: Option<u64>,
    comments: usize,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8], events: &mut VecDeque<Event>) {
        for byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_of_line(events),
                byte => self.line.push(*byte),
            }
        }
    }

    fn end_of_line(&mut self, events: &mut VecDeque<Event>) {
        let line = String::from_utf8(std::mem::take(&mut self.line)).expect("UTF-8");
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let name = std::mem::take(&mut self.name);
            if !data.is_empty() {
                let name = if name.is_empty() { "message".into() } else { name };
                events.push_back(Event { name, id: self.last_id.clone(), data: data.join("\n") });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.name = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            "id" if !value.contains('\0') => self.last_id = value.to_owned(),
            "retry" => self.retry = value.parse().ok().or(self.retry),
            _ => {}
        }
    }
}
