//! Connections that leave HTTP: after a `101` (WebSocket and others) bytes are copied both ways.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::UPGRADE;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::function::Lease;

/// The client's side of an upgrade, if the request asks for one.
pub(super) fn wanted(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(request))
}

/// Copies until both sides have ended, one breaks, or the cluster stops. Keeps the place at the instance meanwhile.
pub(super) async fn pipe(client: Option<OnUpgrade>, sidecar: OnUpgrade, lease: Lease, shutdown: CancellationToken) {
    let Some(client) = client else {
        return tracing::debug!("a sidecar switched protocols without being asked");
    };
    let copied = async {
        let (client, sidecar) = tokio::try_join!(client, sidecar).map_err(std::io::Error::other)?;
        tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(sidecar)).await
    };
    let result = tokio::select! {
        result = copied => result,
        () = shutdown.cancelled() => return,
    };
    drop(lease);
    if let Err(error) = result {
        tracing::debug!(%error, "an upgraded connection broke");
    }
}
