use std::{net::Ipv4Addr, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    task::JoinHandle,
    time::Instant,
};

use super::*;
use crate::{
    body::BoxError,
    body::empty,
    server::{connections::Connections, wire::Interim},
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A client's end of a connection whose requests `answer` answers.
fn connect<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> (DuplexStream, JoinHandle<()>)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    connect_until(CancellationToken::new(), answer)
}

/// The same, until the server is told to stop.
fn connect_until<F>(
    stop: CancellationToken,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> (DuplexStream, JoinHandle<()>)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (client, server) = tokio::io::duplex(1 << 16);
    let handler: Handler<Body> = Arc::new(move |request, _| Box::pin(answer(request)));
    let peer = Peer {
        address: (Ipv4Addr::LOCALHOST, 1).into(),
        tls: false,
    };
    let seat = Connections::default().seat();
    let serving = tokio::spawn(serve(Terms::BOTH, handler, server, peer, stop, seat));
    (client, serving)
}

fn nothing() -> (DuplexStream, JoinHandle<()>) {
    connect(async |_| Response::new(empty()))
}

/// Reads until what came ends with `end`.
async fn read_to(client: &mut DuplexStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        assert!(client.read_buf(&mut text).await.expect("no error") > 0, "{text:?}");
    }
    String::from_utf8(text).expect("UTF-8")
}

async fn read_all(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("UTF-8");
    text
}

/// How long it takes until the server closes.
async fn closed_after(client: &mut DuplexStream, serving: JoinHandle<()>) -> Duration {
    let begun = Instant::now();
    assert_eq!(read_all(client).await, "");
    serving.await.expect("no panic");
    begun.elapsed()
}

fn about_a_minute(passed: Duration) -> bool {
    (HEAD_TIME..HEAD_TIME + Duration::from_millis(700)).contains(&passed)
}

#[tokio::test(start_paused = true)]
async fn c57_a_silent_or_halting_first_head_ends_after_a_minute() {
    for begun in [&b""[..], b"P", b"GET / HTT", b"GET / HTTP/1.1\r\nhost: a\r\nx"] {
        let (mut client, serving) = nothing();
        client.write_all(begun).await.expect("room");
        let passed = closed_after(&mut client, serving).await;
        assert!(about_a_minute(passed), "{passed:?} after {begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c57_a_halting_later_head_ends_after_a_minute_from_its_first_byte() {
    let (mut client, serving) = nothing();
    client.write_all(GET).await.expect("room");
    read_to(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")
        .await
        .expect("still open");
    read_to(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    client.write_all(&GET[..20]).await.expect("still open");
    let passed = closed_after(&mut client, serving).await;
    assert!(about_a_minute(passed), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn c56_idle_connections_stay_open_for_hours() {
    let (mut client, _serving) = nothing();
    for _ in 0..3 {
        client.write_all(GET).await.expect("room");
        assert!(
            read_to(&mut client, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        tokio::time::sleep(Duration::from_secs(4000)).await;
    }
}

#[tokio::test]
async fn informational_answers_go_out_before_the_final_one_and_never_after() {
    let (mut client, _serving) = connect(async |request| {
        let interim = request
            .extensions()
            .get::<Interim>()
            .expect("a client of HTTP/1.1")
            .clone();
        let mut hints = HeaderMap::new();
        hints.insert("link", HeaderValue::from_static("</a.css>"));
        interim.relay(StatusCode::EARLY_HINTS, &hints);
        interim.relay(StatusCode::PROCESSING, &HeaderMap::new());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            interim.relay(StatusCode::EARLY_HINTS, &HeaderMap::new());
        });
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    for pause in [0, 100] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        client.write_all(GET).await.expect("room");
        let mut all = String::new();
        while !all.contains("418") {
            all += &read_to(&mut client, "\r\n\r\n").await;
        }
        let statuses: Vec<_> = all.lines().filter(|line| line.starts_with("HTTP/")).collect();
        assert_eq!(
            statuses,
            [
                "HTTP/1.1 103 Early Hints",
                "HTTP/1.1 102 Processing",
                "HTTP/1.1 418 I'm a teapot"
            ],
            "{all}"
        );
        assert!(all.contains("\r\nlink: </a.css>\r\n"));
    }
}

/// Data that looks like the end, then trailers.
fn tricky() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = [
        Frame::data(Bytes::from("0\r\n")),
        Frame::data(Bytes::from("0\r\n\r\n")),
        Frame::trailers(trailers),
    ];
    let frames = frames.map(Ok::<_, BoxError>);
    Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))))
}

#[tokio::test]
async fn trailers_go_out_unasked_and_unannounced() {
    let (mut client, _serving) = connect(async |_| tricky());
    for _ in 0..2 {
        client.write_all(GET).await.expect("room");
        let answer = read_to(&mut client, "x-sum: 1\r\n\r\n").await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "3\r\n0\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\nx-sum: 1\r\n\r\n");
    }
}

#[tokio::test]
async fn an_http10_client_gets_no_trailers() {
    let (mut client, _serving) = connect(async |_| tricky());
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("room");
    let answer = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_read_gets_a_body_of_its_status() {
    for (sent, status) in [
        (&b"GET / HTTP/1.1 \x01\r\n\r\n"[..], "400 Bad Request"),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            "400 Bad Request",
        ),
    ] {
        for before in [&b""[..], GET] {
            let (mut client, _serving) = nothing();
            client.write_all(&[before, sent].concat()).await.expect("room");
            client.shutdown().await.expect("open");
            let answer = read_all(&mut client).await;
            let own = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{status}"
            );
            assert!(answer.ends_with(&own), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 200").count(), usize::from(!before.is_empty()));
        }
    }
}

#[tokio::test]
async fn an_answers_own_bad_request_passes_as_it_is() {
    let (mut client, _serving) = connect(async |_| {
        let mut response = Response::new(crate::body::full("HTTP/1.1 400 mine"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    });
    for _ in 0..2 {
        client.write_all(GET).await.expect("room");
        let answer = read_to(&mut client, "HTTP/1.1 400 mine").await;
        assert!(answer.contains("content-length: 17\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_unread_upload_does_not_cost_the_client_its_answer() {
    let (mut client, serving) = nothing();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nabc")
        .await
        .expect("room");
    let answer = read_to(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    client
        .write_all(&[0; 10_000])
        .await
        .expect("the server reads on for a while");
    drop(client);
    serving.await.expect("no panic");
}

#[tokio::test]
async fn http2_is_recognized_also_in_crumbs() {
    let (mut client, _serving) = nothing();
    for byte in PREFACE {
        client.write_all(&[*byte]).await.expect("room");
        tokio::task::yield_now().await;
    }
    let mut settings = [0; 9];
    client.read_exact(&mut settings).await.expect("a frame");
    assert_eq!(settings[3], 4, "a SETTINGS frame comes first");
}

/// Preface, empty SETTINGS, and a GET on stream 1 (header fields from HPACK's static table).
const H2_GET: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x01\x01a";
const SECOND: Duration = Duration::from_secs(1);

/// How long after the stop the server leaves a peer that sent one request, was quiet for `quiet`, and never reacts.
async fn left_after(quiet: Duration, answer: Duration) -> Duration {
    let stop = CancellationToken::new();
    let (mut client, serving) = connect_until(stop.clone(), move |_| async move {
        tokio::time::sleep(answer).await;
        Response::new(empty())
    });
    client.write_all(H2_GET).await.expect("room");
    tokio::time::sleep(quiet).await;
    stop.cancel();
    let begun = Instant::now();
    serving.await.expect("no panic");
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn c99_an_idle_http2_peer_that_never_reacts_is_not_waited_for() {
    let long_idle = left_after(12 * SECOND, SECOND).await;
    assert!((GOODBYE..SECOND).contains(&long_idle), "{long_idle:?}");
    let just_idle = left_after(3 * SECOND, SECOND).await;
    assert!((SILENCE..SILENCE + SECOND).contains(&just_idle), "{just_idle:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_waited_for_although_its_peer_never_reacts() {
    let busy = left_after(3 * SECOND, 43 * SECOND).await;
    assert!((40 * SECOND..40 * SECOND + 3 * SILENCE).contains(&busy), "{busy:?}");
}
