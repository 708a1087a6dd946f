//! The JSON that harness, driver, producer and consumer exchange. Times are nanoseconds, moments are [`crate::clock`]'s.
//!
//! Two planes. What is measured goes through ingress and sidecars: `run`, `offer`, `take`, `fetch`. What prepares and
//! checks goes straight to one instance's own port, outside every timed region: `prepare`, `verify`, `gone`, `info`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::object::{Digest, Source};

/// What moves the bytes. How XDT streams is the sidecars' setting, not the function's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The body of the control request.
    Inline,
    /// Put to an S3 server, the key in the control request, got from there.
    S3,
    /// The same with the second server, the control of the first.
    S3Control,
    /// SET, the key in the control request, GET.
    Redis,
    /// The SDK.
    Xdt,
    /// Vanilla gRPC client streaming from process to process.
    GrpcStream,
    /// Blocking writes to a TCP connection from process to process: what the machine's loopback can do at most.
    Tcp,
}

/// Who sends what to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// One producer, one consumer.
    OneToOne,
    /// Many producers put; one consumer gets all.
    Gather,
    /// One producer sends a different object to each of many consumers.
    Scatter,
    /// One producer puts once; each of many consumers gets it.
    Broadcast,
}

/// By which verbs an object travels where a pattern allows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// `invoke`: by value, in one call.
    Invoke,
    /// `put`, a small call with the reference, `get`.
    PutGet,
}

/// `POST /prepare` at a producer instance: what it will send. Answered with [`Prepared`] for each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The objects, in order; they replace those of the call before.
    pub objects: Vec<Source>,
    /// Number of the instance among the producers of a gather.
    pub index: usize,
}

/// An object that lies ready at a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Bytes.
    pub length: u64,
    /// Of all of them.
    pub digest: Digest,
}

/// `POST /run` at the producer, or at the driver of a gather, scatter or broadcast: one repetition of a pattern.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What moves the bytes.
    pub backend: Backend,
    /// Who sends to whom.
    pub pattern: Pattern,
    /// By which verbs.
    pub variant: Variant,
    /// Number of producers or consumers.
    pub degree: usize,
    /// Name of this repetition, unlike every other: storage keys are made from it.
    pub key: String,
    /// The consumer's URL, as callers of the function write it.
    pub consumer_url: String,
    /// The producer's, for a driver.
    pub producer_url: String,
    /// Where the consumers listen for gRPC or TCP, for the two references that bypass the platform.
    pub peers: Vec<SocketAddr>,
}

/// The answer to a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The first put, invoke or stream call begins.
    pub started_ns: u64,
    /// Longest put, where objects are put.
    pub put_ns: u64,
    /// What each consumer received, in whatever order.
    pub receipts: Vec<Receipt>,
    /// One reference that travelled, where user code sees one.
    pub reference: Option<String>,
    /// Storage keys that were written.
    pub keys: Vec<String>,
}

impl Report {
    /// From the start of the first call in a producer's user code to the last byte in a consumer's.
    #[must_use]
    pub fn transfer_ns(&self) -> u64 {
        let last = self.receipts.iter().map(|receipt| receipt.arrived_ns).max();
        last.unwrap_or_default().saturating_sub(self.started_ns)
    }

    /// Longest get, where objects are got.
    #[must_use]
    pub fn get_ns(&self) -> u64 {
        self.receipts
            .iter()
            .map(|receipt| receipt.get_ns)
            .max()
            .unwrap_or_default()
    }

    /// Bytes that arrived.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.receipts.iter().map(|receipt| receipt.length).sum()
    }
}

/// One object that has arrived whole in a consumer's user code. Its digest comes later, by [`Verified`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Bytes.
    pub length: u64,
    /// The last byte is in the consumer's user code.
    pub arrived_ns: u64,
    /// Time that the get took; zero where the bytes came with the request.
    pub get_ns: u64,
}

/// `POST /offer` at a producer of a gather: puts its object and answers with [`Offer`], or, inline, with the bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What moves the bytes.
    pub backend: Backend,
    /// As in [`Run`].
    pub key: String,
}

/// Where an object can be had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offer {
    /// The put began.
    pub started_ns: u64,
    /// The put took.
    pub put_ns: u64,
    /// A reference of XDT, or a storage key.
    pub handle: String,
}

/// `POST /fetch` at a consumer: gets all objects at once. Answered with a [`Receipt`] for each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// What moves the bytes.
    pub backend: Backend,
    /// References or keys.
    pub handles: Vec<String>,
}

/// `POST /verify` at a consumer instance: hashes and frees what arrived since the last call. Answered with one for each
/// object, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Bytes.
    pub length: u64,
    /// Of all of them.
    pub digest: Digest,
}

/// `POST /gone` at a consumer instance: whether a further get is refused because the object is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// The object to ask for.
    pub reference: String,
}

/// `GET /info` of every instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// Where its gRPC server listens; only consumers have one.
    pub grpc_address: Option<SocketAddr>,
    /// Where its TCP sink listens; only consumers have one.
    pub tcp_address: Option<SocketAddr>,
    /// Where the function's own sidecar answers it, if it has one.
    pub sidecar_address: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_lasts_from_the_first_call_to_the_last_byte() {
        let receipt = |arrived_ns, get_ns| Receipt {
            length: 5,
            arrived_ns,
            get_ns,
        };
        let report = Report {
            started_ns: 100,
            receipts: vec![receipt(150, 7), receipt(180, 9), receipt(160, 8)],
            ..Report::default()
        };
        assert_eq!((report.transfer_ns(), report.get_ns(), report.bytes()), (80, 9, 15));
        assert_eq!(Report::default().transfer_ns(), 0);
    }
}
