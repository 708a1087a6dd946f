//! `xdt-bench` as a user runs it: the built binary, real functions, real sidecars; only smaller.
#![allow(clippy::expect_used, clippy::unwrap_used)] // the helpers are test code too

mod cost;
mod demo;
mod page;
mod siblings;
