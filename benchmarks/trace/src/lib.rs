//! A trace collector small enough to start beside a benchmark, and what can be said of a trace.
//!
//! Takes spans as Zipkin v2 (`POST /api/v2/spans`) and as OTLP over HTTP (`POST /v1/traces`, protobuf and JSON), appends
//! them to `spans.ndjson`, and answers in Zipkin's form, so that a real Zipkin UI can read from it. A trace's time is
//! divided among stages along its critical path; the stages sum to the whole, exactly.
//!
//! | file | what |
//! | --- | --- |
//! | `span` | the one form in which spans are kept: Zipkin's |
//! | `otlp` | OTLP to that form |
//! | `store` | bounded memory, the file, the counts: nothing is dropped silently |
//! | `server` | the HTTP routes |
//! | `critical` | critical path and stages |
//! | `waterfall` | one HTML page for a trace |

pub mod critical;
pub mod otlp;
pub mod server;
pub mod span;
pub mod store;
pub mod waterfall;

pub use span::Span;
pub use store::{Counts, Store};
