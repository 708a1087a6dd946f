//! invoke: straight to the callee, through the egress proxy, and back by reference.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;
use xdt::{Client, ErrorKind, ErrorWord, Method, Payload};

use crate::fake::{FakeSidecar, Fault, Server, echo, empty, full, refusing_address};

const INLINE_LIMIT: usize = 64 * 1024;

#[tokio::test]
async fn a_small_call_goes_straight_to_the_callee() {
    let sidecar = FakeSidecar::start().await;
    let callee = Server::start(echo).await;
    let url = format!("http://f.default.localhost:{}/path?q=1", callee.address.port());
    for size in [0, 5, INLINE_LIMIT] {
        let call = sidecar
            .client()
            .invoke(&url, vec![7; size])
            .content_type("text/plain")
            .header("X-Sent", "yes");
        let answer = call.method(Method::PUT).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-method"), "PUT");
        assert_eq!(header("x-target"), "/path?q=1");
        assert_eq!(
            header("x-host"),
            format!("f.default.localhost:{}", callee.address.port())
        );
        assert_eq!(header("x-xdt"), "xdt-accept");
        assert_eq!(
            (header("x-content-type"), header("x-x-sent")),
            ("text/plain".into(), "yes".into())
        );
        let body = answer.body().await.expect("the body");
        assert_eq!((body.len(), body.content_type()), (size, Some("text/echo")));
    }
}

#[tokio::test]
async fn a_large_or_unmeasured_call_goes_through_the_egress_proxy() {
    let sidecar = FakeSidecar::start().await;
    let url = "http://f.default.svc.cluster.local/path?q=1";
    let chunks = || stream::iter([Ok(Bytes::from_static(b"few"))]);
    let payloads = [
        (Payload::from(vec![7; INLINE_LIMIT + 1]), INLINE_LIMIT + 1, true),
        (Payload::stream(chunks()), 3, false),
    ];
    for (payload, size, measured) in payloads {
        let answer = sidecar.client().invoke(url, payload).await.expect("an answer");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-target"), url, "absolute form");
        assert_eq!(header("x-host"), "f.default.svc.cluster.local");
        assert_eq!(header("x-xdt"), "", "the sidecar decides");
        assert_eq!(answer.headers().contains_key("x-content-length"), measured);
        assert_eq!(answer.bytes().await.expect("the body").len(), size);
    }
}

#[tokio::test]
async fn an_answer_by_reference_is_read_like_any_other() {
    let sidecar = FakeSidecar::start().await;
    let large = Bytes::from(vec![3; 500_000]);
    let reference = sidecar.hold_with(large.clone(), &[("content-type", "image/png"), ("xdt-meta-k", "v")]);
    let callee = Server::start(move |_| {
        let answer = http::Response::builder()
            .status(203)
            .header("xdt-reference", reference.as_str());
        let answer = answer
            .header("xdt-object-size", 500_000)
            .header("content-type", "text/plain");
        async { Ok(answer.header("x-own", "kept").body(empty()).unwrap()) }
    });
    let callee = callee.await;
    let url = format!("http://{}/", callee.address);
    let answer = sidecar.client().invoke(&url, "x").await.expect("an answer");
    assert_eq!(answer.status(), 203);
    assert_eq!(answer.headers()["content-length"], "500000");
    assert_eq!(answer.headers()["x-own"], "kept");
    assert!(!answer.headers().contains_key("xdt-reference") && !answer.headers().contains_key("xdt-object-size"));
    let body = answer.body().await.expect("the body");
    assert_eq!(
        (&body[..], body.content_type(), body.metadata().len()),
        (&large[..], Some("text/plain"), 0)
    );

    let mut streamed = Vec::new();
    let answer = sidecar.client().invoke(&url, "x").await.expect("an answer");
    answer.reader().read_to_end(&mut streamed).await.expect("the body");
    assert_eq!(streamed, large);
}

#[tokio::test]
async fn a_lost_answer_is_an_error_and_not_an_empty_body() {
    let sidecar = FakeSidecar::start().await;
    let faults = [
        (Fault::Word(ErrorWord::ObjectGone), ErrorKind::ObjectGone),
        (Fault::Break { length: Some(1000) }, ErrorKind::TransferBroken),
    ];
    for (fault, kind) in faults {
        let reference = sidecar.hold("half", fault);
        let callee = Server::start(move |_| {
            let answer = http::Response::builder()
                .header("xdt-reference", reference.as_str())
                .body(empty());
            async { Ok(answer.unwrap()) }
        });
        let callee = callee.await;
        let read = async {
            let answer = sidecar
                .client()
                .invoke(format!("http://{}/", callee.address), "x")
                .await?;
            answer.body().await
        };
        assert_eq!(read.await.expect_err("lost").kind(), kind);
    }
}

#[tokio::test]
async fn a_reference_beside_a_body_is_the_callees_own_affair() {
    let sidecar = FakeSidecar::start().await;
    let callee = Server::start(|_| async {
        let answer = http::Response::builder().header("xdt-reference", "xdt1.AAAA");
        Ok(answer.body(full("both")).unwrap())
    });
    let callee = callee.await;
    let answer = sidecar
        .client()
        .invoke(format!("http://{}/", callee.address), "x")
        .await
        .expect("an answer");
    assert_eq!(answer.headers()["xdt-reference"], "xdt1.AAAA");
    assert_eq!(answer.bytes().await.expect("the body"), "both");
}

#[tokio::test]
async fn only_answers_with_a_word_are_errors() {
    let sidecar = FakeSidecar::start().await;
    let callee = Server::start(echo).await;
    let hosts = [
        (callee.address.to_string(), 1),
        ("f.default.svc.cluster.local".to_owned(), INLINE_LIMIT + 1),
    ];
    for (host, size) in hosts {
        let call = |query: &str| {
            sidecar
                .client()
                .invoke(format!("http://{host}/?{query}"), vec![0; size])
                .into_future()
        };
        for status in [404, 500, 503] {
            let answer = call(&format!("status={status}")).await.expect("an ordinary answer");
            assert_eq!(answer.status(), status);
        }
        for word in ErrorWord::ALL {
            let error = call(&format!("word={word}")).await.expect_err("an error");
            assert_eq!(
                (error.kind(), error.status().map(|status| status.as_u16())),
                (word.into(), Some(word.status()))
            );
            assert_eq!(error.detail(), format!("because of {word}"));
            let ran = matches!(word, ErrorWord::TransferBroken | ErrorWord::Timeout);
            assert_eq!(error.is_retryable(), word.is_retryable() && !ran, "{word}");
        }
    }
}

#[tokio::test]
async fn a_callee_that_cannot_be_reached_never_ran_and_one_that_broke_off_may_have() {
    let sidecar = FakeSidecar::start().await;
    let address = refusing_address().await;
    let url = format!("http://f.localhost:{}/", address.port());
    let error = sidecar.client().invoke(url, "x").await.expect_err("nobody there");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unreachable, true));
    assert_eq!(error.to_string(), "unreachable: no connection to f.localhost");

    let callee = Server::start(|_| async { Err(io::Error::other("dies")) }).await;
    let url = format!("http://f.localhost:{}/", callee.address.port());
    let error = sidecar.client().invoke(url, "x").await.expect_err("broke off");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TransferBroken, false));

    let callee = Server::start(|_| std::future::pending()).await;
    let url = format!("http://f.localhost:{}/", callee.address.port());
    let call = sidecar.client().invoke(url, "x").timeout(Duration::from_millis(50));
    let error = call.await.expect_err("no answer");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Timeout, false));
}

#[tokio::test]
async fn a_reference_can_be_handed_on_in_a_control_message() {
    let callee = Server::start(echo).await;
    let client = Client::builder().build().expect("defaults are valid");
    let call = client.invoke(format!("http://{}/", callee.address), Payload::empty());
    let answer = call.header("xdt-reference", "xdt1.AAAA").await.expect("an answer");
    assert_eq!(answer.headers()["x-xdt"], "xdt-reference,xdt-accept");
}
