//! Broadcast: one object put for as many retrievals as there are consumers, got by all of them at once.
//!
//! The producer's sidecar is found through `XDT_LOCAL_ADDRESS`, the consumers' in `CONSUMERS` (local addresses,
//! comma-separated; default: four times the producer's own). With a sidecar on the default ports:
//! `cargo run -p xdt --example broadcast`. On three instances, as `examples/cluster.yaml` describes them:
//!
//! ```text
//! cargo build -p xdt --examples
//! xdt-cluster run sdk-rust/examples/cluster.yaml -- env XDT_LOCAL_ADDRESS=127.80.0.1:8015 \
//!   CONSUMERS=127.80.0.2:8015,127.80.0.3:8015 target/debug/examples/broadcast
//! ```

use std::time::Instant;

use futures_util::future::try_join_all;
use xdt::{ByteCount, Bytes, Client, ErrorKind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let producer = Client::connect()?;
    let consumers = consumers(&producer)?;
    let bytes = Bytes::from(vec![7; ByteCount::mib(4).as_usize()]);

    let retrievals = u16::try_from(consumers.len())?;
    let reference = producer.put(bytes.clone()).retrievals(retrievals).await?;
    println!("put {} bytes for {retrievals} retrievals: {reference:?}", bytes.len());

    let start = Instant::now();
    let copies = try_join_all(consumers.iter().map(|consumer| consumer.get(&reference).into_future())).await?;
    println!("{} consumers have it after {:?}", copies.len(), start.elapsed());
    assert!(copies.iter().all(|copy| copy[..] == bytes[..]));

    match producer.get(&reference).await {
        Err(error) if error.kind() == ErrorKind::ObjectGone => println!("after the last retrieval it is gone"),
        Err(error) => return Err(error.into()),
        Ok(_) => println!("it is still there: the sidecar does not count retrievals"),
    }
    Ok(())
}

/// Clients for the sidecars in `CONSUMERS`, else four for the producer's.
fn consumers(producer: &Client) -> Result<Vec<Client>, Box<dyn std::error::Error>> {
    let list = std::env::var("CONSUMERS").unwrap_or_default();
    let mut consumers = Vec::new();
    for address in list.split(',').filter(|address| !address.is_empty()) {
        consumers.push(Client::builder().local_address(address.parse()?).build()?);
    }
    if consumers.is_empty() {
        consumers.resize(4, producer.clone());
    }
    Ok(consumers)
}
