//! The functions that benchmarks deploy: a producer that sends objects and a consumer that receives them.
//!
//! The binary `xdt-patterns` runs them; the library gives the harness the same object generator, the same JSON messages
//! and the same HTTP client, so that both ends agree on what was sent. One transfer runs at a time per instance.

pub mod arrival;
pub mod clock;
pub mod consumer;
pub mod http;
pub mod messages;
pub mod object;
pub mod producer;
pub mod serve;
pub mod vanilla;

/// Largest object that the functions take: bounds what a length off the wire may allocate.
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// Where this function's sidecar answers it: `XDT_LOCAL_ADDRESS`, if it is set.
pub(crate) fn sidecar_address() -> Option<String> {
    std::env::var("XDT_LOCAL_ADDRESS").ok()
}
