//! Host names: `*.localhost` is this machine, everything else is the system's to resolve.
//!
//! Used for direct invokes. Development clusters name functions `<function>.<namespace>.localhost`, and not every system
//! resolver follows RFC 6761 (section 6.3) for names below `localhost`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// Resolves names below `.localhost` to 127.0.0.1 without asking anybody.
#[derive(Clone)]
pub(crate) struct LocalhostResolver(GaiResolver);

impl LocalhostResolver {
    pub(crate) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for LocalhostResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_below_localhost(name.as_str()) {
            // The connector puts the URL's port in place of this one.
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            return Box::pin(std::future::ready(Ok(vec![loopback].into_iter())));
        }
        let addresses = self.0.call(name);
        Box::pin(async { Ok(addresses.await?.collect::<Vec<_>>().into_iter()) })
    }
}

fn is_below_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit_once('.')
        .is_some_and(|(_, top)| top.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_localhost_are_loopback() {
        for name in ["f.default.localhost", "F.LocalHost", "f.localhost."] {
            assert!(is_below_localhost(name), "{name}");
        }
        for name in [
            "localhost",
            "localhost.example.com",
            "notlocalhost",
            "f.notlocalhost",
            "f.localhost.com",
            "",
        ] {
            assert!(!is_below_localhost(name), "{name}");
        }
    }
}
