//! Scatter and gather: eight shards, each put for one retrieval and got by one of the consumers; then every consumer
//! puts its result and the producer gets all of them at once.
//!
//! The producer's sidecar is found through `XDT_LOCAL_ADDRESS`, the consumers' in `CONSUMERS` (local addresses,
//! comma-separated; default: the producer's own). With a sidecar on the default ports:
//! `cargo run -p xdt --example scatter_gather`. On three instances, as `examples/cluster.yaml` describes them:
//!
//! ```text
//! cargo build -p xdt --examples
//! xdt-cluster run sdk-rust/examples/cluster.yaml -- env XDT_LOCAL_ADDRESS=127.80.0.1:8015 \
//!   CONSUMERS=127.80.0.2:8015,127.80.0.3:8015 target/debug/examples/scatter_gather
//! ```

use std::time::Instant;

use futures_util::future::try_join_all;
use xdt::{ByteCount, Client, Reference};

const SHARDS: u8 = 8;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let producer = Client::connect()?;
    let consumers = consumers(&producer)?;
    let size = ByteCount::mib(1).as_usize();

    let shards = try_join_all((0..SHARDS).map(|n| producer.put(vec![n; size]).into_future())).await?;
    println!("put {SHARDS} shards of {size} bytes, one retrieval each");

    let start = Instant::now();
    let work = shards
        .iter()
        .zip(consumers.iter().cycle())
        .map(|(shard, consumer)| reduce(consumer, shard));
    let results = try_join_all(work).await?;
    println!("scattered to {} consumers in {:?}", consumers.len(), start.elapsed());

    let start = Instant::now();
    let gathered = try_join_all(results.iter().map(|result| producer.get(result).into_future())).await?;
    let sums: Vec<_> = gathered
        .iter()
        .map(|object| String::from_utf8_lossy(object).into_owned())
        .collect();
    println!("gathered in {:?}: {}", start.elapsed(), sums.join(", "));
    Ok(())
}

/// One consumer's part: gets its shard, adds up the bytes, puts the sum.
async fn reduce(consumer: &Client, shard: &Reference) -> xdt::Result<Reference> {
    let object = consumer.get(shard).await?;
    let sum: u64 = object.iter().copied().map(u64::from).sum();
    consumer.put(sum.to_string()).content_type("text/plain").await
}

/// Clients for the sidecars in `CONSUMERS`, else the producer's.
fn consumers(producer: &Client) -> Result<Vec<Client>, Box<dyn std::error::Error>> {
    let list = std::env::var("CONSUMERS").unwrap_or_default();
    let mut consumers = Vec::new();
    for address in list.split(',').filter(|address| !address.is_empty()) {
        consumers.push(Client::builder().local_address(address.parse()?).build()?);
    }
    if consumers.is_empty() {
        consumers.push(producer.clone());
    }
    Ok(consumers)
}
