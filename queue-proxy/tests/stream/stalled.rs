//! A client of the local ports that stops reading or sending has its transfer ended after `XDT_CLIENT_TIMEOUT`.

use xdt_testkit::{Builder, Payload, RawConnection, Sidecar, eventually};

use super::sidecar;

const MIB: u64 = 1 << 20;

fn impatient() -> Builder {
    sidecar().env("XDT_CLIENT_TIMEOUT", "1s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_gives_the_retrieval_back_on_every_path() {
    let (producer, consumer) = tokio::join!(impatient().start(), impatient().start());
    for reader in [&consumer, &producer] {
        let payload = Payload::new(1, 64 * MIB);
        let reference = producer.put(payload.bytes()).await;
        let (mut client, _) = RawConnection::get(reader, &reference).await;
        client.take(1000).await;
        let got = eventually("the retrieval, from somebody else", async || {
            let got = consumer.receive(&reference).await;
            (got.status != 429).then_some(got)
        })
        .await;
        assert_eq!((got.status.as_u16(), got.digest), (200, payload.digest()));
        reader.counted("abandoned", 1).await;
        drop(client);
        producer.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_sending_gives_the_memory_back() {
    let sidecar: Sidecar = impatient().env("XDT_OBJECT_MEMORY", "1MiB").start().await;
    let mut stalled = RawConnection::open(sidecar.local()).await;
    let head = "POST /xdt/v1/objects HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nonly this";
    stalled.send(head).await;
    let answer = stalled.head().await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("xdt-error: bad-request"),
        "{answer}"
    );
    sidecar.put(vec![7; 1_000_000]).await;
}
