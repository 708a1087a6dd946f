//! gRPC through the sidecar, with a client and a server of tonic's (contract of the queue-proxy, section 2.4; clause 36
//! of its checklist). The service is written by hand: what `protoc` makes of a description is the same.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Response, Status, Streaming, client::Grpc as Client, metadata::MetadataValue,
    server::Grpc as Server, transport::Channel,
};
use tonic_prost::ProstCodec;
use tower_service::Service as Callable;
use xdt_testkit::{Body, Builder, Http2, Service, Sidecar, bytes_body, http::BoxError, http::request, within};

/// The message of all calls, either way.
#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
}

type Codec = ProstCodec<Note, Note>;
type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// Metadata that travels with each call and comes back with its answer; the second is binary, any bytes at all.
const WORD: &str = "x-word";
const BYTES: &str = "x-bytes-bin";
const RAW: &[u8] = b"\x00\xff, \r\n";

fn note(text: impl Into<String>) -> Note {
    Note { text: text.into() }
}

/// A function as a service.
struct Call<F>(F);

impl<F, I, O, A> Callable<Request<I>> for Call<F>
where
    F: FnMut(Request<I>) -> A,
    A: Future<Output = Result<Response<O>, Status>>,
{
    type Response = Response<O>;
    type Error = Status;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<I>) -> A {
        self.0(request)
    }
}

/// An answer with the metadata of its request.
fn with_metadata_of<I, O>(request: &Request<I>, message: O) -> Response<O> {
    let mut response = Response::new(message);
    let (from, to) = (request.metadata(), response.metadata_mut());
    to.insert(WORD, from.get(WORD).expect("it came along").clone());
    to.insert_bin(BYTES, from.get_bin(BYTES).expect("it came along").clone());
    response
}

/// All notes in one.
async fn joined(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut answer = with_metadata_of(&request, note(""));
    let mut notes = request.into_inner();
    while let Some(next) = notes.message().await? {
        answer.get_mut().text.push_str(&next.text);
    }
    Ok(answer)
}

/// One note for each letter, then an error in the trailers.
async fn spelled(request: Request<Note>) -> Result<Response<Notes>, Status> {
    let letters: Vec<_> = request.get_ref().text.chars().map(|letter| Ok(note(letter))).collect();
    let end = Err(Status::aborted("spelled"));
    let notes: Notes = Box::pin(stream::iter(letters).chain(stream::iter([end])));
    Ok(with_metadata_of(&request, notes))
}

/// Each note in capitals as soon as it comes.
async fn capitals(request: Request<Streaming<Note>>) -> Result<Response<Notes>, Status> {
    let answer = with_metadata_of(&request, ());
    let notes = request
        .into_inner()
        .map(|next| next.map(|next| note(next.text.to_uppercase())));
    Ok(answer.map(|()| -> Notes { Box::pin(notes) }))
}

async fn refused(request: Request<Note>) -> Result<Response<Note>, Status> {
    let metadata = with_metadata_of(&request, ()).metadata().clone();
    let message = "not now: 100 %, caf\u{e9}";
    Err(Status::with_details_and_metadata(
        Code::FailedPrecondition,
        message,
        RAW.into(),
        metadata,
    ))
}

async fn serve(request: http::Request<Incoming>) -> Result<http::Response<Body>, BoxError> {
    assert_eq!(request.version(), http::Version::HTTP_2);
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["grpc-timeout"], "30000000u");
    let mut server = Server::new(Codec::default());
    let response = match request.uri().path() {
        "/test.Notes/Joined" => server.client_streaming(Call(joined), request).await,
        "/test.Notes/Spelled" => server.server_streaming(Call(spelled), request).await,
        "/test.Notes/Capitals" => server.streaming(Call(capitals), request).await,
        "/test.Notes/Refused" => server.unary(Call(refused), request).await,
        "/test.Notes/Same" => {
            let same = Call(async |request: Request<Note>| Ok(with_metadata_of(&request, request.get_ref().clone())));
            server.unary(same, request).await
        }
        other => panic!("no such method: {other}"),
    };
    Ok(response.map(|body| Body::new(body.map_err(Into::into))))
}

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

fn with_metadata<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(WORD, "word".parse().unwrap());
    request.metadata_mut().insert_bin(BYTES, MetadataValue::from_bytes(RAW));
    request.set_timeout(std::time::Duration::from_secs(30));
    request
}

fn assert_metadata(metadata: &tonic::metadata::MetadataMap) {
    assert_eq!(metadata.get(WORD).unwrap(), "word");
    assert_eq!(metadata.get_bin(BYTES).unwrap().to_bytes().unwrap(), RAW);
}

/// A client of the sidecar, ready for one call.
async fn client(sidecar: &Sidecar) -> Client<Channel> {
    let url = format!("http://{}", sidecar.serving());
    let endpoint = Channel::from_shared(url).unwrap();
    let mut client = Client::new(within("a channel", endpoint.connect()).await.unwrap());
    client.ready().await.unwrap();
    client
}

fn method(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_unary_and_client_streaming_calls_pass_with_their_metadata() {
    let user = Service::start(serve);
    let sidecar = sidecar().user_port(user.port()).start().await;
    for length in [0, 5, 300_000] {
        let text = "x".repeat(length);
        let mut client = client(&sidecar).await;
        let call = client.unary(with_metadata(note(&text)), method("/test.Notes/Same"), Codec::default());
        let answer = within("a unary call", call).await.unwrap();
        assert_metadata(answer.metadata());
        assert_eq!(answer.get_ref().text, text);
    }
    let mut client = client(&sidecar).await;
    let notes = stream::iter(["a", "", "bc"].map(note));
    let call = client.client_streaming(with_metadata(notes), method("/test.Notes/Joined"), Codec::default());
    let answer = within("a client-streaming call", call).await.unwrap();
    assert_metadata(answer.metadata());
    assert_eq!(answer.get_ref().text, "abc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_server_streaming_calls_pass_to_the_error_in_their_trailers() {
    let user = Service::start(serve);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = client(&sidecar).await;
    let call = client.server_streaming(
        with_metadata(note("abc")),
        method("/test.Notes/Spelled"),
        Codec::default(),
    );
    let answer = within("a server-streaming call", call).await.unwrap();
    assert_metadata(answer.metadata());
    let mut notes = answer.into_inner();
    for letter in ["a", "b", "c"] {
        assert_eq!(within("a note", notes.message()).await.unwrap(), Some(note(letter)));
    }
    let end = within("the end", notes.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Aborted, "spelled"));
}

/// The client sends each note after the answer to the one before: neither direction waits for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_bidirectional_calls_are_conversations() {
    let user = Service::start(serve);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = client(&sidecar).await;
    let (sender, receiver) = mpsc::channel(1);
    let notes = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let notes = with_metadata(Box::pin(notes));
    let call = client.streaming(notes, method("/test.Notes/Capitals"), Codec::default());
    let answer = within("a bidirectional call", call).await.unwrap();
    assert_metadata(answer.metadata());
    let mut answers = answer.into_inner();
    for turn in 0..50 {
        sender.send(note(format!("turn {turn}"))).await.unwrap();
        let answer = within("an answer", answers.message()).await.unwrap();
        assert_eq!(answer, Some(note(format!("TURN {turn}"))));
    }
    drop(sender);
    assert_eq!(within("the end", answers.message()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_an_error_in_trailers_alone_passes_unchanged() {
    let user = Service::start(serve);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = client(&sidecar).await;
    let call = client.unary(with_metadata(note("")), method("/test.Notes/Refused"), Codec::default());
    let status = within("a refusal", call).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!((status.message(), status.details()), ("not now: 100 %, caf\u{e9}", RAW));
    assert_metadata(status.metadata());
    // As it goes over the wire: one block of headers that ends the stream.
    let headers = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "30000000u"),
        (WORD, "word"),
        (BYTES, "AA"),
    ];
    let url = format!("http://{}/test.Notes/Refused", sidecar.serving());
    let mut plain = Http2::open(sidecar.serving()).await;
    let answer = plain
        .fetch(request("POST", url, &headers, bytes_body(&b"\0\0\0\0\0"[..])))
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "9"));
    assert!(answer.trailers.is_none() && answer.body.is_empty(), "{answer:?}");
}

/// What the sidecar itself answers has no `grpc-status`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_errors_of_the_proxys_own_are_plain_http() {
    let sidecar = sidecar().allow("error reverse proxying request; ").start().await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let url = format!("http://{}/test.Notes/Same", sidecar.serving());
    let mut plain = Http2::open(sidecar.serving()).await;
    let answer = plain
        .fetch(request("POST", url, &headers, bytes_body(&b"\0\0\0\0\0"[..])))
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (502, ""));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(answer.trailers.is_none() && answer.text().ends_with('\n'), "{answer:?}");
}
