//! Calls to a peer as HTTP/2 requests: unary ones, and a pull whose request side stays open for the confirmation.

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Version, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::oneshot;
use xdt_proto::v1;

use super::super::{frame::Outgoing, peers::CallBody};
use crate::body::BoxError;

/// A call of `method` of the data plane.
pub(super) fn call(method: &str, body: CallBody) -> Request<CallBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // The authority says nothing: peers are recognised by their tickets.
    let uri = format!("http://xdt-queue-proxy/xdt.v1.Transfer/{method}");
    *request.uri_mut() = uri.parse().unwrap_or_default();
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/grpc"),
    );
    request
        .headers_mut()
        .insert(header::TE, header::HeaderValue::from_static("trailers"));
    request
}

fn encoded(message: &impl prost::Message) -> Bytes {
    use bytes::Buf as _;
    let mut outgoing = Outgoing::message(message);
    let length = outgoing.remaining();
    outgoing.copy_to_bytes(length)
}

/// A call with one message.
pub(super) fn unary(method: &str, message: &impl prost::Message) -> Request<CallBody> {
    let body = http_body_util::Full::new(encoded(message)).map_err(|never| match never {});
    call(method, CallBody::new(body))
}

/// `start`, and, when it claims, a request side that stays open for the confirmation.
pub(super) fn pull_body(start: v1::Start, counts: bool) -> (CallBody, Option<oneshot::Sender<()>>) {
    let start = encoded(&v1::PullRequest {
        step: Some(v1::pull_request::Step::Start(start)),
    });
    if !counts {
        return (
            CallBody::new(http_body_util::Full::new(start).map_err(|never| match never {})),
            None,
        );
    }
    let (confirm, confirmed) = oneshot::channel();
    let steps = stream::unfold(PullSteps::Start(start, confirmed), |steps| async move {
        match steps {
            PullSteps::Start(start, confirmed) => Some((Ok(Frame::data(start)), PullSteps::Confirm(confirmed))),
            PullSteps::Confirm(confirmed) => {
                // Without a confirmation the request side ends, which gives the claim back.
                confirmed.await.ok()?;
                let confirm = v1::PullRequest {
                    step: Some(v1::pull_request::Step::Confirm(v1::Confirm {})),
                };
                Some((Ok(Frame::data(encoded(&confirm))), PullSteps::Done))
            }
            PullSteps::Done => None,
        }
    });
    (
        CallBody::new(StreamBody::new(steps).map_err(|error: BoxError| error)),
        Some(confirm),
    )
}

enum PullSteps {
    Start(Bytes, oneshot::Receiver<()>),
    Confirm(oneshot::Receiver<()>),
    Done,
}
