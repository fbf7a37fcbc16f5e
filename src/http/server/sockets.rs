//! Sockets that are bound before anything else starts, so that a mistake is found at once.

use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener};

/// Maximum number of connections that wait to be accepted, if the system allows it.
const BACKLOG: i32 = 4096;

/// Sockets that are bound, but do not listen yet.
pub struct BoundSockets(Vec<(SocketAddr, Socket)>);

impl BoundSockets {
    /// Returns true if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Listens on all, and returns the listeners with their configured addresses.
    pub(super) fn listen(self) -> std::io::Result<Vec<(SocketAddr, TcpListener)>> {
        self.0.into_iter().map(|(address, socket)| listen(address, socket)).collect()
    }

    /// Listens on copies of all.
    #[cfg(feature = "cluster")]
    pub(super) fn listen_on_copies(&self) -> std::io::Result<Vec<TcpListener>> {
        let copy =
            |(address, socket): &(SocketAddr, Socket)| Ok(listen(*address, socket.try_clone()?)?.1);
        self.0.iter().map(copy).collect()
    }
}

fn listen(address: SocketAddr, socket: Socket) -> std::io::Result<(SocketAddr, TcpListener)> {
    socket.listen(BACKLOG).map_err(|error| cannot_listen(address, &error))?;
    Ok((address, socket.into()))
}

/// Binds every address, so that one that cannot be used is found before anything else is started.
pub fn bind(addresses: &[SocketAddr]) -> std::io::Result<BoundSockets> {
    let bind = |address: &SocketAddr| {
        let socket = bind_one(*address).map_err(|e| cannot_listen(*address, &e))?;
        Ok((*address, socket))
    };
    addresses.iter().map(bind).collect::<std::io::Result<_>>().map(BoundSockets)
}

fn bind_one(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
