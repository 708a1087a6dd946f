//! `XdtLayer` in front of an axum router: what handlers see, and what callers get when there is nothing to see.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    routing::any,
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use xdt::{Client, ErrorWord, server::XdtLayer};

use crate::fake::{FakeSidecar, Fault, refusing_address};

/// Answers with the request's head in headers and its body, or with 422 if the body broke.
async fn mirror(request: Request) -> http::Response<Body> {
    let (parts, body) = request.into_parts();
    let xdt = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("xdt-"))
        .count();
    let mut answer = http::Response::builder()
        .header("x-xdt", xdt)
        .header("x-path", parts.uri.path());
    for name in ["content-type", "content-length"] {
        if let Some(value) = parts.headers.get(name) {
            answer = answer.header(format!("x-{name}"), value);
        }
    }
    match body.collect().await {
        Ok(bytes) => answer.body(Body::from(bytes.to_bytes())).unwrap(),
        Err(_) => answer.status(422).body(Body::empty()).unwrap(),
    }
}

async fn send(client: Client, headers: &[(&str, &str)], body: &'static str) -> http::Response<Bytes> {
    let app = Router::new()
        .route("/{*path}", any(mirror))
        .layer(XdtLayer::new(client));
    let mut request = Request::post("/a/b");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = app
        .oneshot(request.body(Body::from(body)).unwrap())
        .await
        .expect("infallible");
    let (parts, body) = answer.into_parts();
    http::Response::from_parts(parts, body.collect().await.expect("a whole answer").to_bytes())
}

fn header<'a>(answer: &'a http::Response<Bytes>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_handler_sees_the_original_request() {
    let sidecar = FakeSidecar::start().await;
    let bytes = vec![5; 300_000];
    let reference = sidecar.hold_with(bytes.clone(), &[("content-type", "image/png")]);
    let message = [
        ("xdt-reference", reference.as_str()),
        ("xdt-accept", "reference"),
        ("content-type", "text/plain"),
        ("content-length", "0"),
    ];
    let answer = send(sidecar.client(), &message, "").await;
    assert_eq!((answer.status().as_u16(), answer.body()), (200, &Bytes::from(bytes)));
    let seen = ["x-path", "x-xdt", "x-content-type", "x-content-length"].map(|name| header(&answer, name));
    assert_eq!(seen, [Some("/a/b"), Some("0"), Some("image/png"), Some("300000")]);
}

#[tokio::test]
async fn an_object_without_content_type_leaves_the_messages() {
    let sidecar = FakeSidecar::start().await;
    let reference = sidecar.hold("bytes", Fault::None);
    let message = [
        ("xdt-reference", reference.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = send(sidecar.client(), &message, "").await;
    assert_eq!(header(&answer, "x-content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_request_without_a_reference_passes_untouched() {
    let client = Client::builder()
        .local_address(refusing_address().await)
        .build()
        .expect("valid");
    let answer = send(
        client,
        &[("xdt-accept", "reference"), ("content-type", "text/plain")],
        "inline",
    )
    .await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"inline"[..]));
    assert_eq!(
        (header(&answer, "x-xdt"), header(&answer, "x-content-type")),
        (Some("1"), Some("text/plain"))
    );
}

#[tokio::test]
async fn failures_are_problems_and_the_handler_never_runs() {
    let sidecar = FakeSidecar::start().await;
    for word in ErrorWord::ALL {
        let reference = sidecar.hold("bytes", Fault::Word(word));
        let answer = send(sidecar.client(), &[("xdt-reference", reference.as_str())], "").await;
        assert_problem(&answer, word);
    }
    let held = sidecar.hold("bytes", Fault::None);
    let reference = ("xdt-reference", held.as_str());
    assert_problem(
        &send(sidecar.client(), &[reference], "and a body").await,
        ErrorWord::BadRequest,
    );
    assert_problem(
        &send(sidecar.client(), &[reference, reference], "").await,
        ErrorWord::BadRequest,
    );
    assert_problem(
        &send(sidecar.client(), &[("xdt-reference", "x")], "").await,
        ErrorWord::ReferenceInvalid,
    );
    let absent = Client::builder()
        .local_address(refusing_address().await)
        .build()
        .expect("valid");
    assert_problem(&send(absent, &[reference], "").await, ErrorWord::ProducerUnreachable);
}

fn assert_problem(answer: &http::Response<Bytes>, word: ErrorWord) {
    assert_eq!(answer.status().as_u16(), word.status(), "{word}");
    assert_eq!(header(answer, "xdt-error"), Some(word.as_str()));
    assert_eq!(header(answer, "content-type"), Some("application/problem+json"));
    assert_eq!(header(answer, "retry-after").is_some(), word == ErrorWord::Busy);
    assert_eq!(header(answer, "x-path"), None, "the handler did not run");
    let text = std::str::from_utf8(answer.body()).expect("JSON");
    assert!(text.contains(&format!("\"urn:xdt:error:{word}\"")), "{text}");
}

#[tokio::test]
async fn a_transfer_that_breaks_breaks_the_handlers_body() {
    let sidecar = FakeSidecar::start().await;
    for length in [Some(1000), None] {
        let reference = sidecar.hold("half", Fault::Break { length });
        let answer = send(sidecar.client(), &[("xdt-reference", reference.as_str())], "").await;
        assert_eq!(answer.status(), 422);
    }
}
