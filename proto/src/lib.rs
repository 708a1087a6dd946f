//! All that two XDT processes must agree on, and nothing else.
//!
//! Used by the queue-proxy and by the SDKs, which never depend on each other. Owns the wire messages
//! (`xdt/v1/*.proto`, compiled without protoc), the form of a reference, the error words and the header names, with
//! their limits. It does no I/O and holds no keys.

pub mod headers;
mod id;
mod reference;
mod size;
mod word;

pub use id::ObjectId;
pub use reference::{Reference, ReferenceFormError};
pub use size::{ByteCount, ParseDurationError, ParseSizeError, Retrievals, RetrievalsError, parse_duration};
pub use word::{ErrorWord, PROBLEM_TYPE_PREFIX};

/// Messages between queue-proxies, and between an SDK and its queue-proxy: package `xdt.v1`.
#[allow(missing_docs)] // generated; the meaning stands in the .proto files
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/xdt.v1.rs"));

    /// The package as an encoded `google.protobuf.FileDescriptorSet`, for clients that read descriptors instead of code.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/xdt.v1.binpb"));
}
