//! Runs a function's HTTP server until SIGTERM or SIGINT, with `TCP_NODELAY` on every accepted connection.
//!
//! Without that option a small answer can wait 40 ms for a delayed acknowledgement. Connections are bounded by the
//! sidecar in front of the function.

use std::{future::IntoFuture as _, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    serve::ListenerExt as _,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// How long running requests may go on after the signal; kept-alive connections would otherwise hold the process.
const GRACE: Duration = Duration::from_secs(5);

/// Serves `routes` on `listener` until the process is told to stop, then lets running requests end.
///
/// # Errors
/// If the signals cannot be watched or the listener breaks.
pub async fn until_signal(listener: TcpListener, routes: Router) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let server = server(listener, routes, async move { drop(stopped.changed().await) });
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.send_replace(true);
    // Past the grace the process ends anyway: that is what the deadline is for.
    tokio::time::timeout(GRACE, server).await.unwrap_or(Ok(()))
}

/// Serves `routes` on `listener` until `stop` resolves and the last connection is closed.
///
/// # Errors
/// If the listener breaks.
pub async fn server(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let listener = listener.tap_io(|connection| {
        // A connection that is closed already refuses the option, and then does not need it.
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .into_future()
        .await
        .context("the HTTP server broke")
}

/// A request that failed: 500 and the reasons, outermost first.
#[derive(Debug)]
pub struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", self.0)).into_response()
    }
}
