//! Two sidecars on one node with the SDKs of their functions, and what a sidecar's XDT half takes while idle.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use xdt_testkit::{Node, Sidecar};

use super::{nanos, touch};

/// Sidecars whose memory is looked at, of each kind: one alone may have been lucky.
const IDLE: usize = 5;

/// A producer and a consumer.
pub(super) struct Pair {
    producer: xdt::Client,
    consumer: xdt::Client,
    // In this order: the sidecars end before their directory goes.
    _sidecars: [Sidecar; 2],
    _node: Node,
}

impl Pair {
    pub(super) async fn start(binary: &Path) -> Result<Self> {
        let node = Node::new("bars");
        let start = || {
            let builder = Sidecar::builder(binary).on(&node);
            builder
                .env("XDT_PATHS", "node")
                .env("XDT_OBJECT_MEMORY", "1GiB")
                .start()
        };
        let sidecars = [start().await, start().await];
        let [producer, consumer] = sidecars.each_ref().map(|sidecar| {
            let client = xdt::Client::builder().local_address(sidecar.local());
            client.local_socket(format!("@{}", sidecar.local_socket())).build()
        });
        Ok(Self {
            producer: producer?,
            consumer: consumer?,
            _sidecars: sidecars,
            _node: node,
        })
    }

    /// Nanoseconds from the call of get to the first byte, and to the last; the object was built in place.
    pub(super) async fn built_in_place(&self, bytes: &[u8]) -> Result<(u64, u64)> {
        let mut buffer = self.producer.create(bytes.len() as u64)?;
        buffer.copy_from_slice(bytes);
        let reference = buffer.put()?.await?;
        let begun = Instant::now();
        let object = self.consumer.get(&reference).await?;
        touch(&object[..1]);
        let first = nanos(begun)?;
        touch(&object);
        let last = nanos(begun)?;
        verify(&object, bytes)?;
        Ok((first, last))
    }

    /// Nanoseconds from the call of put, with bytes in ordinary memory, to the last byte at the consumer.
    pub(super) async fn with_one_copy(&self, bytes: Bytes) -> Result<u64> {
        let begun = Instant::now();
        let reference = self.producer.put(bytes.clone()).await?;
        let object = self.consumer.get(&reference).await?;
        touch(&object);
        let taken = nanos(begun)?;
        verify(&object, &bytes)?;
        Ok(taken)
    }
}

fn verify(object: &xdt::Object, expected: &[u8]) -> Result<()> {
    ensure!(
        object.path() == Some("node"),
        "the bytes took another path: {:?}",
        object.path()
    );
    ensure!(object[..] == *expected, "the bytes that arrived are wrong");
    Ok(())
}

/// Bytes of resident memory that a sidecar has more with XDT than without, both idle: medians of [`IDLE`] of each.
pub(super) async fn idle_cost(binary: &Path) -> i64 {
    let node = Node::new("bars");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..IDLE {
        let on = Sidecar::builder(binary).on(&node).start().await;
        with.push(on.rss_bytes());
        let off = Sidecar::builder(binary).without_ring().start().await;
        without.push(off.rss_bytes());
    }
    let median = |samples: Vec<u64>| crate::statistics::Sorted::new(samples).median().unwrap_or_default();
    median(with).cast_signed() - median(without).cast_signed()
}
