//! Connections to the user container on `127.0.0.1:USER_PORT`, whatever host the request names.

use std::{
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::net::tune;

/// How often a refused connection is tried again while the user container boots.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Dials the user container.
#[derive(Debug, Clone, Copy)]
pub struct UserConnector {
    /// `USER_PORT`.
    pub port: u16,
    /// For requests whose object is on its way already: wait for the user container to accept connections, at most so
    /// long (the request's own timeout usually ends it earlier).
    pub patience: Option<Duration>,
}

impl UserConnector {
    /// One connection.
    ///
    /// # Errors
    /// Those of the system; a refusal at once, or, with patience, only after it ran out.
    pub async fn connect(self) -> std::io::Result<TcpStream> {
        let started = tokio::time::Instant::now();
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                Ok(socket) => {
                    tune(&socket)?;
                    return Ok(socket);
                }
                Err(error) => {
                    let booting = error.kind() == std::io::ErrorKind::ConnectionRefused;
                    if !booting || self.patience.is_none_or(|patience| started.elapsed() >= patience) {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }
}

impl tower_service::Service<Uri> for UserConnector {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _host: Uri) -> Self::Future {
        let connector = *self;
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
