//! A kit for process tests: real sidecars on loopback addresses of their own, a scripted user container, HTTP clients.
//!
//! Used by the tests of the sidecar and of the SDKs, never by a product. Everything is bounded: each wait has a
//! deadline ([`wait`]), each sidecar is killed when its handle is dropped. A sidecar whose log holds an unexpected
//! warning, or tells what no log may tell, fails the test that started it ([`log`]).

#![allow(clippy::expect_used)] // a failed expectation is a failed test

pub mod address;
pub mod collector;
pub mod container;
pub mod exposition;
pub mod frames;
pub mod http;
pub mod impostor;
pub mod link;
pub mod log;
pub mod neighbour;
pub mod node;
pub mod payload;
pub mod raw;
pub mod ring;
pub mod s3;
pub mod sidecar;
pub mod skip;
pub mod strict;
pub mod tls;
pub mod user;
pub mod wait;

pub use collector::Collector;
pub use container::{Pair, RawContainer, Service};
pub use exposition::{Exposition, Sample};
pub use frames::{Frame, Heard, RawHttp2};
pub use http::{Answer, Body, Http1, Http2, Pool, bytes_body, empty_body};
pub use impostor::{Impostor, Lie};
pub use link::{Cut, Link};
pub use neighbour::Neighbour;
pub use node::Node;
pub use payload::{Digest, Payload};
pub use raw::RawConnection;
pub use ring::Ring;
pub use s3::Bucket;
pub use sidecar::{Builder, Sidecar};
pub use skip::skipped;
pub use strict::StrictUser;
pub use tls::{Authority, Certificate, Mount, TlsClient};
pub use user::{DRIP, Outcome, Script, Seen, UserContainer};
pub use wait::{eventually, within};
