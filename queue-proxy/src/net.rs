//! Sockets: listeners that bind every address, and the options that every connection gets.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel keeps waiting for us to accept.
const BACKLOG: i32 = 4096;
/// Most header lines of an HTTP/1 message (stock limits bytes only; `Xdt-Meta-*` may be many small ones). hyper makes room
/// for so many before it reads any head: with 2048 a request and its answer take 5 µs longer, with 16384 90 µs.
pub const MAX_HEADERS: usize = 1024;
/// Connection window of HTTP/2 clients, so large that only the windows of single streams ever bind (as Go's transport).
pub const CONNECTION_WINDOW: u32 = 1 << 30;
/// How long a connection may be silent before the kernel asks the peer for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// Sets what every accepted or dialled connection needs: no waiting for acknowledgements before small segments are
/// sent (without it a small answer takes 40 ms), and keep-alive probes.
///
/// # Errors
/// Those of the system.
pub fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// Listens on `port` of `address`, or of all addresses, IPv4 and IPv6.
///
/// # Errors
/// Those of the system; a host without IPv6 gets IPv4 only.
pub fn listen(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(ip) => listen_on(SocketAddr::new(ip, port)),
        None => listen_on((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => listen_on(([0, 0, 0, 0], port).into()),
        }),
    }
}

/// Listens on exactly `address`.
///
/// # Errors
/// Those of the system.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
