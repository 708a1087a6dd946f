//! What an HTTP/1 server answers itself, before any handler: requests without a usable host, and `OPTIONS *`.
//!
//! Contract of the queue-proxy, sections 2.4 and 2.6; the rules and texts are those of Go's server, which the callers of
//! the stock proxy know. hyper leaves these checks to us.

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::super::{body, body::Body, invocation::headers::lists};

/// The answer to a request that goes no further; `None` for all others.
pub(super) fn answer<B>(request: &Request<B>) -> Option<Response<Body>> {
    let map = request.headers();
    let mut hosts = map.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    match host {
        None if request.version() == Version::HTTP_11 && request.method() != Method::CONNECT => {
            return Some(refusal(
                StatusCode::BAD_REQUEST,
                "400 Bad Request: missing required Host header",
            ));
        }
        _ if second.is_some() => return Some(refusal(StatusCode::BAD_REQUEST, "400 Bad Request")),
        Some(host) if !host.as_bytes().iter().all(|byte| may_stand_in_host(*byte)) => {
            return Some(refusal(
                StatusCode::BAD_REQUEST,
                "400 Bad Request: malformed Host header",
            ));
        }
        _ => {}
    }
    if let Some(coding) = map.get(header::TRANSFER_ENCODING)
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || map.get_all(header::TRANSFER_ENCODING).iter().count() > 1)
    {
        return Some(refusal(StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding"));
    }
    if let Some(expectation) = map.get(header::EXPECT).filter(|value| !value.is_empty())
        && !lists(expectation, "100-continue")
    {
        return Some(closing(StatusCode::EXPECTATION_FAILED, body::empty()));
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Some(Response::new(body::empty()));
    }
    None
}

/// Bytes of a host and its port, of which names, addresses and encodings are made (Go: `ValidHostHeader`).
fn may_stand_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&()*+,-.:;=[']_~".contains(&byte)
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = closing(status, body::full(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn closing(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: Version, headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        answer(&request).map(|response| response.status().as_u16())
    }

    #[test]
    fn a_request_needs_one_usable_host() {
        for (headers, expected) in [
            (&[][..], Some(400)),
            (&[("host", "a")], None),
            (&[("host", "")], None),
            (&[("host", "[::1]:80")], None),
            (&[("host", "a"), ("host", "a")], Some(400)),
            (&[("host", "a/b")], Some(400)),
            (&[("host", "a b")], Some(400)),
        ] {
            assert_eq!(status(Version::HTTP_11, headers), expected, "{headers:?}");
        }
        assert_eq!(status(Version::HTTP_10, &[]), None);
    }

    #[test]
    fn what_cannot_be_read_or_expected_is_refused() {
        for (name, value, expected) in [
            ("transfer-encoding", "Chunked", None),
            ("transfer-encoding", "gzip, chunked", Some(501)),
            ("transfer-encoding", "identity", Some(501)),
            ("expect", "100-Continue", None),
            ("expect", "a miracle", Some(417)),
        ] {
            assert_eq!(
                status(Version::HTTP_11, &[("host", "a"), (name, value)]),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn general_options_are_the_proxys_own() {
        let request = |target: &str| {
            Request::options(target)
                .header("host", "a")
                .body(())
                .expect("a request")
        };
        assert_eq!(
            answer(&request("*")).map(|response| response.status()),
            Some(StatusCode::OK)
        );
        assert!(answer(&request("/")).is_none());
    }
}
