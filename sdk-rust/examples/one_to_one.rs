//! One producer, one consumer: 8 MiB put at one sidecar, got at another; then the same bytes as the payload of a call.
//!
//! The producer's sidecar is found through `XDT_LOCAL_ADDRESS` and `XDT_EGRESS_ADDRESS`, the consumer's is the first of
//! `CONSUMERS` (local addresses, comma-separated; default: the producer's own). The call is made if
//! `XDT_CLUSTER_INGRESS` says where. With a sidecar on the default ports: `cargo run -p xdt --example one_to_one`.
//! On three instances, as `examples/cluster.yaml` describes them:
//!
//! ```text
//! cargo build -p xdt --examples
//! xdt-cluster run sdk-rust/examples/cluster.yaml -- env XDT_LOCAL_ADDRESS=127.80.0.1:8015 \
//!   XDT_EGRESS_ADDRESS=127.80.0.1:8016 CONSUMERS=127.80.0.2:8015 target/debug/examples/one_to_one
//! ```

use std::time::Instant;

use xdt::{ByteCount, Bytes, Client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let producer = Client::connect()?;
    let consumer = consumer(&producer)?;
    let bytes = Bytes::from(vec![42; ByteCount::mib(8).as_usize()]);

    let reference = producer
        .put(bytes.clone())
        .content_type("image/raw")
        .metadata("step", "1")
        .await?;
    println!("put {} bytes: {reference:?}", bytes.len());

    let start = Instant::now();
    let object = consumer.get(&reference).await?;
    let (kind, step) = (object.content_type().unwrap_or("none"), object.metadata().get("step"));
    println!(
        "got {} bytes in {:?}, content type {kind}, step {step:?}",
        object.len(),
        start.elapsed()
    );
    assert_eq!(object.into_bytes(), bytes);

    let again = consumer.get(&reference).await;
    println!(
        "once more: {}",
        again
            .err()
            .map_or_else(|| "still there".to_owned(), |error| error.to_string())
    );

    if let Ok(ingress) = std::env::var("XDT_CLUSTER_INGRESS") {
        let port = ingress.rsplit(':').next().unwrap_or("8080");
        let answer = producer
            .invoke(format!("http://consumer.default.localhost:{port}/"), bytes)
            .await?;
        let status = answer.status();
        println!(
            "called: {status}, {}",
            String::from_utf8_lossy(&answer.body().await?).trim()
        );
    }
    Ok(())
}

/// A client for the first sidecar in `CONSUMERS`, else the producer's.
fn consumer(producer: &Client) -> Result<Client, Box<dyn std::error::Error>> {
    let list = std::env::var("CONSUMERS").unwrap_or_default();
    match list.split(',').find(|address| !address.is_empty()) {
        Some(address) => Ok(Client::builder().local_address(address.parse()?).build()?),
        None => Ok(producer.clone()),
    }
}
