//! Requests and responses as both sides see them: targets, methods, headers, statuses (contract of the queue-proxy,
//! sections 2.2 and 2.3; clauses 19 to 29 of its checklist).

use http::{HeaderMap, Response, StatusCode};
use xdt_testkit::{
    Builder, Http1, Http2, Pair, Payload, RawConnection, Script, Seen, Service, Sidecar, UserContainer, bytes_body,
    empty_body, http::request,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

/// The lines of a head without the first, in lower case, sorted.
fn fields(head: &str) -> Vec<String> {
    let mut lines: Vec<_> = head.lines().skip(1).map(str::to_lowercase).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    lines
}

/// What the user container sees of a GET with these headers.
async fn seen(headers: &[(&str, &str)]) -> Seen {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let answer = Http1::open(sidecar.serving())
        .await
        .fetch(request("GET", "/", headers, empty_body()))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    user.only()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c19_methods_and_targets_reach_the_container_byte_for_byte() {
    let pair = Pair::start(sidecar()).await;
    for (method, target) in [
        ("GET", "/"),
        ("HEAD", "//a//b/"),
        ("POST", "/a%2Fb%2fc"),
        ("PUT", "/a;b=c/d?x;y&z=%zz"),
        ("PATCH", "/?"),
        ("DELETE", "/a?b?c=//"),
        ("OPTIONS", "/./../a"),
        ("BREW", "/!$&'()*+,;=:@[]~?!$&'()*+,;=:@[]|\\^`{}"),
        ("M-SEARCH", "/%E4%B8%96?%00"),
    ] {
        let sent = format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (head, answer) = pair.exchange(sent, OK).await;
        assert_eq!(head.lines().next().unwrap(), format!("{method} {target} HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c19_targets_in_absolute_form_become_origin_form() {
    let pair = Pair::start(sidecar()).await;
    for (target, path) in [
        ("http://b.example:81/c?d", "/c?d"),
        ("http://b.example:81", "/"),
        ("https://b.example:81?x", "/?x"),
    ] {
        let sent = format!("GET {target} HTTP/1.1\r\nhost: ignored\r\nconnection: close\r\n\r\n");
        let (head, _) = pair.exchange(sent, OK).await;
        assert_eq!(head.lines().next().unwrap(), format!("GET {path} HTTP/1.1"));
        assert!(fields(&head).contains(&"host: b.example:81".to_owned()), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c20_statuses_headers_and_bodies_come_back_unchanged() {
    let pair = Pair::start(sidecar()).await;
    for (method, answer, expected) in [
        ("GET", "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\nx-a: 1\r\n\r\n", ""),
        (
            "GET",
            "HTTP/1.1 404 Not Found\r\nset-cookie: a\r\nset-cookie: b\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nno",
            "no",
        ),
        (
            "GET",
            "HTTP/1.1 500 Internal Server Error\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n",
            "",
        ),
        (
            "GET",
            "HTTP/1.1 299 status code 299\r\nx-a: \x3a \x7c\r\ncontent-length: 3\r\n\r\nyes",
            "yes",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 12345\r\n\r\n", ""),
    ] {
        let sent = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (_, got) = pair.exchange(sent, answer).await;
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, expected);
        assert_eq!(head.lines().next(), answer.lines().next());
        let mut lines = fields(head);
        lines.retain(|line| !line.starts_with("date: ") && !line.starts_with("connection: "));
        assert_eq!(lines, fields(answer.split_once("\r\n\r\n").unwrap().0), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c20_reason_phrases_are_the_standard_ones_and_the_version_the_clients() {
    let pair = Pair::start(sidecar()).await;
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for (theirs, ours) in [
        ("HTTP/1.1 200 Wonderful", "HTTP/1.1 200 OK"),
        ("HTTP/1.0 200 OK", "HTTP/1.1 200 OK"),
        (
            "HTTP/1.1 413 Payload Too Large",
            "HTTP/1.1 413 Request Entity Too Large",
        ),
        ("HTTP/1.1 599 Mine", "HTTP/1.1 599 status code 599"),
    ] {
        let (_, got) = pair
            .exchange(get, format!("{theirs}\r\ncontent-length: 0\r\n\r\n"))
            .await;
        assert_eq!(got.lines().next(), Some(ours));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c21_the_host_is_preserved() {
    for host in ["app.default.example.com", "app:8080", "[::1]:80", "UPPER.Case"] {
        assert_eq!(seen(&[("host", host)]).await.header("host"), host);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c22_the_original_host_becomes_the_host_in_both_protocols() {
    let headers = [("host", "rev.ns"), ("k-original-host", "app.example")];
    let seen = seen(&headers).await;
    assert_eq!(seen.header("host"), "app.example");
    assert!(!seen.headers.contains_key("k-original-host"));
    let user = Service::start(async |request| {
        let authority = request.uri().authority().map(ToString::to_string);
        Ok(Response::new(bytes_body(authority.unwrap_or_default())))
    });
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    for (headers, authority) in [(&headers[2..], "rev.ns"), (&headers[1..], "app.example")] {
        let answer = client
            .fetch(request("GET", "http://rev.ns/x", headers, empty_body()))
            .await;
        assert_eq!(answer.text(), authority);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c23_the_names_that_the_activator_needs_stay_behind() {
    let seen = seen(&[
        ("host", "a"),
        ("knative-serving-revision", "r"),
        ("knative-serving-namespace", "n"),
    ])
    .await;
    assert!(!seen.headers.contains_key("knative-serving-revision"));
    assert!(!seen.headers.contains_key("knative-serving-namespace"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c24_knatives_other_headers_and_strangers_pass() {
    let passed = [
        ("k-proxy-request", "activator"),
        ("k-network-hash", "h"),
        ("k-passthrough-lb", "true"),
        ("k-whatever", "w"),
        ("knative-serving-tag", "t"),
        ("knative-serving-default-route", "true"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=b"),
        ("baggage", "c=d"),
        ("x-forwarded-host", "h"),
        ("forwarded", "for=1"),
    ];
    let seen = seen(&[&[("host", "a")], &passed[..]].concat()).await;
    for (name, value) in passed {
        assert_eq!(all(&seen.headers, name), [value], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c25_the_peer_is_appended_to_what_was_folded_before() {
    assert_eq!(seen(&[("host", "a")]).await.header("x-forwarded-for"), "127.0.0.1");
    let many = [
        ("host", "a"),
        ("x-forwarded-for", "1.1.1.1, ::2"),
        ("x-forwarded-for", "3.3.3.3"),
    ];
    let folded = seen(&many).await;
    assert_eq!(
        all(&folded.headers, "x-forwarded-for"),
        ["1.1.1.1, ::2, 3.3.3.3, 127.0.0.1"]
    );
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    let odd = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: \xff\xfe\r\nconnection: close\r\n\r\n";
    client.send(odd).await;
    let mut user = pair.container.accept().await;
    let head = user.until("\r\n\r\n").await;
    let line: &[u8] = b"x-forwarded-for: \xff\xfe, 127.0.0.1\r\n";
    assert!(head.windows(line.len()).any(|part| part == line), "no byte is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c26_forwarded_is_made_of_what_came_and_only_then() {
    assert!(!seen(&[("host", "a")]).await.headers.contains_key("forwarded"));
    for (nodes, host, proto, expected) in [
        (
            "127.0.0.1, ::1",
            "h",
            "p",
            r#"for=127.0.0.1;host=h;proto=p, for="[::1]""#,
        ),
        ("127.0.0.1, ::1", "", "", r#"for=127.0.0.1, for="[::1]""#),
        ("", "h", "p", "host=h;proto=p"),
        (",,,", "", "", "for=, for=, for="),
        (",a", "hh", "", "for=;host=hh, for=a"),
    ] {
        let given = [
            ("x-forwarded-for", nodes),
            ("x-forwarded-host", host),
            ("x-forwarded-proto", proto),
        ];
        let given = given.into_iter().filter(|(_, value)| !value.is_empty());
        let given: Vec<_> = [("host", "a")].into_iter().chain(given).collect();
        assert_eq!(all(&seen(&given).await.headers, "forwarded"), [expected]);
    }
    let own = [
        ("host", "a"),
        ("forwarded", "for=x;by=y"),
        ("x-forwarded-for", "1.1.1.1"),
    ];
    assert_eq!(all(&seen(&own).await.headers, "forwarded"), ["for=x;by=y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_what_ends_at_this_hop_ends_here_in_both_directions() {
    let pair = Pair::start(sidecar()).await;
    let sent = "GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Foo, close\r\nconnection: x-bar\r\nx-foo: 1\r\nx-bar: 2\r\n\
        keep-alive: timeout=5\r\nproxy-connection: close\r\nproxy-authorization: p\r\nproxy-authenticate: q\r\n\
        te: gzip\r\nte: Trailers, deflate\r\nx-kept: 3\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nconnection: close, X-Foo\r\nx-foo: 1\r\nkeep-alive: timeout=5\r\n\
        proxy-authenticate: q\r\nx-kept: 3\r\ncontent-length: 0\r\n\r\n";
    let (head, got) = pair.exchange(sent, answer).await;
    assert_eq!(
        fields(&head),
        ["host: a", "te: trailers", "x-forwarded-for: 127.0.0.1", "x-kept: 3"]
    );
    let mut lines = fields(&got);
    lines.retain(|line| !line.starts_with("date: "));
    assert_eq!(
        lines,
        ["connection: close", "content-length: 0", "x-kept: 3"],
        "the close is the client's own"
    );
    let (head, _) = pair
        .exchange("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nte: gzip\r\n\r\n", OK)
        .await;
    assert_eq!(fields(&head), ["host: a", "x-forwarded-for: 127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_a_containers_close_does_not_close_the_clients_connection() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
        assert!(!client.head().await.contains("connection: close"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c28_nothing_is_invented_and_no_body_is_unpacked() {
    let pair = Pair::start(sidecar()).await;
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x7fab";
    let (head, got) = pair.exchange(get, packed).await;
    assert_eq!(fields(&head), ["host: a", "x-forwarded-for: 127.0.0.1"]);
    assert!(got.contains("content-encoding: gzip\r\n") && got.ends_with("\r\n\r\n\x1f\x7fab"));
    let own = [("host", "a"), ("user-agent", "mine"), ("accept-encoding", "br")];
    let seen = seen(&own).await;
    assert_eq!(
        (seen.header("user-agent"), seen.header("accept-encoding")),
        ("mine", "br")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c29_only_a_date_is_added_and_only_where_there_is_none() {
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(1, 3)));
    let sidecar_ = sidecar().user_port(user.port()).start().await;
    let answer = Http1::open(sidecar_.serving())
        .await
        .fetch(request("GET", "/", &[("host", "a")], empty_body()))
        .await;
    let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["content-length", "date"], "no type is guessed, no server named");
    let pair = Pair::start(sidecar()).await;
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let dated = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n";
    let (_, got) = pair.exchange(get, dated).await;
    assert_eq!(got.matches("date: ").count(), 1);
    assert!(got.contains("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_beat_a_length_announced_beside_them() {
    let pair = Pair::start(sidecar()).await;
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let (_, got) = pair.exchange(get, both).await;
    assert!(!got.contains("content-length"), "{got}");
    assert!(got.ends_with("5\r\nabcde\r\n0\r\n\r\n"), "{got}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_may_have_a_body_of_unknown_length() {
    let pair = Pair::start(sidecar()).await;
    let mut client = RawConnection::open(pair.sidecar.serving()).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    let mut user = pair.container.accept().await;
    let head = user.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    user.until("3\r\nabc\r\n0\r\n\r\n").await;
    user.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}
