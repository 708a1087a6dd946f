//! The same-node path: a producer's sealed memory file passes to a consumer's queue-proxy on the same node, and no byte
//! of it is copied (contract, section 7).
//!
//! - [`directory`]: the node directory, who may speak in it, and under which name.
//! - `pull`: the consumer's side, called by `get`.
//! - [`serve`]: the producer's side.
//!
//! What travels is in `node.proto`. Tickets, proofs, claims and refusals are those of the network path; only the bytes
//! come another way. A producer is known by the owner of its socket file and by the credentials of its process before a
//! ticket is shown to it, and by its proof afterwards.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use xdt_proto::v1::Metadata;

pub mod directory;
mod pull;
pub mod serve;

pub(super) use pull::NodePull;

/// Headers of a trace context in one request: W3C knows two, B3 up to four.
const MAX_TRACE: usize = 4;

/// A trace context as it travels.
fn to_wire(trace: &HeaderMap) -> Vec<Metadata> {
    let headers = trace.iter().map(|(name, value)| Metadata {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    });
    headers.take(MAX_TRACE).collect()
}

/// A trace context that came from a peer; what are no headers is left out.
fn from_wire(trace: &[Metadata]) -> HeaderMap {
    let headers = trace.iter().take(MAX_TRACE).filter_map(|header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&header.value).ok()?))
    });
    headers.collect()
}
