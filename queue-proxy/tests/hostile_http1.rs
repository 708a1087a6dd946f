//! Hostile HTTP/1: each attack is answered or cut within a bound, a well-behaved client is served all the while, memory
//! stays bounded, and the user container never sees a request that two readers could understand differently.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xdt_testkit::{
    Builder, Neighbour, Payload, RawConnection, Script, Sidecar, StrictUser, UserContainer, eventually,
    wait::eventually_within,
};

const MIB: u64 = 1 << 20;
/// Longest time until a bomb is defused: the revision timeout, and the time in which a refused body is read on.
const BOMB_TIME: Duration = Duration::from_secs(60);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

/// Statuses of all answers on a connection, in their order. Interim ones are none.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let answers = text.split("HTTP/1.1 ").skip(1).chain(text.split("HTTP/1.0 ").skip(1));
    answers
        .map(|answer| answer[..3].parse().unwrap())
        .filter(|status| *status >= 200)
        .collect()
}

/// What must come of a malformed request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// A status of 400 or above, and the connection closed; the user container sees nothing.
    Refused,
    /// That, or one request with this body, and whatever follows on the connection is a request of its own.
    RefusedOrOne(&'static str),
}

/// Malformed or ambiguous requests, and what follows on the connection: a request for `/next`.
const SMUGGLING: &[(&str, &str, Fate)] = &[
    (
        "both lengths, CL first (CL.TE)",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "both lengths, TE first (TE.CL)",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        Fate::Refused,
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        Fate::Refused,
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
        Fate::Refused,
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
        Fate::Refused,
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n",
        Fate::RefusedOrOne(""),
    ),
    (
        "an endless length",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        Fate::Refused,
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "chunked is not the last coding",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "a blank before the colon",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a vertical tab before the coding",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a folded header",
        "GET / HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a folded coding",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a folded first header",
        "GET / HTTP/1.1\r\n X-A: a\r\nHost: x\r\n\r\n",
        Fate::Refused,
    ),
    ("bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", Fate::RefusedOrOne("")),
    (
        "a length behind a bare line feed",
        "POST / HTTP/1.1\r\nHost: x\r\nX-A: a\nContent-Length: 3\r\n\r\nabc",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "a bare carriage return in a header",
        "GET / HTTP/1.1\r\nHost: x\r\nX-A: a\rContent-Length: 3\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a zero byte in a header",
        "GET / HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a zero byte in a name",
        "GET / HTTP/1.1\r\nHost: x\r\nX\0A: a\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a header without a name",
        "GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a header without a colon",
        "GET / HTTP/1.1\r\nHost: x\r\nX-A\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a chunk with a sign",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a chunk longer than a number holds",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a chunk that does not end where it says",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a chunk extension with a line feed",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
        Fate::Refused,
    ),
    (
        "chunks on HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Fate::RefusedOrOne("abc"),
    ),
    (
        "two blanks in the request line",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        Fate::RefusedOrOne(""),
    ),
    ("an unknown version", "GET / HTTP/1.9\r\nHost: x\r\n\r\n", Fate::Refused),
    ("no version", "GET /\r\n\r\n", Fate::Refused),
    (
        "a blank in the target",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a lower-case version",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        Fate::Refused,
    ),
    (
        "a hidden preface",
        "PRI * HTTP/1.1\r\nHost: x\r\n\r\n",
        Fate::RefusedOrOne(""),
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_malformed_request_is_understood_differently_behind_the_proxy() {
    let user = StrictUser::start().await;
    let sidecar = sidecar()
        .user_port(user.port())
        .allow("error reverse proxying request")
        .start()
        .await;
    for (what, text, fate) in SMUGGLING {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client
            .send(format!(
                "{text}GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let rest = client.rest().await;
        let (answered, taken) = (statuses(&rest.bytes), user.taken());
        println!("{what}: {answered:?}, {} upstream", taken.len());
        // What broke off on the way to the user container never became a request there.
        let refused = taken.is_empty() && answered.len() <= 1 && answered.iter().all(|status| *status >= 400);
        let one = |body: &str| {
            let (first, next) = (taken.first(), taken.get(1));
            let whole = first.is_some_and(|first| first.body == body.as_bytes() && !first.head.contains("/next"));
            let next = next.is_none_or(|next| next.head.starts_with("get /next ") && next.body.is_empty());
            whole && next && taken.len() <= 2 && answered.len() == taken.len()
        };
        let right = match fate {
            Fate::Refused => refused,
            Fate::RefusedOrOne(body) => refused || one(body),
        };
        assert!(right, "{what}: {answered:?}, {taken:?}");
    }
}

/// Quirk 18: chunked wins over a length, and the length does not travel on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_wins_over_a_length() {
    let user = StrictUser::start().await;
    let sidecar = sidecar().user_port(user.port()).start().await;
    for headers in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
    ] {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ))
            .await;
        assert_eq!(statuses(&client.rest().await.bytes), [200]);
        let taken = user.taken();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].body, b"hello");
        assert!(!taken[0].head.contains("content-length"), "{}", taken[0].head);
    }
}

/// Sends `head`, then `line` until `limit` bytes are gone or the sidecar takes no more; returns what it answered.
async fn bomb(sidecar: &Sidecar, head: &str, line: &str, limit: usize) -> Vec<u8> {
    let socket = TcpStream::connect(sidecar.serving()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let (head, lines) = (head.to_owned(), line.repeat(64 * 1024 / line.len()));
    let sending = tokio::spawn(async move {
        let mut sent = writer.write(head.as_bytes()).await.unwrap_or(limit);
        while sent < limit && writer.write_all(lines.as_bytes()).await.is_ok() {
            sent += lines.len();
        }
        writer // kept open: whoever closes is the sidecar
    });
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let ended = tokio::time::timeout(BOMB_TIME, reader.read_to_end(&mut answer)).await;
    assert!(
        ended.is_ok(),
        "still open, having said {:?}",
        String::from_utf8_lossy(&answer)
    );
    drop(sending);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs_are_refused_in_bounded_memory() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let neighbour = Neighbour::of(sidecar.serving());
    let head = "GET / HTTP/1.1\r\nHost: x\r\n";
    let long = "a".repeat(1000);
    for (what, head, line) in [
        ("lines", head.to_owned(), format!("X-A: {long}\r\n")),
        ("tiny lines", head.to_owned(), "a:\r\n".to_owned()),
        ("one line", format!("{head}X-A: "), long.clone()),
        ("one name", head.to_owned(), long.clone()),
        ("a target", "GET /".to_owned(), long.clone()),
        ("a method", String::new(), "GET".to_owned()),
        ("empty lines", String::new(), "\r\n".to_owned()),
    ] {
        let answer = bomb(&sidecar, &head, &line, 64 << 20).await;
        let answered = statuses(&answer);
        println!("{what}: {answered:?}");
        assert!(
            answered.len() <= 1 && answered.iter().all(|status| matches!(status, 400 | 414 | 431)),
            "{what}: {answered:?}"
        );
    }
    assert!(
        sidecar.peak_rss_bytes() < 64 * MIB,
        "{} bytes",
        sidecar.peak_rss_bytes()
    );
    neighbour.served().await;
    assert!(
        user.seen()
            .iter()
            .all(|seen| seen.target == xdt_testkit::neighbour::PATH)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunk_and_trailer_bombs_are_cut_in_bounded_memory() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar()
        .user_port(user.port())
        .env("REVISION_TIMEOUT_SECONDS", "2")
        .allow("error reverse proxying request")
        .allow("Request timeout")
        .start()
        .await;
    let neighbour = Neighbour::of(sidecar.serving());
    let head = "POST /bomb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "a".repeat(1000);
    for (what, head, line) in [
        ("a chunk extension", format!("{head}1;"), long.clone()),
        (
            "extensions of many chunks",
            head.to_owned(),
            format!("1;{long}\r\na\r\n"),
        ),
        ("trailers", format!("{head}0\r\n"), format!("X-A: {long}\r\n")),
        ("a trailer", format!("{head}0\r\nX-A: "), long.clone()),
        // Takes no memory, however long it goes on: the revision timeout ends it.
        ("zeros of a chunk size", head.to_owned(), "0".repeat(1000)),
    ] {
        let answered = statuses(&bomb(&sidecar, &head, &line, 64 << 20).await);
        println!("{what}: {answered:?}");
        assert!(
            answered.len() <= 1 && answered.iter().all(|status| *status >= 400),
            "{what}: {answered:?}"
        );
    }
    assert!(
        sidecar.peak_rss_bytes() < 64 * MIB,
        "{} bytes",
        sidecar.peak_rss_bytes()
    );
    neighbour.served().await;
}

/// 200,000 requests at once on a connection whose answers nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_whose_answers_nobody_reads_wait_in_the_socket() {
    let user = UserContainer::start(Script::SpareNeighbours(Box::new(Script::Answer(
        200,
        vec![],
        Payload::new(1, 64 * 1024),
    ))));
    let sidecar = sidecar().user_port(user.port()).start().await;
    let neighbour = Neighbour::of(sidecar.serving());
    let mut socket = TcpStream::connect(sidecar.serving()).await.unwrap();
    let batch = "GET /pipelined HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut sent = 0;
    // The sidecar stops reading when its answers are not taken: then this blocks.
    let all = async {
        while sent < 200 && socket.write_all(batch.as_bytes()).await.is_ok() {
            sent += 1;
        }
    };
    let blocked = tokio::time::timeout(Duration::from_secs(5), all).await.is_err();
    assert!(blocked, "{sent} batches went in");
    let calls = || user.seen().iter().filter(|seen| seen.target == "/pipelined").count();
    assert!(calls() < 2000, "{} requests were begun for nobody", calls());
    assert!(
        sidecar.peak_rss_bytes() < 64 * MIB,
        "{} bytes",
        sidecar.peak_rss_bytes()
    );
    neighbour.served().await;
}

/// Readers that take nothing of a large answer hold back the user container, not the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_stay_in_the_user_container() {
    const CLIENTS: usize = 30;
    let large = Script::AnswerChunked(Payload::new(1, 256 * MIB));
    let user = UserContainer::start(Script::SpareNeighbours(Box::new(large)));
    let sidecar = sidecar().user_port(user.port()).start().await;
    let neighbour = Neighbour::of(sidecar.serving());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        clients.push(client);
    }
    neighbour.served().await;
    let most = 96 * MIB;
    assert!(sidecar.peak_rss_bytes() < most, "{} bytes", sidecar.peak_rss_bytes());
    drop(clients);
    eventually_within(Duration::from_secs(30), "the cancelled answers", async || {
        let seen = user.seen();
        (seen.iter().filter(|seen| seen.target == "/large").count() == CLIENTS).then_some(())
    })
    .await;
}

/// More connections than descriptors: accepting pauses, and goes on when some are free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_leaves_little_memory_taken() {
    const CONNECTIONS: usize = 2000;
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let neighbour = Neighbour::of(sidecar.serving());
    let mut idle = Vec::new();
    for index in 0..CONNECTIONS {
        let mut client = RawConnection::open(sidecar.serving()).await;
        if index % 2 == 0 {
            client.send("GET / HTTP/1.1\r\nHo").await;
        }
        idle.push(client);
    }
    neighbour.served().await;
    let with = sidecar.peak_rss_bytes();
    assert!(with < 96 * MIB, "{with} bytes for {CONNECTIONS} connections");
    drop(idle);
    eventually("a free place", async || {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client
            .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
        (statuses(&client.rest().await.bytes) == [200]).then_some(())
    })
    .await;
}
