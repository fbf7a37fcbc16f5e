//! Direct writes of a session to its socket.
//!
//! Waking a connection's task for every event costs more than writing the event. So the shard
//! writes to the sockets of live sessions itself, and wakes the connection only if the socket
//! does not take everything, or if there is more to send than events.

use bytes::Bytes;

/// A socket that its session writes to in whole pieces.
pub trait DirectSink {
    /// Writes a piece of the body, framed for the connection. Never waits.
    fn write(&self, piece: &Bytes) -> WriteOutcome;

    /// Returns the number of bytes that the sink took and the socket has not.
    fn unsent_bytes(&self) -> usize;

    /// Aborts the connection: nothing more is sent, and it ends.
    fn abort(&self);
}

/// Outcome of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// The socket took it.
    All,
    /// The sink took it, and the socket not all of it; the connection must be woken, to wait for
    /// the socket.
    Kept,
    /// The piece was refused: an earlier one still waits for the socket.
    Refused,
    /// The socket has failed; the connection must be woken, to end.
    Failed,
}
