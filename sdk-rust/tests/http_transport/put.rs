//! put, delete and status over the local HTTP API.

use std::{io, io::Write as _, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use xdt::{Client, ErrorKind, ErrorWord, Payload};

use crate::fake::{FakeSidecar, Server, full, problem, refusing_address};

#[tokio::test]
async fn what_is_put_is_got() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let put = client
        .put("bytes")
        .retrievals(3)
        .content_type("text/plain")
        .metadata("Epoch", "7");
    let reference = put.ttl(Duration::from_millis(1500)).await.expect("held");
    let headers = sidecar.held(&reference).headers;
    let sent = ["xdt-retrievals", "xdt-ttl", "content-length"].map(|name| headers[name].to_str().unwrap().to_owned());
    assert_eq!(sent, ["3", "1500ms", "5"]);

    let object = client.get(&reference).await.expect("held");
    assert_eq!(&object[..], b"bytes");
    assert_eq!(object.content_type(), Some("text/plain"));
    assert_eq!(object.metadata().get("epoch").map(String::as_str), Some("7"));
}

#[tokio::test]
async fn every_kind_of_payload_arrives_whole() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let bytes: Bytes = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&bytes).expect("room for it");
    let chunks = |bytes: &Bytes| {
        let chunks: Vec<_> = bytes
            .chunks(70_001)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        stream::iter(chunks)
    };
    let length = bytes.len() as u64;
    let payloads = [
        (Payload::from(bytes.clone()), Some(length)),
        (Payload::from(bytes.to_vec()), Some(length)),
        (Payload::file(file.path()), Some(length)),
        (Payload::reader(io::Cursor::new(bytes.clone())), None),
        (Payload::stream(chunks(&bytes)), None),
        (Payload::stream(chunks(&bytes)).with_length(length), Some(length)),
    ];
    for (payload, length) in payloads {
        let text = format!("{payload:?}");
        let reference = client.put(payload).await.expect(&text);
        let held = sidecar.held(&reference);
        assert_eq!(held.bytes, bytes, "{text}");
        let sent = held
            .headers
            .get("content-length")
            .map(|value| value.to_str().unwrap().parse().unwrap());
        assert_eq!(sent, length, "{text}");
    }
    let reference = client.put(Payload::empty()).await.expect("held");
    assert_eq!(client.get(&reference).await.expect("held").len(), 0);
}

#[tokio::test]
async fn a_failing_payload_is_told_and_nothing_is_held() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let chunk = || Ok(Bytes::from_static(b"some"));
    let failing = stream::iter([chunk(), Err(io::Error::other("disk on fire"))]);
    let error = client
        .put(Payload::stream(failing))
        .await
        .expect_err("the payload failed");
    assert_eq!(error.kind(), ErrorKind::PayloadFailed);
    assert_eq!(
        std::error::Error::source(&error)
            .expect("the payload's own")
            .to_string(),
        "disk on fire"
    );

    for stated in [3, 5, 7, 9] {
        let payload = Payload::stream(stream::iter([chunk(), chunk()])).with_length(stated);
        let error = client.put(payload).await.expect_err("another length than stated");
        assert_eq!(error.kind(), ErrorKind::PayloadFailed, "{stated}");
    }
    assert_eq!(sidecar.objects(), 0);
}

#[tokio::test]
async fn a_payload_that_never_comes_times_out() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client_with_timeout(Duration::from_millis(50));
    let endless = stream::iter([Ok(Bytes::from_static(b"some"))]).chain(stream::pending());
    let error = client.put(Payload::stream(endless)).await.expect_err("no end");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Timeout, true));
    assert_eq!(sidecar.objects(), 0);
}

#[tokio::test]
async fn a_deleted_object_is_gone() {
    let sidecar = FakeSidecar::start().await;
    let client = sidecar.client();
    let reference = client.put("bytes").await.expect("held");
    client.delete(&reference).await.expect("held until now");
    let error = client.delete(&reference).await.expect_err("freed");
    assert_eq!(
        (error.kind(), error.word()),
        (ErrorKind::ObjectGone, Some("object-gone"))
    );
}

#[tokio::test]
async fn status_gives_the_counts() {
    let sidecar = FakeSidecar::start().await;
    let status = sidecar.client().status().await.expect("counts");
    assert_eq!(
        (status.objects.held, status.objects.bytes, status.objects.bytes_limit),
        (1, 2, 3)
    );
    assert_eq!((status.pool.used, status.pool.limit, status.peers), (4, 5, 7));
    assert_eq!(
        (status.transfers[0].path.as_str(), status.transfers[0].count),
        ("node", 6)
    );
}

#[tokio::test]
async fn a_refused_put_has_the_sidecars_word() {
    for word in [
        ErrorWord::TooLarge,
        ErrorWord::BadRequest,
        ErrorWord::Busy,
        ErrorWord::Draining,
    ] {
        let server = Server::start(move |_| async move { Ok(problem(word)) }).await;
        let client = Client::builder().local_address(server.address).build().expect("valid");
        let error = client.put("bytes").await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::from(word));
    }
}

#[tokio::test]
async fn answers_outside_the_contract_are_unexpected() {
    for (status, reference) in [
        (200, "xdt1.AAAA"),
        (201, ""),
        (201, "nonsense"),
        (500, ""),
        (302, "xdt1.AAAA"),
    ] {
        let server = Server::start(move |_| async move {
            let answer = http::Response::builder()
                .status(status)
                .header("xdt-reference", reference);
            Ok(answer.body(full("?")).unwrap())
        });
        let server = server.await;
        let client = Client::builder().local_address(server.address).build().expect("valid");
        let error = client.put("bytes").await.expect_err("not the contract");
        assert_eq!(error.kind(), ErrorKind::UnexpectedAnswer, "{status} {reference}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
    }
}

#[tokio::test]
async fn an_absent_sidecar_is_unavailable_for_every_verb() {
    let address = refusing_address().await;
    let client = Client::builder()
        .local_address(address)
        .egress_address(address)
        .build()
        .expect("valid");
    let reference = "xdt1.AAAA".parse().expect("the form of a reference");
    let errors = [
        client.put("bytes").await.err(),
        client.get(&reference).await.err(),
        client.open(&reference).await.err(),
        client.delete(&reference).await.err(),
        client.status().await.err(),
        client.invoke("http://f.localhost/", vec![0; 100_000]).await.err(),
    ];
    for error in errors {
        let error = error.expect("nobody there");
        assert_eq!((error.kind(), error.word()), (ErrorKind::SidecarUnavailable, None));
        assert!(error.is_retryable());
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains(&address.port().to_string()),
            "{text}"
        );
    }
}
