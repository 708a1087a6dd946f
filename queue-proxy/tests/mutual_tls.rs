//! Mutual TLS between queue-proxies (contract, sections 2 and 6): certificate, authority and name on both sides of a
//! pull, tickets all the same, and every refusal alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xdt_testkit::{Authority, Builder, Certificate, Mount, Payload, Sidecar, TlsClient, within};

const NAME: &str = "xdt-queue-proxy";
/// Logged by a consumer whose handshake with a producer failed.
const REFUSED: &str = "a producer showed no certificate";
/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).env("XDT_PULL_TIMEOUT", "5s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_move_between_holders_of_certificates_of_one_authority() {
    let authority = Authority::new();
    let mounts = [authority.mount(NAME), authority.mount(NAME)];
    let (producer, consumer) = tokio::join!(
        sidecar().mutual_tls(&mounts[0]).start(),
        sidecar().mutual_tls(&mounts[1]).start()
    );
    let payload = Payload::new(1, 20 << 20);
    let reference = producer.put_for(payload.bytes(), 2).await;
    let head = consumer.object("HEAD", &reference, &[]).await;
    assert_eq!(head.header("content-length"), (20 << 20).to_string());
    let part = consumer.object("GET", &reference, &[("range", "bytes=5-9")]).await;
    assert_eq!(part.body, payload.bytes().slice(5..10));
    assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
    assert_eq!(consumer.object("DELETE", &reference, &[]).await.status, 204);
    assert_eq!(consumer.get(&reference).await.problem(), "object-gone");
    producer.emptied().await;
}

/// What a client learns of the data port: bytes that are neither TLS nor an error.
async fn learned(connected: std::io::Result<impl AsyncReadAndWrite>) -> Vec<u8> {
    let Ok(mut stream) = connected else { return Vec::new() };
    let mut learned = Vec::new();
    within("a refusal", async {
        // TLS 1.3 tells a client of its refusal only after the client's own handshake is over.
        if stream.write_all(PREFACE).await.is_ok() {
            let _refused = stream.read_to_end(&mut learned).await;
        }
    })
    .await;
    learned
}

trait AsyncReadAndWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncReadAndWrite for T {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_and_learn_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mount = ours.mount(NAME);
    let producer = sidecar().mutual_tls(&mount).start().await;
    let data = producer.data();
    let client = || TlsClient::new(&[]).trusting(&ours).name(NAME).alpn(&["h2"]);
    let right = client().showing(&ours.certificate(NAME)).connect(data).await;
    let mut right = right;
    right.write_all(PREFACE).await.unwrap();
    let mut settings = [0; 9];
    right.read_exact(&mut settings).await.unwrap();
    assert_eq!(
        settings[3], 4,
        "a SETTINGS frame: a peer with the right certificate is served"
    );
    let strangers: [(&str, Option<Certificate>); 3] = [
        ("no certificate", None),
        ("another authority", Some(theirs.certificate(NAME))),
        ("another name", Some(ours.certificate("function.default.svc"))),
    ];
    for (what, shown) in strangers {
        let client = match &shown {
            Some(shown) => client().showing(shown),
            None => client(),
        };
        assert_eq!(learned(client.try_connect(data).await).await, b"", "{what}");
    }
    let answer = learned(TcpStream::connect(data).await).await;
    assert!(
        !answer.windows(4).any(|part| part == b"\x04\0\0\0"),
        "plaintext: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_sees_the_same_error_whatever_the_producer_took_exception_to() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mounts = [ours.mount(NAME), theirs.mount(NAME)];
    let (producer, plain_producer) = tokio::join!(sidecar().mutual_tls(&mounts[0]).start(), sidecar().start());
    let (stranger, plain) = tokio::join!(
        sidecar().mutual_tls(&mounts[1]).allow(REFUSED).start(),
        sidecar().start()
    );
    let reference = producer.put("secret").await;
    let unprotected = plain_producer.put("secret").await;
    let answers = [
        stranger.get(&reference).await,
        plain.get(&reference).await,
        stranger.get(&unprotected).await,
    ];
    for answer in &answers {
        assert_eq!(answer.problem(), "producer-unreachable");
        assert_eq!(answer.text(), answers[0].text());
    }
    assert_eq!(producer.status().await.held(), 1, "no retrieval was used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_while_running() {
    let (old, new) = (Authority::new(), Authority::new());
    let mounts: [Mount; 2] = [old.mount(NAME), old.mount(NAME)];
    let start = |mount| {
        sidecar()
            .mutual_tls(mount)
            .allow("the new certificates")
            .allow(REFUSED)
            .start()
    };
    let (producer, consumer) = tokio::join!(start(&mounts[0]), start(&mounts[1]));
    let reference = producer.put_for("held", 2).await;
    mounts[0].swap(&[("tls.crt", "broken"), ("tls.key", "broken"), ("ca.crt", "broken")]);
    producer.logged("the old ones stay").await;
    assert_eq!(consumer.get(&reference).await.text(), "held");
    for mount in &mounts {
        let own = new.certificate(NAME);
        mount.swap(&[("tls.crt", &own.pem), ("tls.key", &own.key), ("ca.crt", &new.pem())]);
    }
    for sidecar in [&producer, &consumer] {
        sidecar.logged("the certificates of the data port were reloaded").await;
    }
    let mount = new.mount(NAME);
    let late = sidecar().mutual_tls(&mount).start().await;
    assert_eq!(late.get(&reference).await.text(), "held");
    let client = TlsClient::new(&[])
        .trusting(&new)
        .name(NAME)
        .showing(&old.certificate(NAME));
    let refused = learned(client.try_connect(producer.data()).await).await;
    assert_eq!(refused, b"");
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_their_variable() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mount = authority.mount(NAME);
    let certificate = mount.path().join("tls.crt").display().to_string();
    let misnamed = other.mount("another-name");
    for (builder, part) in [
        (sidecar().env("XDT_TLS_CERT_FILE", &certificate), "XDT_TLS_KEY_FILE"),
        (
            sidecar().mutual_tls(&mount).env("XDT_TLS_CA_FILE", "/nonexistent"),
            "XDT_TLS_CA_FILE",
        ),
        (sidecar().mutual_tls(&misnamed), NAME),
    ] {
        let output = builder.run();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(part), "{told}");
    }
}
