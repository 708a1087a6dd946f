//! HTTP/2 conformance at frame level (RFC 9113, RFC 7541): what h2spec asks of a server, by hand, because no package
//! brings it. Each case has a connection of its own; afterwards the sidecar serves as before.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdt_testkit::{
    Frame, Heard, Neighbour, RawConnection, RawHttp2, Script, Sidecar, UserContainer,
    frames::{code, fields, flag, kind, literals},
};

const END: u8 = flag::END_STREAM | flag::END_HEADERS;

/// What must come of a case.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The connection ends with one of these codes (0: closed without a word counts too).
    Connection(&'static [u32]),
    /// Stream 1 is reset or refused with a status of 4xx; or the connection ends.
    Stream,
    /// Nothing: a request on stream 101 is answered.
    Ignored,
}

const PROTOCOL: Fate = Fate::Connection(&[code::PROTOCOL_ERROR]);
const SIZE: Fate = Fate::Connection(&[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR]);
const FLOW: Fate = Fate::Connection(&[code::FLOW_CONTROL_ERROR, code::PROTOCOL_ERROR]);
const COMPRESSION: Fate = Fate::Connection(&[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR]);
const CLOSED: Fate = Fate::Connection(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

fn headers(flags: u8, stream: u32, block: Vec<u8>) -> Frame {
    Frame::new(kind::HEADERS, flags, stream, block)
}

/// A request whose header block is malformed.
fn malformed(block: Vec<u8>) -> Vec<Frame> {
    vec![headers(END, 1, block)]
}

#[allow(clippy::too_many_lines)] // a table
fn connection_cases() -> Vec<(&'static str, Vec<Frame>, Fate)> {
    let get = || Frame::get(1, "/");
    vec![
        ("data on no stream", vec![frame(kind::DATA, 0, 0, b"x")], PROTOCOL),
        ("data on an idle stream", vec![frame(kind::DATA, 0, 1, b"x")], PROTOCOL),
        (
            "headers on no stream",
            vec![headers(END, 0, fields("GET", "/", &[]))],
            PROTOCOL,
        ),
        ("headers on an even stream", vec![Frame::get(2, "/")], PROTOCOL),
        (
            "a stream below the last",
            vec![Frame::get(5, "/"), Frame::get(3, "/")],
            CLOSED,
        ),
        (
            "a priority on no stream",
            vec![frame(kind::PRIORITY, 0, 0, &[0; 5])],
            PROTOCOL,
        ),
        ("a reset of no stream", vec![Frame::reset(0, 8)], PROTOCOL),
        ("a reset of an idle stream", vec![Frame::reset(1, 8)], PROTOCOL),
        (
            "a short reset",
            vec![get(), frame(kind::RST_STREAM, 0, 1, &[0; 3])],
            SIZE,
        ),
        ("settings on a stream", vec![frame(kind::SETTINGS, 0, 1, &[])], PROTOCOL),
        (
            "settings of five bytes",
            vec![frame(kind::SETTINGS, 0, 0, &[0; 5])],
            SIZE,
        ),
        (
            "an acknowledgement with a payload",
            vec![frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])],
            SIZE,
        ),
        ("push of two", vec![Frame::setting(2, 2)], PROTOCOL),
        ("a window beyond the largest", vec![Frame::setting(4, 1 << 31)], FLOW),
        ("frames below the least", vec![Frame::setting(5, 16_383)], PROTOCOL),
        ("frames beyond the largest", vec![Frame::setting(5, 1 << 24)], PROTOCOL),
        (
            "a promise of a client",
            vec![get(), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2])],
            PROTOCOL,
        ),
        ("a ping on a stream", vec![frame(kind::PING, 0, 1, &[0; 8])], PROTOCOL),
        ("a ping of seven bytes", vec![frame(kind::PING, 0, 0, &[0; 7])], SIZE),
        (
            "a goaway on a stream",
            vec![frame(kind::GOAWAY, 0, 1, &[0; 8])],
            PROTOCOL,
        ),
        ("a window update of nothing", vec![Frame::window_update(0, 0)], PROTOCOL),
        (
            "a window update of three bytes",
            vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])],
            SIZE,
        ),
        (
            "a window that overflows",
            vec![Frame::window_update(0, (1 << 31) - 1)],
            FLOW,
        ),
        (
            "a window update of an idle stream",
            vec![Frame::window_update(1, 1)],
            PROTOCOL,
        ),
        (
            "a continuation of nothing",
            vec![frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])],
            PROTOCOL,
        ),
        (
            "a continuation behind the end",
            vec![get(), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])],
            PROTOCOL,
        ),
        (
            "another frame within a header block",
            vec![
                headers(flag::END_STREAM, 1, fields("GET", "/", &[])),
                frame(kind::PING, 0, 0, &[0; 8]),
            ],
            PROTOCOL,
        ),
        (
            "another stream within a header block",
            vec![
                headers(flag::END_STREAM, 1, fields("GET", "/", &[])),
                frame(kind::CONTINUATION, flag::END_HEADERS, 3, &[]),
            ],
            PROTOCOL,
        ),
        (
            "more padding than payload",
            vec![Frame::post(1, "/"), frame(kind::DATA, flag::PADDED, 1, &[9, 0])],
            PROTOCOL,
        ),
        (
            "a frame beyond what was allowed",
            vec![Frame::post(1, "/"), frame(kind::DATA, 0, 1, &vec![0; (1 << 20) + 1])],
            SIZE,
        ),
        ("header index zero", malformed(vec![0x80]), COMPRESSION),
        (
            "a header index beyond the table",
            malformed(vec![0xff, 0x7f]),
            COMPRESSION,
        ),
        ("a literal that ends early", malformed(vec![0, 10, b'a']), COMPRESSION),
        (
            "an integer without end",
            malformed([vec![0xff], vec![0xff; 20]].concat()),
            COMPRESSION,
        ),
        (
            "a table beyond what was allowed",
            malformed(vec![0x3f, 0xff, 0xff, 0x7f]),
            COMPRESSION,
        ),
    ]
}

#[allow(clippy::too_many_lines)] // a table
fn stream_cases() -> Vec<(&'static str, Vec<Frame>, Fate)> {
    let get = || Frame::get(1, "/");
    let with = |more: &[(&str, &str)]| malformed(fields("GET", "/", more));
    let post = |length: &str| headers(flag::END_HEADERS, 1, fields("POST", "/", &[("content-length", length)]));
    vec![
        (
            "data behind the end",
            vec![get(), frame(kind::DATA, 0, 1, b"x")],
            Fate::Stream,
        ),
        ("headers behind the end", vec![get(), Frame::get(1, "/")], Fate::Stream),
        (
            "a window update of nothing for a stream",
            vec![Frame::post(1, "/"), Frame::window_update(1, 0)],
            Fate::Stream,
        ),
        (
            "a stream window that overflows",
            vec![Frame::post(1, "/"), Frame::window_update(1, (1 << 31) - 1)],
            Fate::Stream,
        ),
        ("a name in capitals", with(&[("X-A", "a")]), Fate::Stream),
        ("an unknown pseudo-header", with(&[(":x", "a")]), Fate::Stream),
        ("a response's pseudo-header", with(&[(":status", "200")]), Fate::Stream),
        ("the path twice", with(&[(":path", "/")]), Fate::Stream),
        ("a connection header", with(&[("connection", "close")]), Fate::Stream),
        (
            "a transfer coding",
            with(&[("transfer-encoding", "chunked")]),
            Fate::Stream,
        ),
        ("a te beyond trailers", with(&[("te", "gzip")]), Fate::Stream),
        ("a line feed in a value", with(&[("x-a", "a\nb")]), Fate::Stream),
        ("a zero byte in a value", with(&[("x-a", "a\0b")]), Fate::Stream),
        ("a blank in a name", with(&[("x a", "a")]), Fate::Stream),
        (
            "no method",
            malformed(literals(&[(":scheme", "http"), (":path", "/")])),
            Fate::Stream,
        ),
        // The library takes it for `/` where there is no authority either.
        (
            "no path",
            malformed(literals(&[(":method", "GET"), (":scheme", "http")])),
            Fate::Ignored,
        ),
        (
            "an empty path",
            malformed(literals(&[(":method", "GET"), (":scheme", "http"), (":path", "")])),
            Fate::Stream,
        ),
        (
            "a pseudo-header behind others",
            malformed(literals(&[
                (":method", "GET"),
                (":scheme", "http"),
                ("x-a", "a"),
                (":path", "/"),
            ])),
            Fate::Stream,
        ),
        (
            "less body than announced",
            vec![post("5"), frame(kind::DATA, flag::END_STREAM, 1, b"abc")],
            Fate::Stream,
        ),
        (
            "more body than announced",
            vec![post("2"), frame(kind::DATA, flag::END_STREAM, 1, b"abc")],
            Fate::Stream,
        ),
        (
            "two lengths",
            vec![
                headers(
                    flag::END_HEADERS,
                    1,
                    fields("POST", "/", &[("content-length", "3"), ("content-length", "4")]),
                ),
                frame(kind::DATA, flag::END_STREAM, 1, b"abc"),
            ],
            Fate::Stream,
        ),
        (
            "trailers without an end",
            vec![
                Frame::post(1, "/"),
                headers(flag::END_HEADERS, 1, literals(&[("x-a", "a")])),
            ],
            Fate::Stream,
        ),
        // The library leaves them out and passes the rest on.
        (
            "pseudo-headers in trailers",
            vec![Frame::post(1, "/"), headers(END, 1, literals(&[(":path", "/")]))],
            Fate::Ignored,
        ),
        ("an unknown frame", vec![frame(200, 255, 0, b"whatever")], Fate::Ignored),
        ("an unknown setting", vec![Frame::setting(0x4242, 7)], Fate::Ignored),
        (
            "unknown flags",
            vec![frame(kind::PING, 0xfe, 0, &[0; 8])],
            Fate::Ignored,
        ),
        (
            "a priority of an idle stream",
            vec![frame(kind::PRIORITY, 0, 99, &[0, 0, 0, 0, 9])],
            Fate::Ignored,
        ),
        (
            "an extension's frame on a stream",
            vec![Frame::post(1, "/"), frame(77, 0, 1, b"x")],
            Fate::Ignored,
        ),
        (
            "a reset of an open stream",
            vec![Frame::post(1, "/"), Frame::reset(1, 8)],
            Fate::Ignored,
        ),
        (
            "a late window update",
            vec![Frame::post(1, "/"), Frame::reset(1, 8), Frame::window_update(1, 9)],
            Fate::Ignored,
        ),
    ]
}

fn is_over(heard: &Heard) -> bool {
    heard.closed || heard.goaway.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_rule_has_its_consequence() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
        .allow("error reverse proxying request")
        .start()
        .await;
    let neighbour = Neighbour::of(sidecar.serving());
    let mut wrong = Vec::new();
    for (what, frames, fate) in connection_cases().into_iter().chain(stream_cases()) {
        let mut peer = RawHttp2::open(sidecar.serving(), &[]).await;
        for frame in &frames {
            peer.frame(frame).await;
        }
        // The last request tells that nothing is to come any more.
        peer.frame(&Frame::get(101, "/last")).await;
        let heard = peer
            .until(what, |heard| {
                is_over(heard) || heard.ended.contains(&101) || heard.resets.contains_key(&101)
            })
            .await;
        let right = match fate {
            Fate::Connection(codes) => match heard.goaway {
                Some(code) => codes.contains(&code),
                None => heard.closed,
            },
            Fate::Stream => {
                let refused = heard.headers.contains_key(&1) && !heard.is_ok(1);
                heard.resets.contains_key(&1) || refused || is_over(&heard)
            }
            Fate::Ignored => heard.is_ok(101) && !is_over(&heard),
        };
        println!("{what}: {:?} {:?} {}", heard.goaway, heard.resets, heard.is_ok(1));
        if !right {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    neighbour.served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_those_of_stock_and_pings_are_answered() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
        .start()
        .await;
    let mut peer = RawHttp2::open(sidecar.serving(), &[]).await;
    peer.frame(&frame(kind::PING, 0, 0, b"12345678")).await;
    let heard = peer
        .until("answers", |heard| heard.pongs > 0 && heard.settings_acks > 0)
        .await;
    let setting = |id: u16| heard.settings.get(&id).copied();
    assert_eq!(setting(3), Some(250), "concurrent streams");
    assert_eq!(setting(4), Some(1 << 20), "window");
    assert_eq!(setting(5), Some(1 << 20), "frame");
    assert!(setting(6).is_some_and(|size| size >= 1 << 20), "header list");
    assert_eq!(setting(8), None, "no extended CONNECT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_preface_is_no_http2() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
        .start()
        .await;
    for preface in [
        "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
        "PRI * HTTP/2.0\r\nHost: x\r\n\r\n",
        "\0\0\0\x04\0\0\0\0\0\r\n\r\n",
    ] {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client.send(preface).await;
        let rest = client.rest().await;
        let text = String::from_utf8_lossy(&rest.bytes).into_owned();
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{text:?}"
        );
    }
    assert_eq!(user.calls(), 0);
}
