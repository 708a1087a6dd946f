//! How the SDK talks to its sidecar: the seam between the verbs and the wire.
//!
//! The verbs check their arguments and bound the whole call in time; a transport carries one request. Whole objects in
//! memory pass over the sidecar's local socket (contract, section 7) where there is one; streams, ranges and everything
//! else use the local HTTP API (section 3), and so does everything where there is no socket.

pub(crate) mod answer;
pub(crate) mod dial;
mod http;
mod localhost;
pub(crate) mod send;
mod socket;

use std::time::Duration;

use xdt_proto::{ByteCount, Reference, Retrievals};

use crate::{Metadata, Object, Payload, Reader, Result, Status};
pub(crate) use http::{HttpTransport, content_type};
pub(crate) use localhost::LocalhostResolver;
pub(crate) use socket::{Local, SocketTransport};

/// The way to the pod's own sidecar.
pub(crate) struct Transport {
    /// The local socket, unless it is not wanted.
    pub(crate) socket: Option<SocketTransport>,
    /// The local HTTP API.
    pub(crate) http: HttpTransport,
}

/// One put, with arguments already checked.
pub(crate) struct PutRequest {
    pub(crate) payload: Payload,
    pub(crate) terms: PutTerms,
}

/// How an object is to be held.
pub(crate) struct PutTerms {
    pub(crate) retrievals: Retrievals,
    pub(crate) content_type: Option<::http::HeaderValue>,
    pub(crate) metadata: Metadata,
    pub(crate) ttl: Option<Duration>,
}

/// One get, whole or of a range.
#[derive(Debug, Clone)]
pub(crate) struct GetRequest {
    pub(crate) reference: Reference,
    pub(crate) range: Option<ByteRange>,
    /// Longest silence of the sidecar once the answer has begun.
    pub(crate) silence: Duration,
    /// Most bytes that the reader may collect in memory.
    pub(crate) memory_limit: ByteCount,
}

/// A range of bytes: `start..=last`, or up to the end without `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) last: Option<u64>,
    /// Whether this read counts as a retrieval.
    pub(crate) counted: bool,
}

impl Transport {
    /// Holds the payload in the sidecar; the answer comes when all of it is held.
    pub(crate) async fn put(&self, request: PutRequest) -> Result<Reference> {
        if let (Some(socket), Some(bytes)) = (&self.socket, request.payload.in_memory())
            && let Some(reference) = socket.put(bytes, &request.terms).await?
        {
            return Ok(reference);
        }
        self.http.put(request).await
    }

    /// The whole object, in memory.
    pub(crate) async fn get(&self, request: GetRequest) -> Result<Object> {
        if let (Some(socket), None) = (&self.socket, request.range)
            && let Some(object) = socket.get(&request.reference, request.memory_limit).await?
        {
            return Ok(object);
        }
        self.http.get(request).await?.collect().await
    }

    /// Begins to read; returns when the first bytes are near, or the reason why they never will be.
    pub(crate) async fn open(&self, request: GetRequest) -> Result<Reader> {
        self.http.get(request).await
    }

    /// Frees the object.
    pub(crate) async fn delete(&self, reference: &Reference) -> Result<()> {
        if let Some(socket) = &self.socket
            && let Some(()) = socket.delete(reference).await?
        {
            return Ok(());
        }
        self.http.delete(reference).await
    }

    /// The sidecar's counts.
    pub(crate) async fn status(&self) -> Result<Status> {
        self.http.status().await
    }
}
