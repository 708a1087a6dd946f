//! The egress proxy: unchanged code calls other functions, and large bodies travel as objects (contract, section 5).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{Ipv4Addr, SocketAddr};

use http::Version;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use xdt_testkit::{
    Answer, Body, Builder, Digest, Http1, Http2, Payload, RawConnection, Script, Sidecar, UserContainer, bytes_body,
    empty_body, http::request, within,
};

/// Sizes around the inline limit, and large ones.
const SIZES: [u64; 6] = [0, 1, 65_536, 65_537, 1_000_003, 10 << 20];

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A sidecar whose egress proxy converts calls to `address`.
async fn caller_of(address: SocketAddr, builder: Builder) -> Sidecar {
    builder.env("XDT_EGRESS_HOSTS", &address.ip().to_string()).start().await
}

/// A function behind its sidecar, and the sidecar of its caller.
async fn function_and_caller(script: Script) -> (UserContainer, Sidecar, Sidecar) {
    let user = UserContainer::start(script);
    let function = sidecar().user_port(user.port()).start().await;
    let caller = caller_of(function.serving(), sidecar()).await;
    (user, function, caller)
}

/// One call through the egress proxy, as HTTP libraries make it.
async fn call(caller: &Sidecar, callee: SocketAddr, body: Body) -> Answer {
    let url = format!("http://{callee}/work?x=1");
    let headers = [("host", "named.example"), ("content-type", "text/plain")];
    let mut proxy = Http1::open(caller.egress()).await;
    proxy.fetch(request("POST", url, &headers, body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_the_inline_limit_cross_as_objects_and_others_as_they_are() {
    let (user, function, caller) = function_and_caller(Script::Echo).await;
    let mut by_reference = 0;
    for (seed, size) in (0..).zip(SIZES) {
        let payload = Payload::new(seed, size);
        for body in [bytes_body(payload.bytes()), payload.chunked()] {
            let answer = call(&caller, function.serving(), body).await;
            assert_eq!(answer.json()["digest"], payload.digest(), "{size} bytes");
            assert_eq!(answer.json()["target"], "/work?x=1");
            by_reference += u64::from(size > 65_536);
            assert_eq!(function.status().await.transfers("ok"), by_reference, "{size} bytes");
        }
    }
    for seen in user.seen() {
        assert_eq!(
            seen.header("host"),
            function.serving().to_string(),
            "RFC 9112, section 3.2.2"
        );
        assert_eq!(
            (seen.header("content-type"), seen.xdt_headers()),
            ("text/plain", vec![])
        );
        assert_eq!(seen.header("proxy-connection"), "");
    }
    caller.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_by_reference_becomes_an_ordinary_answer() {
    let (user, function, caller) = function_and_caller(Script::Echo).await;
    for (seed, size) in (0..).zip(SIZES) {
        let payload = Payload::new(seed, size);
        let headers = vec![("content-type", "text/answer"), ("x-custom", "kept")];
        user.follow(Script::Answer(201, headers, payload.clone()));
        let answer = call(&caller, function.serving(), empty_body()).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-custom")), (201, "kept"));
        assert_eq!(
            (answer.header("content-type"), answer.header("content-length")),
            ("text/answer", &*size.to_string())
        );
        assert_eq!(Digest::of(&answer.body), payload.digest(), "{size} bytes");
        user.follow(Script::AnswerChunked(payload.clone()));
        let chunked = call(&caller, function.serving(), empty_body()).await;
        assert_eq!(Digest::of(&chunked.body), payload.digest(), "{size} bytes");
        for name in ["xdt-reference", "xdt-object-size"] {
            assert_eq!((answer.header(name), chunked.header(name)), ("", ""));
        }
    }
    assert_eq!(caller.status().await.transfers("ok"), 6);
    function.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_and_forward_moves_the_same_bytes() {
    let stored = || sidecar().env("XDT_STREAMING", "store-and-forward");
    let user = UserContainer::start(Script::Echo);
    let function = stored().user_port(user.port()).start().await;
    let caller = caller_of(function.serving(), stored()).await;
    for (seed, size) in (0..).zip(SIZES) {
        let payload = Payload::new(seed, size);
        for body in [bytes_body(payload.bytes()), payload.chunked()] {
            user.follow(Script::Echo);
            let answer = call(&caller, function.serving(), body).await;
            assert_eq!(answer.json()["digest"], payload.digest(), "{size} bytes");
        }
        for script in [
            Script::Answer(200, vec![], payload.clone()),
            Script::AnswerChunked(payload.clone()),
        ] {
            user.follow(script);
            let answer = call(&caller, function.serving(), empty_body()).await;
            assert_eq!(Digest::of(&answer.body), payload.digest(), "{size} bytes");
        }
    }
    caller.emptied().await;
    function.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_call_keeps_protocol_and_trailers_both_ways() {
    let (user, function, caller) = function_and_caller(Script::Grpc).await;
    let mut proxy = Http2::open(caller.egress()).await;
    for (seed, size) in [(1, 1_000), (2, 3_000_000)] {
        let payload = Payload::new(seed, size);
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let url = format!("http://{}/pkg.Service/Method", function.serving());
        let answer = proxy.fetch(request("POST", url, &headers, payload.chunked())).await;
        assert_eq!(
            (answer.status.as_u16(), Digest::of(&answer.body)),
            (200, payload.digest())
        );
        assert_eq!(answer.trailers.unwrap()["x-bytes"], size.to_string());
        assert_eq!(user.seen().last().unwrap().version, Version::HTTP_2);
    }
    assert_eq!(function.status().await.transfers("ok"), 1);
    caller.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_have_not_opted_in_see_everything_untouched() {
    let stranger = UserContainer::start(Script::Echo);
    let caller = sidecar().start().await;
    let payload = Payload::new(1, 2_000_000);
    for body in [bytes_body(payload.bytes()), payload.chunked()] {
        let answer = call(&caller, stranger.address(), body).await;
        assert_eq!(answer.json()["digest"], payload.digest());
        let seen = stranger.seen().pop().unwrap();
        assert_eq!((seen.xdt_headers(), seen.bytes), (vec![], 2_000_000));
    }
    let own = vec![("xdt-reference", "the stranger's own"), ("xdt-object-size", "1")];
    stranger.follow(Script::Answer(200, own, payload.clone()));
    let answer = call(&caller, stranger.address(), empty_body()).await;
    assert_eq!(answer.header("xdt-reference"), "the stranger's own");
    assert_eq!((answer.header("xdt-object-size"), answer.body.len()), ("1", 2_000_000));
    assert_eq!(caller.status().await.0["transfers"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_itself_is_no_target_however_it_is_spelled() {
    let user = UserContainer::start(Script::Echo);
    let caller = caller_of(([127, 0, 0, 1], 0).into(), sidecar().user_port(user.port())).await;
    let std::net::IpAddr::V4(ip) = caller.egress().ip() else {
        unreachable!()
    };
    let [a, b, c, d] = ip.octets();
    let hosts = [
        ip.to_string(),
        format!("[::ffff:{ip}]"),
        format!(
            "[::ffff:{:x}:{:x}]",
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d])
        ),
        ip.to_bits().to_string(),
        format!("0x{:x}", ip.to_bits()),
        format!("0{a:o}.{b}.{c}.{d}"),
        format!("{a}.{b}.{}", u16::from_be_bytes([c, d])),
    ];
    let ports = [
        caller.egress(),
        caller.local(),
        caller.data(),
        caller.serving(),
        caller.admin(),
        caller.stats(),
    ];
    for host in &hosts {
        for port in ports.map(|address| address.port()) {
            for method in ["POST", "CONNECT"] {
                let target = match method {
                    "CONNECT" => format!("{host}:{port}"),
                    _ => format!("http://{host}:{port}/xdt/v1/status"),
                };
                let mut raw = RawConnection::open(caller.egress()).await;
                raw.send(format!(
                    "{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
                ))
                .await;
                let head = raw.head().await;
                assert!(head.starts_with("HTTP/1.1 400"), "{method} {target}: {head}");
                assert!(head.contains("xdt-error: bad-request"), "{method} {target}: {head}");
            }
        }
    }
    for target in [
        "/origin/form",
        "https://example.invalid/",
        "http://user@example.invalid/",
    ] {
        let mut raw = RawConnection::open(caller.egress()).await;
        raw.send(format!("GET {target} HTTP/1.1\r\nhost: {ip}:8015\r\n\r\n"))
            .await;
        let head = raw.head().await;
        assert!(head.contains("xdt-error: bad-request"), "{target}: {head}");
    }
    assert_eq!(user.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_a_tunnel_that_nobody_looks_into() {
    let target = UserContainer::start(Script::Echo);
    let caller = caller_of(target.address(), sidecar()).await;
    let mut raw = RawConnection::open(caller.egress()).await;
    let address = target.address();
    raw.send(format!("CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n"))
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200"));
    let payload = Payload::new(1, 500_000);
    raw.send(format!(
        "POST /in HTTP/1.1\r\nhost: t\r\nxdt-reference: kept\r\ncontent-length: {}\r\n\r\n",
        payload.size()
    ))
    .await;
    raw.send(payload.bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200"));
    let seen = target.only();
    assert_eq!(
        (seen.digest.clone(), seen.header("xdt-reference")),
        (payload.digest(), "kept")
    );
    let mut closed = RawConnection::open(caller.egress()).await;
    closed.send("CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(closed.head().await.starts_with("HTTP/1.1 502"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_a_callee_without_xdt_is_seen_once_and_its_object_is_freed() {
    let callee = UserContainer::start(Script::Status(415));
    let caller = caller_of(callee.address(), sidecar()).await;
    for (turn, body) in [
        bytes_body(Payload::new(1, 1_000_000).bytes()),
        Payload::new(2, 5_000_000).chunked(),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = call(&caller, callee.address(), body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (415, 0));
        assert_eq!(callee.calls(), turn + 1);
        let seen = callee.seen().pop().unwrap();
        assert_eq!((seen.bytes, seen.header("xdt-accept")), (0, "reference"));
        assert!(seen.header("xdt-reference").starts_with("xdt1."));
        caller.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callee_that_cannot_be_reached_leaves_no_object_behind() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let caller = caller_of(nobody, sidecar()).await;
    for body in [
        bytes_body(Payload::new(1, 1_000_000).bytes()),
        Payload::new(2, 5_000_000).chunked(),
    ] {
        let answer = call(&caller, nobody, body).await;
        assert_eq!(answer.status, 502);
        assert!(!answer.text().contains("127."), "{}", answer.text());
        caller.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_connection_dies_is_never_repeated() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    // Answers the first request of a connection and hangs up on the second.
    let callee = tokio::spawn(async move {
        let mut requests = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answers in [true, false] {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if socket.read_buf(&mut head).await.unwrap() == 0 {
                        return requests;
                    }
                }
                requests += 1;
                if !answers {
                    break;
                }
                socket
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .unwrap();
            }
            if requests >= 2 {
                return requests;
            }
        }
    });
    let caller = caller_of(address, sidecar()).await;
    let body = || bytes_body(Payload::new(1, 500_000).bytes());
    assert_eq!(call(&caller, address, body()).await.status, 200);
    assert_eq!(call(&caller, address, body()).await.status, 502);
    assert_eq!(within("the callee ends", callee).await.unwrap(), 2);
    caller.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_leaves_no_object_behind() {
    let callee = UserContainer::start(Script::Hold);
    for mode in ["cut-through", "store-and-forward"] {
        let caller = caller_of(callee.address(), sidecar().env("XDT_STREAMING", mode)).await;
        let before = callee.calls();
        let mut raw = RawConnection::open(caller.egress()).await;
        let payload = Payload::new(1, 200_000);
        raw.send(format!(
            "POST http://{}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n",
            callee.address()
        ))
        .await;
        raw.send(payload.bytes()).await;
        callee.called(before + 1).await;
        assert_eq!(caller.status().await.held(), 1, "{mode}");
        drop(raw);
        caller.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_finds_no_buffer_in_time_is_busy_and_the_callee_never_hears_of_it() {
    let callee = UserContainer::start(Script::Hold);
    let one_buffer = sidecar().env("XDT_INVOKE_BUFFERS", "1").env("XDT_BUFFER_WAIT", "300ms");
    let caller = caller_of(callee.address(), one_buffer).await;
    let body = || bytes_body(Payload::new(1, 500_000).bytes());
    let first = call(&caller, callee.address(), body());
    let second = async {
        callee.called(1).await;
        assert_eq!(caller.status().await.pool_used(), 1 << 20);
        let answer = call(&caller, callee.address(), body()).await;
        assert_eq!(answer.problem(), "busy");
        callee.release(1);
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!((first.status.as_u16(), callee.calls()), (200, 1));
    caller.emptied().await;
}
