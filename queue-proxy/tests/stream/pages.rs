//! Memory is recycled with its pages touched, and never shows one object's bytes to a reader of another.

use std::io::Read as _;

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use xdt_testkit::{RawConnection, bytes_body};

use super::{sdk, sidecar};

const MIB: usize = 1 << 20;

/// All bytes the same, and another one for each object.
fn filled(object: u8, size: usize) -> Bytes {
    vec![object; size].into()
}

fn assert_only(bytes: &[u8], object: u8, size: usize) {
    assert_eq!(bytes.len(), size, "object {object}");
    let stranger = bytes.iter().position(|byte| *byte != object);
    assert_eq!(stranger, None, "object {object} shows the bytes of another one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_object_ever_shows_what_lay_in_its_memory_before() {
    let small = || sidecar().env("XDT_OBJECT_MEMORY", "4MiB");
    let (producer, consumer) = tokio::join!(small().start(), small().start());
    let (put_by, got_by) = (sdk(&producer), sdk(&consumer));
    let mut random = Pcg64::seed_from_u64(7);
    let mut kept = Vec::new();
    for object in 1..=120 {
        let size = random.random_range(1..2 * MIB);
        let bytes = filled(object, size);
        let reference = match object % 2 {
            0 => put_by.put(bytes).await.unwrap().to_string(),
            _ => producer.put(bytes).await,
        };
        if object % 3 == 0 {
            // Kept by its function while the memory behind it would be used again.
            kept.push((got_by.get(&reference.parse().unwrap()).await.unwrap(), object, size));
            if kept.len() > 4 {
                kept.remove(0);
            }
        } else {
            assert_only(&consumer.get(&reference).await.body, object, size);
        }
        for (view, object, size) in &kept {
            assert_only(view, *object, *size);
        }
    }
    drop(kept);
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_deleted_object_sees_its_bytes_to_the_end_while_others_come_and_go() {
    let sidecar = sidecar()
        .env("XDT_OBJECT_MEMORY", "32MiB")
        .env("XDT_BUFFER_WAIT", "50ms");
    let sidecar = sidecar.start().await;
    let size = 24 * MIB;
    let reference = sidecar.put(filled(1, size)).await;
    let (client, head) = RawConnection::get(&sidecar, &reference).await;
    assert!(head.contains(&format!("content-length: {size}")));
    assert_eq!(sidecar.object("DELETE", &reference, &[]).await.status, 204);
    for object in 2..40 {
        let put = sidecar.try_put(&[], bytes_body(filled(object, MIB))).await;
        match put.status.as_u16() {
            201 => assert_only(&sidecar.get(put.header("xdt-reference")).await.body, object, MIB),
            _ => assert_eq!(put.problem(), "busy"),
        }
    }
    assert_only(&client.rest_of(size).await, 1, size);
}

/// What an SDK holds stays what it was when its sidecar has long used the memory budget for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_built_in_place_cannot_change_after_it_was_put() {
    let producer = sidecar().start().await;
    let client = sdk(&producer);
    let mut buffer = client.create(MIB as u64).unwrap();
    buffer.fill(1);
    let reference = buffer.put().unwrap().retrievals(2).await.unwrap();
    let first = client.get(&reference).await.unwrap();
    let mut other = client.create(MIB as u64).unwrap();
    other.fill(2);
    let _second = other.put().unwrap().await.unwrap();
    assert_only(&first, 1, MIB);
    let mut streamed = Vec::new();
    first.as_ref().read_to_end(&mut streamed).unwrap();
    assert_only(&streamed, 1, MIB);
}
