//! The stream path between sidecars: pulls that break and go on, other gRPC clients, overlap, and what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod interop;
mod overlap;
mod pages;
mod prototype;
mod resume;
mod stalled;
mod storm;

use xdt_testkit::{Builder, Link, Sidecar};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// The SDK of a function behind `sidecar`.
fn sdk(sidecar: &Sidecar) -> xdt::Client {
    let client = xdt::Client::builder()
        .local_address(sidecar.local())
        .local_socket(format!("@{}", sidecar.local_socket()));
    client.build().unwrap()
}

/// A producer that its peers reach over a link.
async fn producer_behind_a_link() -> (Sidecar, Link) {
    let link = Link::start().await;
    let producer = sidecar().behind(&link).start().await;
    link.lead_to(producer.data());
    (producer, link)
}
