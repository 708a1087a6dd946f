//! Health checks, ingress probes and the readiness probe against real sockets: clauses 76 to 95 of the queue-proxy
//! contract, one test each, and containers that mean harm.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "probes/answers.rs"]
mod answers;
#[path = "probes/hostile.rs"]
mod hostile;
#[path = "probes/kinds.rs"]
mod kinds;
#[path = "probes/kit.rs"]
mod kit;
#[path = "probes/rhythm.rs"]
mod rhythm;
#[path = "probes/servers.rs"]
mod servers;
