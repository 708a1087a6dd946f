//! The answer to an invoke, with its body wherever it lies: on the connection, or behind a reference.
//!
//! Made by invoke. The head is here when the call returns; the body is read by whoever wants it, as it arrives.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body::Body as _;
use hyper::body::Incoming;
use xdt_proto::{Reference, headers};

use crate::{
    Error, Metadata, Object, Reader, Result,
    client::Shared,
    reader::Head,
    transport::{GetRequest, content_type},
};

/// What a callee answered. Dropping it closes the connection that the body would have come by.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    reader: Reader,
}

impl Response {
    /// The status; failing ones are answers like any other, unless they carry an error word.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers, as if the body had come inline: without those that carried a reference.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The whole body in memory, with the answer's content type.
    ///
    /// # Errors
    /// As [`Reader::collect`].
    /// # Cancel safety
    /// Dropping the future loses the body.
    pub async fn body(self) -> Result<Object> {
        self.reader.collect().await
    }

    /// The whole body in memory, bytes only.
    ///
    /// # Errors
    /// As [`Reader::collect`].
    /// # Cancel safety
    /// Dropping the future loses the body.
    pub async fn bytes(self) -> Result<Bytes> {
        self.body().await.map(Object::into_bytes)
    }

    /// The body to be read as it arrives.
    #[must_use]
    pub fn reader(self) -> Reader {
        self.reader
    }

    /// The answer with its own body.
    pub(crate) fn plain(shared: &Shared, answer: http::Response<Incoming>, silence: Duration) -> Self {
        let (parts, body) = answer.into_parts();
        let head = Head {
            content_type: content_type(&parts.headers),
            metadata: Metadata::new(),
            memory_limit: shared.memory_limit,
            silence,
            is_answer: true,
        };
        Self {
            status: parts.status,
            headers: parts.headers,
            reader: Reader::new(body, head),
        }
    }

    /// The answer with the body that its reference stands for, if it came empty and with one (contract, section 4).
    /// An answer with both is what the callee wanted to say, and left as it is.
    ///
    /// # Errors
    /// As a get of that reference.
    pub(crate) async fn resolved(shared: &Shared, answer: http::Response<Incoming>, silence: Duration) -> Result<Self> {
        let Some(value) = answer.headers().get(headers::REFERENCE) else {
            return Ok(Self::plain(shared, answer, silence));
        };
        if !answer.body().is_end_stream() {
            return Ok(Self::plain(shared, answer, silence));
        }
        let reference: Reference = value
            .to_str()
            .unwrap_or_default()
            .parse()
            .map_err(|error| Error::from(error).after_running())?;
        let request = GetRequest {
            reference,
            range: None,
            silence,
            memory_limit: shared.memory_limit,
        };
        let mut reader = shared.transport.open(request).await.map_err(Error::after_running)?;
        let (parts, _) = answer.into_parts();
        reader.become_answer(content_type(&parts.headers));
        let headers = inline_headers(parts.headers, reader.size());
        Ok(Self {
            status: parts.status,
            headers,
            reader,
        })
    }
}

/// Prints the status and how far the body is; headers may hold secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

fn inline_headers(mut answer: HeaderMap, size: Option<u64>) -> HeaderMap {
    for name in [headers::REFERENCE, headers::OBJECT_SIZE] {
        answer.remove(name);
    }
    answer.remove(CONTENT_LENGTH);
    answer.remove(TRANSFER_ENCODING);
    if let Some(size) = size {
        answer.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    answer
}
