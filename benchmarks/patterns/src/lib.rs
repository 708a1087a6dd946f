//! The functions that benchmarks deploy: producers that send objects, consumers that receive them, a driver between.
//!
//! The binary `xdt-patterns` runs them; the library gives the harness the same object generator, the same JSON messages
//! and the same HTTP client, so that both ends agree on what was sent.
//!
//! | file | what |
//! | --- | --- |
//! | `producer`, `consumer`, `driver` | the roles, each an HTTP server behind a sidecar |
//! | `storage` | S3 and Redis, the baselines that hold objects between two calls |
//! | `vanilla`, `tcp` | gRPC and raw TCP from process to process, the upper references |
//! | `arrival`, `shelf` | when an object is there, and where it waits for its digest |
//! | `object`, `messages`, `http`, `clock` | what all agree on |

pub mod arrival;
pub mod clock;
pub mod consumer;
pub mod driver;
pub mod http;
pub mod messages;
pub mod object;
pub mod producer;
pub mod serve;
pub mod shelf;
pub mod storage;
pub mod tcp;
pub mod vanilla;

use xdt::ByteCount;

/// Largest object that the functions take: bounds what a length off the wire may allocate.
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// Where this function's sidecar answers it: `XDT_LOCAL_ADDRESS`, if it is set.
pub(crate) fn sidecar_address() -> Option<String> {
    std::env::var("XDT_LOCAL_ADDRESS").ok()
}

/// The SDK's client as all functions use it: enough kept connections for the highest degree of a pattern.
///
/// # Errors
/// If the environment does not make sense to the SDK.
pub(crate) fn sdk() -> xdt::Result<xdt::Client> {
    xdt::Client::builder()
        .memory_limit(ByteCount::new(MAX_OBJECT_BYTES))
        .max_idle_connections(http::IDLE_CONNECTIONS)
        .timeout(http::CALL_TIMEOUT)
        .build()
}
