//! Connections to a container that is asked whether it is ready: a new one each time.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
};

/// Names looked up at once. A lookup occupies a thread until the system gives up, long after its attempt has timed out;
/// without a bound, attempts every 50 ms would pile them up.
const MAX_LOOKUPS: usize = 2;
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Why there is no connection, without the address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Said by the system.
    #[error("connect: {0}")]
    Failed(io::ErrorKind),
    /// A name of a service, or a number beyond 1 to 65535.
    #[error("connect: invalid port")]
    Port,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.kind())
    }
}

/// Connects; an empty host is the loopback address. Refusal fails at once.
///
/// # Errors
/// [`DialError`].
pub(super) async fn connect(host: &str, port: Option<u16>) -> Result<TcpStream, DialError> {
    let port = port.ok_or(DialError::Port)?;
    let address = match host {
        "" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse::<IpAddr>().ok(),
    };
    let Some(address) = address else {
        return by_name(host, port).await;
    };
    let socket = TcpStream::connect((address, port)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The first address of a name that accepts. Only redirects lead here: controllers write addresses.
async fn by_name(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let permit = LOOKUPS
        .acquire()
        .await
        .map_err(|_| DialError::Failed(io::ErrorKind::Other))?;
    let name = (host.to_owned(), port);
    let lookup = tokio::task::spawn_blocking(move || {
        let _held_until_the_system_answers = permit;
        name.to_socket_addrs().map(Vec::from_iter)
    });
    let addresses: Vec<SocketAddr> = lookup.await.map_err(io::Error::other)??;
    let socket = TcpStream::connect(addresses.as_slice()).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The same connection, which ends after the other side has sent `most` bytes: heads, bodies, frames, interim responses
/// and whatever else it may repeat without end.
pub(super) fn bounded(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    most: u64,
) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
    let (read, write) = tokio::io::split(socket);
    tokio::io::join(read.take(most), write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_names_and_nothing_lead_to_the_loopback_address() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("bound").port();
        for host in ["", "127.0.0.1", "localhost"] {
            assert!(connect(host, Some(port)).await.is_ok(), "{host}");
        }
        drop(listener);
        let refused = connect("", Some(port)).await.expect_err("nobody listens");
        assert_eq!(refused.to_string(), "connect: connection refused");
        let none = connect("", None).await.expect_err("no port");
        assert_eq!(none.to_string(), "connect: invalid port");
    }
}
