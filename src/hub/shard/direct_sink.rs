//! A session's short way to its socket.
//!
//! Waking a connection's task for every event costs more than writing the event. So the shard
//! writes to the sockets of live sessions itself, and wakes the connection only where the socket
//! does not take everything, or where there is more to say than events.

use bytes::Bytes;

/// A socket that its session writes to in whole pieces.
pub trait DirectSink {
    /// Writes a piece of the body, framed for the connection. Never waits.
    fn write(&self, piece: &Bytes) -> WriteOutcome;

    /// Bytes that it took and the socket did not.
    fn unsent_bytes(&self) -> usize;

    /// Cuts it off: nothing more is sent, and its connection ends.
    fn abort(&self);
}

/// Outcome of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// The socket took it.
    All,
    /// The outlet took it and the socket did not take all; the connection is to be woken, to wait
    /// for the socket.
    Kept,
    /// Refused: a piece before it still waits for the socket.
    Refused,
    /// The socket is broken; the connection is to be woken, to end.
    Failed,
}
