//! What an ingress does to headers: finds the host, removes what belongs to one hop, tells where the request came from.

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::Authority;
use http::{Request, Version};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that concern one connection only (RFC 9110, section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whom the request is for: `:authority` or an absolute target before `Host`.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<Authority> {
    let host = || request.headers().get(HOST)?.to_str().ok()?.parse().ok();
    request.uri().authority().cloned().or_else(host)
}

/// The host in its one spelling: without port and final dot, in lower case.
pub(crate) fn host_name(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

/// Makes `request` the next hop's: as an ingress at the edge, which believes no one about host and protocol.
pub(crate) fn forward<B>(request: &mut Request<B>, authority: &Authority, peer: IpAddr) {
    let upgrade = request
        .headers()
        .get(UPGRADE)
        .filter(|_| request.version() < Version::HTTP_2)
        .cloned();
    let takes_trailers = request
        .headers()
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    headers.remove(TE);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    let before: Vec<_> = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let chain = before
        .into_iter()
        .map(str::to_owned)
        .chain([peer.to_string()])
        .collect::<Vec<_>>()
        .join(", ");
    set(headers, FORWARDED_FOR, &chain);
    set(headers, FORWARDED_HOST, authority.as_str());
    set(headers, FORWARDED_PROTO, "http");
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Removes the headers of one hop, and those that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != TE)
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/path");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn the_host_is_found_in_either_place_and_any_spelling() {
        let plain = authority(&request(&[("host", "Echo.Default.localhost.:8080")])).unwrap();
        assert_eq!(host_name(&plain), "echo.default.localhost");
        let absolute = Request::builder()
            .uri("http://a.b.localhost/x")
            .header("host", "other")
            .body(())
            .unwrap();
        assert_eq!(host_name(&authority(&absolute).unwrap()), "a.b.localhost");
        assert_eq!(authority(&request(&[])), None);
    }

    #[test]
    fn the_next_hop_learns_where_a_request_came_from() {
        let mut request = request(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("te", "trailers"),
        ]);
        forward(
            &mut request,
            &Authority::from_static("f.default.localhost:80"),
            IpAddr::from([127, 0, 0, 9]),
        );
        let headers = request.headers();
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 127.0.0.9");
        assert_eq!(headers["x-forwarded-host"], "f.default.localhost:80");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn headers_of_one_hop_end_here_but_an_upgrade_goes_on() {
        let mut request = request(&[
            ("connection", "upgrade, x-private"),
            ("upgrade", "websocket"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("x-public", "2"),
        ]);
        forward(&mut request, &Authority::from_static("f"), IpAddr::from([127, 0, 0, 1]));
        let headers = request.headers();
        assert!(!headers.contains_key("x-private") && !headers.contains_key("keep-alive"));
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        assert_eq!(headers["x-public"], "2");
    }
}
