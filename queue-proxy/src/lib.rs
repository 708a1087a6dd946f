//! The XDT queue-proxy: Knative's sidecar that also moves objects between functions by reference.
//!
//! Three planes, kept apart: the Knative path ([`invocation`]), the XDT path ([`door`] in front of [`transfer`], which
//! stands on [`trust`]), and the admin path ([`admin`], [`drain`]). Only `invocation/resolve.rs` and
//! `invocation/offer.rs` join the first two. A library so that tests, fuzz targets and benchmarks reach the parts;
//! the product is the binary `xdt-queue-proxy`.

pub mod admin;
pub mod body;
pub mod config;
pub mod door;
pub mod drain;
pub mod error;
pub mod invocation;
pub mod mutual;
pub mod net;
pub mod profiling;
pub mod requestlog;
pub mod server;
pub mod telemetry;
pub mod transfer;
pub mod trust;
