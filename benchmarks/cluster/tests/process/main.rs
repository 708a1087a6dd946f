//! The cluster with real processes: functions, sidecars, sockets, signals.
//!
//! Every test has a cluster and a block of addresses of its own, so all may run at once.

// The lint knows test functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod cli;
mod faults;
mod requests;
mod scaling;
mod world;
