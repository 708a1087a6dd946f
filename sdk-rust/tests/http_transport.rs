//! The SDK against an in-process sidecar on real sockets: every answer of the contract's section 3, and what a broken or
//! absent sidecar looks like from user code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where its assumptions do"
)]

#[path = "http_transport/fake.rs"]
mod fake;
#[path = "http_transport/get.rs"]
mod get;
#[path = "http_transport/invoke.rs"]
mod invoke;
#[path = "http_transport/layer.rs"]
mod layer;
#[path = "http_transport/put.rs"]
mod put;
