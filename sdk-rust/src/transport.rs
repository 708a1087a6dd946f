//! How the SDK talks to its sidecar: the seam between the verbs and the wire.
//!
//! The verbs check their arguments and bound the whole call in time; a transport carries one request. Today there is
//! the local HTTP API (contract, section 3); the memory-file transport of section 7 joins as a second variant.

pub(crate) mod answer;
pub(crate) mod dial;
mod http;
mod localhost;
pub(crate) mod send;

use std::time::Duration;

use xdt_proto::{ByteCount, Reference, Retrievals};

use crate::{Metadata, Payload, Reader, Result, Status};
pub(crate) use http::{HttpTransport, content_type};
pub(crate) use localhost::LocalhostResolver;

/// The way to the pod's own sidecar.
pub(crate) enum Transport {
    /// The local HTTP API.
    Http(HttpTransport),
}

/// One put, with arguments already checked.
pub(crate) struct PutRequest {
    pub(crate) payload: Payload,
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
        match self {
            Self::Http(http) => http.put(request).await,
        }
    }

    /// Begins to read; returns when the first bytes are near, or the reason why they never will be.
    pub(crate) async fn get(&self, request: GetRequest) -> Result<Reader> {
        match self {
            Self::Http(http) => http.get(request).await,
        }
    }

    /// Frees the object.
    pub(crate) async fn delete(&self, reference: &Reference) -> Result<()> {
        match self {
            Self::Http(http) => http.delete(reference).await,
        }
    }

    /// The sidecar's counts.
    pub(crate) async fn status(&self) -> Result<Status> {
        match self {
            Self::Http(http) => http.status().await,
        }
    }
}
