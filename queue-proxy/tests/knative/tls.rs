//! The TLS port (contract of the queue-proxy, section 10; checklist 132 to 138, and the TLS parts of 58 and 97).

use std::{net::SocketAddr, process::Output};

use rustls::{
    AlertDescription, CipherSuite, Error, ProtocolVersion,
    crypto::aws_lc_rs::{cipher_suite, kx_group},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use xdt_queue_proxy::server::tls::p521::SECP521R1;
use xdt_testkit::{
    Answer, Builder, Certificate, Http1, Http2, Mount, Outcome, RawConnection, Script, Sidecar, TlsClient,
    UserContainer, empty_body, eventually, http::request,
};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

async fn over_http1(stream: TlsStream<TcpStream>) -> Answer {
    let mut client = Http1::over(stream).await;
    client
        .fetch(request("GET", "/path", &[("host", "name")], empty_body()))
        .await
}

async fn over_http2(stream: TlsStream<TcpStream>) -> Answer {
    let mut client = Http2::over(stream).await;
    client
        .fetch(request("GET", "https://name/path", &[], empty_body()))
        .await
}

/// What the sidecar said when it refused the handshake.
async fn alert(client: &TlsClient, address: SocketAddr) -> AlertDescription {
    let error = client.try_connect(address).await.expect_err("refused");
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => *alert,
        other => panic!("no alert but {other:?} ({error})"),
    }
}

fn version(stream: &TlsStream<TcpStream>) -> ProtocolVersion {
    stream.get_ref().1.protocol_version().unwrap()
}

fn ends_with_an_emergency(output: &Output, part: &str) {
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    let line = log.lines().find(|line| line.contains(part)).expect(&log);
    assert!(line.contains(r#""severity":"EMERGENCY""#), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c132_the_tls_port_serves_both_protocols_and_the_plain_port_stays() {
    let (user, certificate) = (UserContainer::start(Script::Echo), Certificate::new(&[]));
    let mount = Mount::new(&certificate);
    let sidecar = sidecar().user_port(user.port()).certificate(&mount).start().await;
    let client = TlsClient::new(&[&certificate]);
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["other", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = client.clone().alpn(offered).connect(sidecar.tls()).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
        let answer = match chosen {
            Some(b"h2") => over_http2(stream).await,
            _ => over_http1(stream).await,
        };
        assert_eq!(
            (answer.status.as_u16(), answer.json()["target"].as_str()),
            (200, Some("/path"))
        );
    }
    let refused = alert(&client.clone().alpn(&["other"]), sidecar.tls()).await;
    assert_eq!(refused, AlertDescription::NoApplicationProtocol);
    let plain = sidecar.invoke("/plain", &[], empty_body()).await;
    assert_eq!(plain.json()["target"], "/plain");
    let versions: Vec<_> = user.seen().iter().map(|seen| seen.version).collect();
    let (h1, h2) = (http::Version::HTTP_11, http::Version::HTTP_2);
    assert_eq!(versions, [h2, h2, h1, h1, h1, h1], "each goes on as it came");
    for seen in user.seen() {
        assert_eq!(
            seen.header("x-forwarded-proto"),
            "",
            "TLS leaves no trace in the headers"
        );
        assert_eq!(seen.header("forwarded"), "");
        assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c132_probes_are_answered_over_tls() {
    let (user, certificate) = (UserContainer::start(Script::Echo), Certificate::new(&[]));
    let mount = Mount::new(&certificate);
    let sidecar = sidecar().user_port(user.port()).certificate(&mount).start().await;
    let mut client = Http1::over(TlsClient::new(&[&certificate]).connect(sidecar.tls()).await).await;
    let headers = &[
        ("host", "x"),
        ("user-agent", "Knative-Activator-Probe"),
        ("k-network-probe", "queue"),
    ];
    let probe = client.fetch(request("GET", "/", headers, empty_body())).await;
    assert_eq!(probe.text(), "queue");
    assert_eq!(user.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c133_only_tls_1_3_unless_told_otherwise() {
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let user = UserContainer::start(Script::Echo);
    let (only_12, only_13, both) = (&[&TLS12][..], &[&TLS13][..], &[&TLS13, &TLS12][..]);
    let (v12, v13) = (Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3));
    for (min, max, expected) in [
        ("", "", [None, v13, v13]),
        ("1.3", "1.3", [None, v13, v13]),
        ("1.2", "", [v12, v13, v13]),
        ("1.2", "1.2", [v12, None, v12]),
    ] {
        let sidecar = sidecar()
            .user_port(user.port())
            .certificate(&mount)
            .env("QUEUE_PROXY_TLS_MIN_VERSION", min)
            .env("QUEUE_PROXY_TLS_MAX_VERSION", max)
            .start()
            .await;
        for (offered, expected) in [only_12, only_13, both].into_iter().zip(expected) {
            let client = TlsClient::new(&[&certificate]).versions(offered);
            let Some(expected) = expected else {
                let refused = alert(&client, sidecar.tls()).await;
                assert_eq!(refused, AlertDescription::ProtocolVersion, "{min} to {max}");
                continue;
            };
            let stream = client.connect(sidecar.tls()).await;
            assert_eq!(version(&stream), expected, "{min} to {max}");
            assert_eq!(over_http1(stream).await.status, 200);
        }
    }
    for (name, value) in [
        ("QUEUE_PROXY_TLS_MIN_VERSION", "1.1"),
        ("QUEUE_PROXY_TLS_MIN_VERSION", "TLS1.3"),
        ("QUEUE_PROXY_TLS_MAX_VERSION", "1.4"),
    ] {
        let output = sidecar().certificate(&mount).env(name, value).run();
        ends_with_an_emergency(&output, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c134_any_name_and_none_get_the_certificate() {
    let certificate = Certificate::new(&["other.example", "kn-user-default"]);
    let mount = Mount::new(&certificate);
    let sidecar = sidecar().certificate(&mount).start().await;
    let client = TlsClient::new(&[&certificate]);
    for client in [
        client.clone(),
        client.clone().name("other.example"),
        client.clone().name("kn-user-default"),
        client.clone().without_sni(),
    ] {
        assert!(certificate.is_shown(&client.connect(sidecar.tls()).await));
    }
    let stranger = client.name("stranger.example").try_connect(sidecar.tls()).await;
    let why = stranger.expect_err("the name is not on the certificate").to_string();
    assert!(
        why.contains("not valid for name"),
        "the certificate came all the same: {why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c137_one_file_alone_means_no_tls_and_a_broken_pair_ends_the_process() {
    let (certificate, other) = (Certificate::new(&[]), Certificate::new(&[]));
    for alone in [("tls.crt", certificate.pem.as_str()), ("tls.key", &certificate.key)] {
        let sidecar = sidecar().certificate(&Mount::of(&[alone])).start().await;
        assert!(TcpStream::connect(sidecar.tls()).await.is_err(), "{}", alone.0);
    }
    for (certificate, key) in [
        (&other.pem[..], &certificate.key[..]),
        (&certificate.pem, ""),
        ("", &certificate.key),
        (&certificate.key, &certificate.pem),
    ] {
        let mount = Mount::of(&[("tls.crt", certificate), ("tls.key", key)]);
        ends_with_an_emergency(&sidecar().certificate(&mount).run(), "failed to parse certificate");
    }
    let mount = Mount::new(&certificate);
    let file = mount.path().join("tls.crt").display().to_string();
    let output = sidecar().env("XDT_SERVING_CERTS_DIR", &file).run();
    ends_with_an_emergency(&output, "Failed to verify the file path");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c138_cipher_suites_are_honoured_and_unknown_names_end_the_process() {
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let name = "QUEUE_PROXY_TLS_CIPHER_SUITES";
    let two = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
    let sidecar_12 = sidecar()
        .certificate(&mount)
        .env("QUEUE_PROXY_TLS_MIN_VERSION", "1.2")
        .env("QUEUE_PROXY_TLS_MAX_VERSION", "1.2")
        .env(name, two)
        .allow("cipher suites that this proxy does not have are left out")
        .start()
        .await;
    let client = TlsClient::new(&[&certificate]).versions(&[&TLS12]);
    let stream = client.connect(sidecar_12.tls()).await;
    let chosen = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(chosen, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let gcm = client.offering(|provider| {
        provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    });
    assert_eq!(alert(&gcm, sidecar_12.tls()).await, AlertDescription::HandshakeFailure);
    let rsa = Certificate::rsa();
    let rsa_mount = Mount::new(&rsa);
    for (suite, negotiated) in [
        (
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
    ] {
        let sidecar = sidecar()
            .certificate(&rsa_mount)
            .env("QUEUE_PROXY_TLS_MIN_VERSION", "1.2")
            .env(name, suite)
            .start()
            .await;
        let stream = TlsClient::new(&[&rsa]).versions(&[&TLS12]).connect(sidecar.tls()).await;
        let chosen = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(chosen, negotiated);
        // The list is one for TLS 1.2: what 1.3 has is not chosen from it.
        let stream = TlsClient::new(&[&rsa]).connect(sidecar.tls()).await;
        assert_eq!(version(&stream), ProtocolVersion::TLSv1_3);
    }
    for unknown in ["TLS_RSA_WITH_RC4_128_SHA", "AES128-SHA"] {
        ends_with_an_emergency(&sidecar().certificate(&mount).env(name, unknown).run(), name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c138_curves_are_honoured_and_unknown_names_end_the_process() {
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let name = "QUEUE_PROXY_TLS_CURVE_PREFERENCES";
    let offering = |group| TlsClient::new(&[&certificate]).offering(|provider| provider.kx_groups = vec![group]);
    let all = [
        kx_group::X25519,
        kx_group::X25519MLKEM768,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
        SECP521R1,
    ];
    for (text, named) in [
        ("X25519", &[kx_group::X25519][..]),
        ("X25519MLKEM768", &[kx_group::X25519MLKEM768]),
        ("CurveP256", &[kx_group::SECP256R1]),
        ("P-256", &[kx_group::SECP256R1]),
        ("P-521, P-384", &[SECP521R1, kx_group::SECP384R1]),
        ("CurveP521", &[SECP521R1]),
    ] {
        let sidecar = sidecar().certificate(&mount).env(name, text).start().await;
        for group in all {
            if named.iter().any(|named| named.name() == group.name()) {
                let stream = offering(group).connect(sidecar.tls()).await;
                let chosen = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
                assert_eq!(chosen.name(), group.name());
            } else {
                let refused = alert(&offering(group), sidecar.tls()).await;
                assert_eq!(refused, AlertDescription::HandshakeFailure, "{text}");
            }
        }
    }
    for unknown in ["secp256r1", "X448"] {
        ends_with_an_emergency(&sidecar().certificate(&mount).env(name, unknown).run(), name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c58_one_request_at_a_time_over_any_mix_of_plain_h2c_and_tls() {
    const ROUNDS: usize = 4;
    let (user, certificate) = (UserContainer::start(Script::Hold), Certificate::new(&[]));
    let mount = Mount::new(&certificate);
    let sidecar = sidecar()
        .user_port(user.port())
        .certificate(&mount)
        .env("CONTAINER_CONCURRENCY", "1")
        .start()
        .await;
    let client = TlsClient::new(&[&certificate]);
    let mut calls = tokio::task::JoinSet::new();
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            let stream = client.connect(sidecar.tls()).await;
            calls.spawn(async move { over_http1(stream).await });
        } else {
            let stream = client.clone().alpn(&["h2"]).connect(sidecar.tls()).await;
            calls.spawn(async move { over_http2(stream).await });
        }
        let plain = sidecar.serving();
        let url = format!("http://{plain}/");
        let copy = url.clone();
        calls.spawn(async move {
            Http1::open(plain)
                .await
                .fetch(request("GET", "/", &[("host", "x")], empty_body()))
                .await
        });
        if round < ROUNDS - 2 {
            calls.spawn(async move {
                Http2::open(plain)
                    .await
                    .fetch(request("GET", copy, &[], empty_body()))
                    .await
            });
        }
    }
    let all = calls.len();
    assert!(all <= 11, "no more than the queue holds");
    for done in 0..all {
        user.called(done + 1).await;
        user.release(1);
        let answer = calls.join_next().await.unwrap().unwrap();
        assert_eq!(answer.status, 200);
        let running = user.seen().iter().filter(|seen| seen.outcome == Outcome::Begun).count();
        assert!(running <= 1 && user.calls() <= done + 2, "{running} at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c97_the_admin_port_is_plain_with_certificates_mounted() {
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let sidecar = sidecar().certificate(&mount).start().await;
    for (address, path, status) in [
        (sidecar.admin(), "/wait-for-drain", 200),
        (sidecar.admin(), "/other", 404),
        (sidecar.stats(), "/metrics", 200),
    ] {
        let url = format!("http://{address}{path}");
        let answer = sidecar.client().fetch(request("GET", url, &[], empty_body())).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_on_the_tls_port_gets_the_answer_of_stock() {
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let sidecar = sidecar().certificate(&mount).start().await;
    for beginning in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD ",
        "OPTIONS * HTTP/1.1\r\n",
    ] {
        let mut client = RawConnection::open(sidecar.tls()).await;
        client.send(beginning).await;
        let rest = client.rest().await;
        assert_eq!(
            String::from_utf8_lossy(&rest.bytes),
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        );
        assert!(rest.closed, "closed in order");
    }
    eventually("the port goes on", async || {
        TlsClient::new(&[&certificate]).try_connect(sidecar.tls()).await.ok()
    })
    .await;
}
