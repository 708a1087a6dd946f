//! The local HTTP API of the sidecar, client side (contract, section 3).
//!
//! Called through [`Transport`](super::Transport). Holds the pool of kept-alive connections to one loopback address;
//! payload passes through chunk by chunk.

use std::{net::SocketAddr, time::Duration};

use ::http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE, TRANSFER_ENCODING},
    request::Builder,
};
use hyper::body::Incoming;
use xdt_proto::{Reference, headers};

use super::{
    ByteRange, GetRequest, PutRequest,
    answer::{self, unexpected},
    dial::{self, Dialer, HttpClient},
    send::{Peer, send},
};
use crate::{Error, Metadata, Reader, Result, Status, payload::Payload, reader::Head};

/// Speaks to the sidecar at one address; cheap to share, dials on first use.
pub(crate) struct HttpTransport {
    http: HttpClient<Dialer>,
    address: SocketAddr,
}

impl HttpTransport {
    /// `max_idle`: connections kept open while no call uses them.
    pub(crate) fn new(address: SocketAddr, max_idle: usize) -> Self {
        Self {
            http: dial::client(Dialer::direct(address), max_idle),
            address,
        }
    }

    pub(super) async fn put(&self, put: PutRequest) -> Result<Reference> {
        let mut request =
            Request::post(self.url(headers::OBJECTS_PATH)).header(headers::RETRIEVALS, put.terms.retrievals.get());
        if let Some(content_type) = put.terms.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(ttl) = put.terms.ttl {
            request = request.header(headers::TTL, ttl_value(ttl));
        }
        for (name, value) in put.terms.metadata {
            request = request.header(format!("{}{name}", headers::META_PREFIX), value);
        }
        let response = self.call(request, put.payload).await?;
        if response.status() != StatusCode::CREATED {
            return Err(unexpected(&response, "a put is answered by 201"));
        }
        let reference = response
            .headers()
            .get(headers::REFERENCE)
            .and_then(|value| value.to_str().ok());
        let reference = reference.and_then(|text| text.parse().ok());
        let reference = reference.ok_or_else(|| unexpected(&response, "the answer to a put carries a reference"))?;
        answer::finish(response.into_body()).await;
        Ok(reference)
    }

    pub(super) async fn get(&self, get: GetRequest) -> Result<Reader> {
        let mut request = Request::get(self.object_url(&get.reference));
        let mut expected = StatusCode::OK;
        if let Some(range) = get.range {
            expected = StatusCode::PARTIAL_CONTENT;
            request = request.header(RANGE, range_value(range));
            if range.counted {
                request = request.header(headers::FINAL, "true");
            }
        }
        let response = self.call(request, Payload::empty()).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let error = Error::invalid("range: lies outside the object");
            return Err(error.with_answer(response.status(), None));
        }
        if response.status() != expected {
            return Err(unexpected(&response, "a get is answered by 200, or by 206 for a range"));
        }
        if !is_framed(response.headers()) {
            // A body that ends with its connection cannot tell a broken transfer from a complete one.
            return Err(unexpected(&response, "the answer to a get has a length or is chunked"));
        }
        let (parts, body) = response.into_parts();
        let head = Head {
            content_type: content_type(&parts.headers),
            metadata: metadata(&parts.headers),
            memory_limit: get.memory_limit,
            silence: get.silence,
            is_answer: false,
        };
        Ok(Reader::new(body, head))
    }

    pub(super) async fn delete(&self, reference: &Reference) -> Result<()> {
        let response = self
            .call(Request::delete(self.object_url(reference)), Payload::empty())
            .await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(unexpected(&response, "a delete is answered by 204"));
        }
        Ok(())
    }

    pub(super) async fn status(&self) -> Result<Status> {
        let response = self
            .call(Request::get(self.url(headers::STATUS_PATH)), Payload::empty())
            .await?;
        answer::json(response).await
    }

    /// Sends one request; an answer with an error word, or with any failing status but 416, is `Err`.
    async fn call(&self, request: Builder, payload: Payload) -> Result<Response<Incoming>> {
        let body = payload.into_body().await?;
        let request = request
            .body(body)
            .map_err(|_| Error::invalid("the request cannot be written as HTTP"))?;
        let response = send(&self.http, request, Peer::Sidecar).await?;
        let status = response.status();
        let failed = status.is_client_error() || status.is_server_error();
        if response.headers().contains_key(headers::ERROR) || failed && status != StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(answer::problem(response).await);
        }
        Ok(response)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn object_url(&self, reference: &Reference) -> String {
        format!("http://{}{}/{reference}", self.address, headers::OBJECTS_PATH)
    }
}

/// A duration as the contract writes it: whole seconds, else milliseconds, rounded up so that only zero is `0`.
fn ttl_value(ttl: Duration) -> String {
    let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    match millis {
        0 => "0".to_owned(),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

fn range_value(range: ByteRange) -> String {
    match range.last {
        Some(last) => format!("bytes={}-{last}", range.start),
        None => format!("bytes={}-", range.start),
    }
}

fn is_framed(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

/// The content type as text; bytes that are no UTF-8 are replaced.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// User metadata; values of one name are joined by a comma, as RFC 9110 (section 5.2) joins header lines.
fn metadata(answer: &HeaderMap) -> Metadata {
    let mut metadata = Metadata::new();
    for (name, value) in answer {
        let Some(name) = name.as_str().strip_prefix(headers::META_PREFIX) else {
            continue;
        };
        let value = String::from_utf8_lossy(value.as_bytes());
        metadata
            .entry(name.to_owned())
            .and_modify(|joined: &mut String| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    #[test]
    fn durations_are_written_as_the_contract_reads_them() {
        let cases = [
            (Duration::ZERO, "0"),
            (Duration::from_nanos(1), "1ms"),
            (Duration::from_millis(1500), "1500ms"),
            (Duration::from_secs(30), "30s"),
        ];
        for (ttl, text) in cases {
            assert_eq!(ttl_value(ttl), text);
            assert!(xdt_proto::parse_duration(text).expect("the contract's form") >= ttl);
        }
        assert!(xdt_proto::parse_duration(&ttl_value(Duration::MAX)).is_ok());
    }

    #[test]
    fn metadata_of_one_name_is_joined() {
        let mut map = HeaderMap::new();
        map.append("xdt-meta-a", HeaderValue::from_static("1"));
        map.append("xdt-meta-a", HeaderValue::from_static("2"));
        map.append("xdt-reference", HeaderValue::from_static("3"));
        assert_eq!(metadata(&map), Metadata::from([("a".into(), "1, 2".into())]));
    }
}
