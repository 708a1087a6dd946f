//! The messages of one answer of a peer, each silence bounded.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming as IncomingBody};

use super::super::{
    frame::{Decoder, Incoming},
    get::GetError,
};

/// Why no message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection or the stream broke off: the same question, asked again, may be answered.
    Interrupted,
    /// The producer has counted this pull's confirmation already.
    Confirmed,
    /// What came was wrong, or nothing came for too long.
    Final(GetError),
}

impl From<Cut> for GetError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Interrupted | Cut::Confirmed => Self::Broken,
            Cut::Final(error) => error,
        }
    }
}

/// What came was wrong.
pub(super) const BROKEN: Cut = Cut::Final(GetError::Broken);

/// The messages of one answer, with a bound on each silence of the peer.
pub(super) struct Messages {
    body: IncomingBody,
    decoder: Decoder,
    input: Bytes,
    silence: Duration,
    complete: bool,
}

impl Messages {
    pub(super) fn new(body: IncomingBody, decoder: Decoder, silence: Duration) -> Self {
        Self {
            body,
            decoder,
            input: Bytes::new(),
            silence,
            complete: false,
        }
    }

    /// The next part; `None` at the end of the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, Cut> {
        loop {
            if let Some(part) = self.decoder.next(&mut self.input).map_err(|_| BROKEN)? {
                return Ok(Some(part));
            }
            if self.complete {
                return Ok(None);
            }
            match self.frame().await? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        self.decoder.finish().map_err(|_| BROKEN)?;
                        self.complete = frame.trailers_ref().is_some_and(grpc_ok);
                        return Ok(None);
                    }
                },
                None => return Ok(None),
            }
        }
    }

    /// Expects the call to end with status OK and nothing more.
    pub(super) async fn finish(&mut self) -> Result<(), Cut> {
        match self.next().await? {
            None if self.complete => Ok(()),
            _ => Err(BROKEN),
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Cut> {
        match tokio::time::timeout(self.silence, self.body.frame()).await {
            Err(_) => Err(Cut::Final(GetError::Timeout)),
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a pull broke");
                Err(Cut::Interrupted)
            }
        }
    }
}

fn grpc_ok(headers: &http::HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status == "0")
}
