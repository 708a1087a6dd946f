//! The stream path between sidecars: pulls that break and go on, other gRPC clients, overlap, and what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod interop;
mod resume;

use xdt_testkit::{Builder, Link, Sidecar};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A producer that its peers reach over a link.
async fn producer_behind_a_link() -> (Sidecar, Link) {
    let link = Link::start().await;
    let producer = sidecar().behind(&link).start().await;
    link.lead_to(producer.data());
    (producer, link)
}
