//! `xdt-bench` as a user runs it: the built binary, real functions, real sidecars; only smaller.
#![allow(clippy::expect_used)] // the helpers are test code too

mod cost;
mod demo;
mod siblings;
