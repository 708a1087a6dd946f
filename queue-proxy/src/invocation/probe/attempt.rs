//! One attempt at one container: which kind, and why it failed.

use std::{io, time::Duration};

use super::{
    dial::{self, DialError},
    grpc::{self, GrpcError},
    http_get::{self, HttpError},
    spec::Kind,
};

/// Why a container is not ready. Told in the log: without addresses, and without what the container said.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    #[error("exec probe not supported")]
    Exec,
    #[error("no probe found")]
    Absent,
}

impl From<io::Error> for AttemptError {
    fn from(error: io::Error) -> Self {
        Self::Dial(error.into())
    }
}

/// Asks once, within `timeout` (each request of an HTTP probe that detects the protocol has this time of its own).
pub(super) async fn attempt(kind: &Kind, http2_detection: bool, timeout: Duration) -> Result<(), AttemptError> {
    match kind {
        Kind::Http(get) => http_get::probe(get, http2_detection, timeout).await,
        Kind::Tcp(tcp) => within(timeout, dial::connect(&tcp.host, tcp.port.number()))
            .await
            .map(drop),
        Kind::Grpc(action) => within(timeout, grpc::probe(action, timeout)).await,
        Kind::Exec => Err(AttemptError::Exec),
        Kind::Absent => Err(AttemptError::Absent),
    }
}

/// The result of `work`, or that it took too long.
pub(super) async fn within<T, E: Into<AttemptError>>(
    timeout: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, AttemptError> {
    let ended = tokio::time::timeout(timeout, work).await;
    ended.map_err(|_| AttemptError::TimedOut(timeout))?.map_err(Into::into)
}
