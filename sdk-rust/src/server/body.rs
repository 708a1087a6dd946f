//! The body type around a layered service: whatever the server brought, an object on its way, or a problem.
//!
//! Used by [`XdtLayer`](super::XdtLayer) on both sides of the handler. Copies nothing; the one allocation per body is
//! the box.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use xdt_proto::{ErrorWord, PROBLEM_TYPE_PREFIX, headers};

use crate::{Error, Reader};

/// The error of a [`Body`]: the server's own, or an [`Error`] of this crate.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A request or response body of `Bytes`; goes into axum by `axum::body::Body::new`.
pub struct Body(UnsyncBoxBody<Bytes, BoxError>);

impl Body {
    /// Wraps another body, without a copy.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(body.map_err(Into::into).boxed_unsync())
    }

    pub(super) fn from_reader(reader: Reader) -> Self {
        Self(ReaderBody(reader).boxed_unsync())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

struct ReaderBody(Reader);

impl http_body::Body for ReaderBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let chunk = self.0.poll_chunk(cx).map(Result::transpose);
        chunk.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.size() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The answer in place of the handler's (contract, section 3). Failures that only this side knows become the word
/// nearest in meaning: the object could not be had, nothing ran, trying again may help.
pub(super) fn problem(error: &Error) -> Response<Body> {
    let word = error.kind().word().unwrap_or(ErrorWord::ProducerUnreachable);
    let json = serde_json::json!({
        "type": format!("{PROBLEM_TYPE_PREFIX}{word}"),
        "title": word.as_str(),
        "status": word.status(),
        "detail": error.detail(),
    });
    let mut response = Response::new(Body::new(Full::from(json.to_string())));
    *response.status_mut() = StatusCode::from_u16(word.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer.insert(headers::ERROR, HeaderValue::from_static(word.as_str()));
    if word == ErrorWord::Busy {
        let seconds = error.retry_after().map_or(1, |wait| wait.as_secs());
        answer.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn every_word_is_answered_with_its_status() {
        for word in ErrorWord::ALL {
            let response = problem(&Error::new(word.into(), "why"));
            assert_eq!(response.status().as_u16(), word.status());
            assert_eq!(response.headers()[headers::ERROR], word.as_str());
            assert_eq!(response.headers().contains_key(RETRY_AFTER), word == ErrorWord::Busy);
        }
    }

    #[test]
    fn an_absent_sidecar_is_an_unreachable_producer() {
        let response = problem(&Error::new(ErrorKind::SidecarUnavailable, "why"));
        assert_eq!(response.headers()[headers::ERROR], "producer-unreachable");
    }
}
