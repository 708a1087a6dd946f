//! The user container's ways in. Each parses, then calls put or get; none touches objects itself.

pub mod egress;
pub mod http;
pub mod socket;
