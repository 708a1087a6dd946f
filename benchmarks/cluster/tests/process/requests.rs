//! Requests through the ingress: found, forwarded, streamed.

use std::convert::Infallible;

use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use xdt_cluster::{Cluster, Spec};

use crate::world::{ask, echo, options, send, send_to, start, text};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn both_protocols_reach_the_function_with_whole_bodies() {
    let cluster = start(echo("echo", &[])).await;
    let body: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    for version in VERSIONS {
        let answer = send(&cluster, "echo", "/x", version, &body).await;
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        assert!(
            answer.into_body().collect().await.unwrap().to_bytes() == body,
            "{version:?}"
        );
    }
    cluster.stop().await;
}

#[tokio::test]
async fn instances_on_one_node_share_its_directory() {
    let function = echo("echo", &[]).instances(2, 2);
    let spec = Spec::default().on_one_node().function(function);
    let cluster = Cluster::start(spec, options()).await.unwrap();
    let sockets = std::fs::read_dir(cluster.run_dir().join("node")).unwrap();
    assert_eq!(sockets.count(), 2, "one for each sidecar");
    cluster.stop().await;
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    // Over HTTP/1.1 an answer otherwise waits for the rest of the request, as with the stock sidecar.
    let spec = Spec::default()
        .function(echo("echo", &[]))
        .sidecar_env("ENABLE_HTTP_FULL_DUPLEX", "true");
    let cluster = Cluster::start(spec, options()).await.unwrap();
    for version in VERSIONS {
        let (input, mut chunks) = mpsc::channel::<Bytes>(1);
        let frames = futures_util::stream::poll_fn(move |context| {
            chunks
                .poll_recv(context)
                .map(|chunk| chunk.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))))
        });
        input.send(Bytes::from("first")).await.unwrap();
        let host = "echo.default.localhost";
        let answer = send_to(cluster.ingress(), host, "/", version, StreamBody::new(frames)).await;
        let mut echoed = answer.into_body();
        for chunk in ["first", "second", "third"] {
            // The next chunk is sent only after this one has come back: nothing may wait for the end of a body.
            assert_eq!(
                echoed.frame().await.unwrap().unwrap().into_data().unwrap(),
                chunk,
                "{version:?}"
            );
            if chunk != "third" {
                input
                    .send(Bytes::from(if chunk == "first" { "second" } else { "third" }))
                    .await
                    .unwrap();
            }
        }
        drop(input);
        assert!(echoed.collect().await.unwrap().to_bytes().is_empty());
    }
    cluster.stop().await;
}

#[tokio::test]
async fn the_function_learns_its_place_and_where_requests_come_from() {
    let cluster = start(echo("echo", &[]).env("OWN", "value")).await;
    let instance = cluster.instances("echo").unwrap().remove(0);
    let env = ask(&cluster, "echo", "/env").await;
    for line in [
        format!("PORT={}", instance.user_port),
        "K_SERVICE=echo".into(),
        "K_REVISION=echo-00001".into(),
        "K_CONFIGURATION=echo".into(),
        format!("XDT_LOCAL_ADDRESS={}", instance.local()),
        format!("XDT_EGRESS_ADDRESS={}", instance.egress()),
        format!("XDT_LOCAL_SOCKET=@xdt.v1.{}", instance.pod),
        format!("XDT_CLUSTER_INGRESS={}", cluster.ingress()),
        "OWN=value".into(),
    ] {
        assert!(env.lines().any(|have| have == line), "{line} in {env}");
    }
    assert!(
        !env.contains("HTTP_PROXY") && !env.contains("CARGO"),
        "the environment is clean: {env}"
    );
    let headers = ask(&cluster, "echo", "/headers").await;
    for line in [
        "host=echo.default.localhost",
        "x-forwarded-host=echo.default.localhost",
        "x-forwarded-proto=http",
    ] {
        assert!(headers.lines().any(|have| have == line), "{line} in {headers}");
    }
    assert!(headers.contains("x-forwarded-for=127.0.0.1"), "{headers}");
    cluster.stop().await;
}

#[tokio::test]
async fn hosts_are_found_with_any_port_and_unknown_ones_are_told() {
    let spec = Spec::default()
        .function(echo("one", &[]))
        .function(echo("two", &[]).instances(0, 1));
    let cluster = Cluster::start(spec, options()).await.unwrap();
    assert_eq!(
        cluster.url("one").unwrap(),
        format!("http://one.default.localhost:{}", cluster.ingress().port())
    );
    for version in VERSIONS {
        let host = "ONE.default.localhost:8080";
        let known = send_to(cluster.ingress(), host, "/pid", version, Full::default()).await;
        assert_eq!(known.status(), StatusCode::OK);
        let unknown = send_to(
            cluster.ingress(),
            "three.default.localhost",
            "/",
            version,
            Full::default(),
        )
        .await;
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
        let told = text(unknown).await;
        assert!(told.contains("one.default.localhost, two.default.localhost"), "{told}");
    }
    assert!(cluster.url("three").unwrap_err().to_string().contains("one, two"));
    cluster.stop().await;
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let cluster = start(echo("echo", &[])).await;
    let mut socket = TcpStream::connect(cluster.ingress()).await.unwrap();
    let head = "GET /upgrade HTTP/1.1\r\nhost: echo.default.localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101 ") && answer.contains("upgrade: echo"),
        "{answer}"
    );
    for word in ["ping", "pong"] {
        socket.write_all(word.as_bytes()).await.unwrap();
        let mut echoed = [0; 4];
        socket.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, word.as_bytes());
    }
    cluster.stop().await;
}
