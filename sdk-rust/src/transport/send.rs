//! One request to one peer, and what it means when none of it comes back.
//!
//! Used by the local HTTP transport and by invoke. Tells three failures apart: nobody there (nothing was sent), the
//! payload's own source failed, and a connection that broke on the way. Keeps only errors of the operating system as
//! sources, since the HTTP client's own carry addresses.

use std::{error::Error as StdError, io};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, connect::Connect};

use super::dial::HttpClient;
use crate::{Error, ErrorKind, Result, payload::Outgoing};

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer<'a> {
    /// The pod's own queue-proxy.
    Sidecar,
    /// The host that the caller's URL names.
    Callee(&'a str),
}

/// Sends `request` and waits for the head of its answer. Never repeats a request of which a byte was written.
///
/// # Errors
/// `PayloadFailed`; `SidecarUnavailable` or `Unreachable` if no connection came about; else `TransferBroken`.
/// # Cancel safety
/// Dropping the future closes the connection it used.
pub(crate) async fn send<C>(
    client: &HttpClient<C>,
    request: Request<Outgoing>,
    peer: Peer<'_>,
) -> Result<Response<Incoming>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let fault = request.body().fault();
    client.request(request).await.map_err(|error| match fault.take() {
        Some(source) => {
            let detail = format!("the payload failed while it was sent: {}", source.kind());
            Error::new(ErrorKind::PayloadFailed, detail).with_source(Some(source))
        }
        None => failure(&error, peer),
    })
}

fn failure(error: &legacy::Error, peer: Peer<'_>) -> Error {
    let (kind, detail) = match (error.is_connect(), peer) {
        (true, Peer::Sidecar) => (
            ErrorKind::SidecarUnavailable,
            "the sidecar accepts no connections at its local address".to_owned(),
        ),
        (true, Peer::Callee(host)) => (ErrorKind::Unreachable, format!("no connection to {host}")),
        (false, Peer::Sidecar) => (
            ErrorKind::TransferBroken,
            "the connection to the sidecar broke before its answer".to_owned(),
        ),
        (false, Peer::Callee(host)) => (
            ErrorKind::TransferBroken,
            format!("the connection to {host} broke before its answer"),
        ),
    };
    Error::new(kind, detail).with_source(system_error(error))
}

/// The operating system's error at the root of `error`, rebuilt from its code so that no text comes along.
fn system_error(error: &(dyn StdError + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io_error) = error.downcast_ref::<io::Error>() {
            let code = io_error.raw_os_error();
            return Some(code.map_or_else(|| io_error.kind().into(), io::Error::from_raw_os_error));
        }
        cause = error.source();
    }
    None
}
