//! How each kind of probe asks, and what passes (contract, section 5.4).

use std::sync::Arc;

use serde_json::json;
use tokio_rustls::TlsAcceptor;
use xdt_testkit::{Certificate, Script, UserContainer, within};

use super::{
    kit::{NOT_READY, RawContainer, answer, head, http, is_ready, probing, sidecar},
    servers::{Health, Http2Only},
};

#[tokio::test]
async fn c86_status_200_to_399_is_ready() {
    for (status, ready) in [
        (200, true),
        (204, true),
        (299, true),
        (302, true),
        (304, true),
        (399, true),
        (400, false),
        (404, false),
        (500, false),
        (503, false),
        (101, false),
        (999, false),
    ] {
        let container = RawContainer::with_status(status).await;
        let sidecar = probing(&http(container.port(), "/")).allow(NOT_READY).start().await;
        assert_eq!(is_ready(&sidecar).await, ready, "{status}");
        if !ready {
            let text = format!("HTTP probe did not respond Ready, got status code: {status}");
            sidecar.logged(&text).await;
        }
    }
}

#[tokio::test]
async fn c86_the_request_is_stocks() {
    let container = RawContainer::with_status(200).await;
    let mut probe = http(container.port(), "healthz?full=1");
    probe["httpGet"]["httpHeaders"] = json!([
        {"name": "x-one", "value": "1"},
        {"name": "X-One", "value": "2"},
        {"name": "User-Agent", "value": "mine"},
        {"name": "host", "value": "elsewhere"},
        {"name": "Content-Length", "value": "5"},
        {"name": "Empty", "value": ""},
    ]);
    let sidecar = probing(&probe).start().await;
    assert!(is_ready(&sidecar).await);
    let head = container.heads().remove(0);
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /healthz?full=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("Host: 127.0.0.1:{}", container.port());
    let mut expected = [
        host.as_str(),
        "User-Agent: kube-probe//",
        "X-One: 1",
        "X-One: 2",
        "Empty: ",
        "Accept-Encoding: gzip",
        "Connection: close",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn c86_headers_that_cannot_be_sent_are_not_ready() {
    let container = RawContainer::with_status(200).await;
    let mut probe = http(container.port(), "/");
    probe["httpGet"]["httpHeaders"] = json!([{"name": "a b", "value": "1"}]);
    let sidecar = probing(&probe).allow(NOT_READY).start().await;
    assert!(!is_ready(&sidecar).await);
    assert_eq!(container.connections(), 0);
}

#[tokio::test]
async fn c86_redirects_are_followed_as_gos_client_does() {
    let elsewhere = RawContainer::with_status(204).await;
    let to = format!("http://localhost:{}/there", elsewhere.port());
    let container = RawContainer::answering(move |number, _| match number {
        0 => "HTTP/1.1 302 Found\r\nLocation: b/../c?x\r\n\r\n".to_owned(),
        1 => "HTTP/1.1 307 Temporary Redirect\r\nLocation: /d#part\r\n\r\n".to_owned(),
        2 => format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
        _ => answer(500),
    })
    .await;
    let mut probe = http(container.port(), "/a/");
    let headers = [("Authorization", "secret"), ("Cookie", "c"), ("X-Plain", "p")];
    let headers = headers.map(|(name, value)| json!({"name": name, "value": value}));
    probe["httpGet"]["httpHeaders"] = json!(headers);
    let sidecar = probing(&probe).start().await;
    assert!(is_ready(&sidecar).await);
    let heads = container.heads();
    let line = |head: &str| head.lines().next().unwrap_or_default().to_owned();
    let lines: Vec<String> = heads.iter().map(|head| line(head)).collect();
    assert_eq!(lines, ["GET /a/ HTTP/1.1", "GET /a/c?x HTTP/1.1", "GET /d HTTP/1.1"]);
    let base = format!("http://127.0.0.1:{}", container.port());
    assert!(heads[1].contains("Authorization: secret\r\n"), "the same host");
    assert!(heads[1].contains(&format!("Referer: {base}/a/\r\n")), "{}", heads[1]);
    let last = elsewhere.heads().remove(0);
    assert!(!last.contains("Authorization") && !last.contains("Cookie"), "{last}");
    assert!(
        last.contains("X-Plain: p\r\n") && last.contains(&format!("Referer: {base}/d\r\n")),
        "{last}"
    );
    assert!(last.contains("User-Agent: kube-probe//\r\n"));
}

#[tokio::test]
async fn c86_a_redirect_without_location_is_an_answer() {
    for status in [301, 303, 308] {
        let container = RawContainer::with_status(status).await;
        let sidecar = probing(&http(container.port(), "/")).start().await;
        assert!(is_ready(&sidecar).await, "{status}");
        assert_eq!(container.connections(), 1);
    }
}

#[tokio::test]
async fn c86_an_https_probe_takes_any_certificate() {
    let acceptor = acceptor(&Certificate::new(&["elsewhere"]));
    let container = RawContainer::start(move |_, socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut socket) = acceptor.accept(socket).await else {
                return;
            };
            let request = head(&mut socket).await;
            assert!(request.starts_with("GET /tls HTTP/1.1\r\n"), "{request}");
            // A prober that has left is the prober's business.
            let _left = tokio::io::AsyncWriteExt::write_all(&mut socket, answer(200).as_bytes()).await;
            let _left = tokio::io::AsyncWriteExt::shutdown(&mut socket).await;
        }
    })
    .await;
    let mut probe = http(container.port(), "/tls");
    probe["httpGet"]["scheme"] = "HTTPS".into();
    let ready = probing(&probe).start().await;
    assert!(is_ready(&ready).await);
    let plain = RawContainer::start(|_, mut socket| async move {
        let _left = tokio::io::AsyncWriteExt::write_all(&mut socket, answer(400).as_bytes()).await;
    })
    .await;
    probe["httpGet"]["port"] = plain.port().into();
    let sidecar = probing(&probe).allow(NOT_READY).start().await;
    assert!(!is_ready(&sidecar).await);
    sidecar.logged("the TLS handshake failed").await;
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = CertificateDer::from_pem_slice(certificate.pem.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a pair");
    Arc::new(config).into()
}

#[tokio::test]
async fn c91_grpc_serving_is_ready_and_everything_else_is_not() {
    for (health, ready, told) in [
        (Health::Status(1), true, ""),
        (
            Health::Status(2),
            false,
            "service unhealthy (responded with \\\"NOT_SERVING\\\")",
        ),
        (Health::Status(0), false, "UNKNOWN"),
        (
            Health::Unimplemented,
            false,
            "does not implement the grpc health protocol",
        ),
        (Health::NotFound, false, "does not implement the grpc health protocol"),
        (Health::NeverEnding, false, "no answer within 1s"),
        (Health::TooLong, false, "health rpc probe failed"),
    ] {
        let container = Http2Only::start(health);
        let probe = json!({
            "grpc": {"port": container.port(), "service": "some.Service"},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
        });
        let sidecar = probing(&probe).allow(NOT_READY).start().await;
        assert_eq!(within("a verdict", is_ready(&sidecar)).await, ready, "{health:?}");
        sidecar.logged(told).await;
        let call = container.calls().remove(0);
        assert_eq!(call.target, "/grpc.health.v1.Health/Check");
        assert_eq!(call.service, "some.Service");
        assert_eq!(call.header("content-type"), "application/grpc");
        assert_eq!(call.header("te"), "trailers");
        assert_eq!(call.header("grpc-timeout"), "1000m");
        assert!(call.header("user-agent").starts_with("kube-probe//"));
    }
}

#[tokio::test]
async fn c91_grpc_refused_and_http1_are_not_ready() {
    let http1 = RawContainer::with_status(400).await;
    for port in [1, http1.port()] {
        let probe = json!({"grpc": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 1});
        let sidecar = probing(&probe).allow(NOT_READY).start().await;
        assert!(!is_ready(&sidecar).await, "{port}");
    }
}

#[tokio::test]
async fn c91_grpc_without_a_service_asks_for_the_server_as_a_whole() {
    let container = Http2Only::start(Health::Status(1));
    let sidecar = probing(&json!({"grpc": {"port": container.port()}})).start().await;
    assert!(is_ready(&sidecar).await, "in aggressive mode too");
    assert_eq!(container.calls()[0].service, "");
}

/// What a container saw: protocol, and whether the probe's own header was there.
fn seen(user: &UserContainer) -> Vec<(http::Version, bool)> {
    let seen = user.seen().into_iter();
    seen.map(|seen| (seen.version, !seen.header("x-own").is_empty()))
        .collect()
}

#[tokio::test]
async fn c94_every_kind_of_server_is_detected() {
    let with_header = |port| {
        let mut probe = http(port, "/");
        probe["httpGet"]["httpHeaders"] = json!([{"name": "X-Own", "value": "1"}]);
        probing(&probe)
            .env("ENABLE_HTTP2_AUTO_DETECTION", "true")
            .allow(NOT_READY)
    };
    let dual = UserContainer::start(Script::Status(204));
    let sidecar = with_header(dual.port()).start().await;
    assert!(is_ready(&sidecar).await);
    let http2 = http::Version::HTTP_2;
    assert_eq!(seen(&dual), [(http2, false), (http2, true)]);
    assert!(is_ready(&sidecar).await);
    assert_eq!(dual.calls(), 4, "nothing is remembered");

    let only2 = Http2Only::start(Health::Http);
    assert!(is_ready(&with_header(only2.port()).start().await).await);
    let own: Vec<bool> = only2
        .calls()
        .iter()
        .map(|call| !call.header("x-own").is_empty())
        .collect();
    assert_eq!(own, [false, true]);

    let only1 = RawContainer::answering(|_, head| answer(if head.starts_with("GET ") { 200 } else { 400 })).await;
    assert!(is_ready(&with_header(only1.port()).start().await).await);
    let heads = only1.heads();
    assert!(heads[0].starts_with("PRI * HTTP/2.0"), "{heads:?}");
    assert!(
        heads[1].starts_with("GET / HTTP/1.1\r\n") && !heads[1].contains("X-Own"),
        "{heads:?}"
    );

    let unhealthy = UserContainer::start(Script::Status(500));
    assert!(!is_ready(&with_header(unhealthy.port()).start().await).await);
    let http11 = http::Version::HTTP_11;
    assert_eq!(seen(&unhealthy), [(http2, false), (http11, false)]);
}

/// A server that says nothing to the HTTP/2 preface must not use up the time of the HTTP/1.1 request.
#[tokio::test]
async fn c94_a_server_that_waits_for_more_of_the_preface_is_detected() {
    let container = RawContainer::start(|_, mut socket| async move {
        if !head(&mut socket).await.starts_with("GET ") {
            std::future::pending::<()>().await;
        }
        let _left = tokio::io::AsyncWriteExt::write_all(&mut socket, answer(200).as_bytes()).await;
    })
    .await;
    let probe = json!({"httpGet": {"port": container.port()}});
    let sidecar = probing(&probe).env("ENABLE_HTTP2_AUTO_DETECTION", "true").start().await;
    assert!(is_ready(&sidecar).await);
}

#[tokio::test]
async fn c94_without_the_switch_http2_is_not_tried() {
    let dual = UserContainer::start(Script::Status(204));
    let sidecar_without = probing(&http(dual.port(), "/")).start().await;
    assert!(is_ready(&sidecar_without).await);
    assert_eq!(seen(&dual), [(http::Version::HTTP_11, false)]);
    let only2 = Http2Only::start(Health::Http);
    let sidecar = sidecar()
        .env("SERVING_READINESS_PROBE", &http(only2.port(), "/").to_string())
        .allow(NOT_READY)
        .start()
        .await;
    assert!(!is_ready(&sidecar).await);
}
