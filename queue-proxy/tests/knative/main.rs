//! Knative's queue-proxy from outside, clause by clause (contract of the queue-proxy, section 13): what takes seconds.
//! `docs/knative-compat.md` maps clauses to tests, and [`checklist`] holds it to that. What takes longer is in
//! `knative_slow`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod breaker;
mod checklist;
mod errors;
mod grpc;
mod headers;
mod limits;
mod logs;
mod messages;
mod metrics;
mod metrics_limits;
mod pod;
mod probes;
mod process;
mod profiling;
mod protocols;
mod push;
mod request_log;
mod stats;
mod telemetry_legacy;
mod timeouts;
mod tls;
mod traces;
mod upgrades;
