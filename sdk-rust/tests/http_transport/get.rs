//! get and open over the local HTTP API.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use xdt::{ErrorKind, ErrorWord};

use crate::fake::{FakeSidecar, Fault};

#[tokio::test]
async fn every_word_becomes_its_kind() {
    let sidecar = FakeSidecar::start().await;
    for word in ErrorWord::ALL {
        let reference = sidecar.hold("bytes", Fault::Word(word));
        let error = sidecar.client().get(&reference).await.expect_err("a problem");
        assert_eq!(error.kind(), ErrorKind::from(word));
        assert_eq!(error.word(), Some(word.as_str()));
        assert_eq!(error.status().map(|status| status.as_u16()), Some(word.status()));
        assert_eq!(error.is_retryable(), word.is_retryable());
        assert_eq!(error.to_string(), format!("{word}: because of {word}"));
        let wait = (word == ErrorWord::Busy).then_some(Duration::from_secs(7));
        assert_eq!(error.retry_after(), wait);
    }
}

#[tokio::test]
async fn a_truncated_body_is_broken_and_never_a_clean_end() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    for length in [Some(1000), None, Some(10 << 30)] {
        let reference = sidecar.hold("half", Fault::Break { length });
        let error = client.get(&reference).await.expect_err("truncated");
        assert_eq!(error.kind(), ErrorKind::TransferBroken, "{length:?}");

        let mut reader = client.open(&reference).await.expect("begins well");
        assert_eq!(reader.size(), length);
        assert_eq!(reader.chunk().await.expect("what came").as_deref(), Some(&b"half"[..]));
        for _ in 0..2 {
            assert_eq!(
                reader.chunk().await.expect_err("truncated").kind(),
                ErrorKind::TransferBroken
            );
            let error = reader.read(&mut [0; 8]).await.expect_err("truncated");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }

        let items: Vec<_> = client
            .open(&reference)
            .await
            .expect("begins well")
            .stream()
            .collect()
            .await;
        let items: Vec<_> = items
            .into_iter()
            .map(|item| item.map_err(|error| error.kind()))
            .collect();
        assert_eq!(items, [Ok(Bytes::from("half")), Err(ErrorKind::TransferBroken)]);
    }
}

#[tokio::test]
async fn a_reader_reads_all_and_knows_what_is_left() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let bytes: Bytes = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let reference = sidecar.hold_with(bytes.clone(), &[("content-type", "image/png"), ("xdt-meta-k", "v")]);

    let mut reader = client.open(&reference).await.expect("held");
    assert_eq!(
        (reader.size(), reader.content_type()),
        (Some(1_000_000), Some("image/png"))
    );
    assert_eq!(reader.metadata().get("k").map(String::as_str), Some("v"));
    let mut first = [0; 10];
    reader.read_exact(&mut first).await.expect("ten bytes");
    assert_eq!(reader.size(), Some(999_990));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.expect("the rest");
    assert_eq!([&first[..], &rest].concat(), bytes);

    let chunks: Vec<_> = client.open(&reference).await.expect("held").stream().collect().await;
    let streamed: Vec<u8> = chunks
        .into_iter()
        .flat_map(|chunk| chunk.expect("no failure"))
        .collect();
    assert_eq!(streamed, bytes);
}

#[tokio::test]
async fn silence_times_out() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client_with_timeout(Duration::from_millis(50));
    let reference = sidecar.hold("half", Fault::Silence);
    let error = client.get(&reference).await.expect_err("no end");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Timeout, None));

    let mut reader = client.open(&reference).await.expect("begins well");
    assert_eq!(reader.chunk().await.expect("what came").as_deref(), Some(&b"half"[..]));
    assert_eq!(reader.chunk().await.expect_err("silence").kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn ranges_read_parts_only() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let reference = sidecar.hold("0123456789", Fault::None);
    assert_eq!(&client.get(&reference).range(2..5).await.expect("inside")[..], b"234");
    assert_eq!(
        &client.get(&reference).range(8..100).await.expect("cut to the end")[..],
        b"89"
    );
    let last = client.get(&reference).range(5..).counted().await.expect("inside");
    assert_eq!(
        (&last[..], last.metadata()["counted"].as_str()),
        (&b"56789"[..], "true")
    );
    let error = client.get(&reference).range(10..).await.expect_err("outside");
    assert_eq!(
        (error.kind(), error.status().map(|status| status.as_u16())),
        (ErrorKind::InvalidArgument, Some(416))
    );
}

#[tokio::test]
async fn a_body_without_length_or_chunks_is_refused() {
    let sidecar = FakeSidecar::start().await;
    let reference = sidecar.hold("bytes", Fault::Unframed);
    let error = sidecar
        .client()
        .get(&reference)
        .await
        .expect_err("its end would be a guess");
    assert_eq!(error.kind(), ErrorKind::UnexpectedAnswer);
}

#[tokio::test]
async fn an_object_over_the_memory_limit_is_refused_before_it_is_read() {
    let sidecar = FakeSidecar::start().await;
    let reference = sidecar.hold("some", Fault::Break { length: Some(1 << 40) });
    let error = sidecar.client().get(&reference).await.expect_err("1 TiB");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn calls_one_after_another_share_a_connection() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    for _ in 0..5 {
        let reference = client.put(vec![1; 100_000]).await.expect("held");
        assert_eq!(client.get(&reference).await.expect("held").len(), 100_000);
        client.delete(&reference).await.expect("held");
        client.get(&reference).await.expect_err("deleted");
    }
    assert_eq!(sidecar.local_connections(), 1);
}

#[tokio::test]
async fn concurrent_gets_do_not_mix() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let references: Vec<_> = (0..32_u8)
        .map(|n| sidecar.hold(vec![n; 50_000 + usize::from(n)], Fault::None))
        .collect();
    let gets = references.iter().map(|reference| client.get(reference).into_future());
    for (n, object) in (0..32_u8).zip(futures_util::future::join_all(gets).await) {
        let object = object.expect("held");
        assert!(object.len() == 50_000 + usize::from(n) && object.iter().all(|byte| *byte == n));
    }
}
