//! Names to addresses: the system's resolver, except that `localhost` and everything under it is loopback.
//!
//! RFC 6761, section 6.3 asks resolvers for that; not every system's does it for names below `localhost`, which the
//! one-machine cluster uses.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::TcpStream;

/// For the HTTP client's connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver;

impl tower_service::Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move { addresses(name.as_str(), 0).await.map(Vec::into_iter) })
    }
}

/// All addresses of `host` with `port`.
pub(super) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    }
    tokio::net::lookup_host((host, port)).await.map(Iterator::collect)
}

/// A connection to the first address that accepts one.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect(addresses(host, port).await?.as_slice()).await
}
