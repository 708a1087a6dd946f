//! The JSON that driver, producer and consumer exchange. Times are nanoseconds, moments are [`crate::clock`]'s.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::object::{Digest, Source};

/// What moves the bytes from producer to consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The body of the control request.
    Inline,
    /// Vanilla gRPC client streaming from process to process.
    GrpcStream,
    /// The SDK's `invoke`.
    XdtInvoke,
    /// The SDK's `put`, a small control request with the reference, the SDK's `get`.
    XdtPutGet,
}

impl Backend {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Inline, Self::GrpcStream, Self::XdtInvoke, Self::XdtPutGet];

    /// Whether objects travel by reference, through the sidecars' data plane.
    #[must_use]
    pub const fn is_xdt(self) -> bool {
        matches!(self, Self::XdtInvoke | Self::XdtPutGet)
    }
}

/// `POST /run` at the producer: one transfer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What moves the bytes.
    pub backend: Backend,
    /// What to send.
    pub source: Source,
    /// The consumer's URL, as callers of the function write it.
    pub consumer_url: String,
    /// Where the consumer's gRPC server listens.
    pub grpc_address: SocketAddr,
}

/// The producer's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Bytes that the producer had in hand.
    pub size: u64,
    /// Digest of the bytes that the producer had in hand.
    pub digest: Digest,
    /// What the consumer saw.
    pub arrival: Arrival,
    /// The reference, where user code sees one.
    pub reference: Option<String>,
    /// Time to make or read the object and hash it, before the transfer; near zero if it was still in memory.
    pub prepare_ns: u64,
    /// The put, invoke or stream call begins.
    pub started_ns: u64,
    /// The consumer's answer is back at the producer.
    pub returned_ns: u64,
}

impl Report {
    /// From the start of the call in the producer's user code to the last byte in the consumer's.
    #[must_use]
    pub const fn transfer_ns(&self) -> u64 {
        self.arrival.arrived_ns.saturating_sub(self.started_ns)
    }
}

/// The consumer's answer: what arrived, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Bytes.
    pub length: u64,
    /// Computed after `arrived_ns`.
    pub digest: Digest,
    /// The last byte is in the consumer's user code.
    pub arrived_ns: u64,
    /// Time that the digest took.
    pub digest_ns: u64,
}

/// `POST /get` at the consumer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The object to get.
    pub reference: String,
}

/// `GET /info` of both functions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// Where the gRPC server listens; only the consumer has one.
    pub grpc_address: Option<SocketAddr>,
    /// Where the function's own sidecar answers it, if it has one.
    pub sidecar_address: Option<String>,
}
