//! Header rules towards the user container and back (contract of the queue-proxy, section 2.2; not yet: `Forwarded`).

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use xdt_proto::headers as xdt;

/// Headers that end at each hop (RFC 9110, section 7.6.1, and what the stock proxy removes).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const KNATIVE_ONLY: [&str; 2] = ["knative-serving-revision", "knative-serving-namespace"];
const ORIGINAL_HOST: &str = "k-original-host";
const PROXY_REQUEST: &str = "k-proxy-request";
const KUBELET_PROBE: &str = "k-kubelet-probe";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether the activator sent the request (and counts it itself).
#[must_use]
pub fn came_through_activator(map: &HeaderMap) -> bool {
    map.get(PROXY_REQUEST).is_some_and(|value| value == "activator")
}

/// Whether the kubelet itself probes the user container: such requests pass beside the breaker and the statistics.
#[must_use]
pub fn is_kubelet_probe(map: &HeaderMap) -> bool {
    map.get(KUBELET_PROBE).is_some_and(|value| !value.is_empty())
}

/// Whether the caller takes a large answer as a reference.
#[must_use]
pub fn accepts_reference(map: &HeaderMap) -> bool {
    map.get(xdt::ACCEPT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(xdt::ACCEPT_REFERENCE.as_bytes()))
}

/// Rewrites a request for the user container.
pub fn towards_user<B>(request: &mut Request<B>, peer: SocketAddr, xdt_on: bool) {
    restore_host(request);
    let map = request.headers_mut();
    remove_hop_by_hop_but_trailers(map);
    for name in KNATIVE_ONLY {
        map.remove(name);
    }
    append_peer(map, peer);
    if xdt_on {
        remove_xdt(map);
    }
}

/// Rewrites a response for the client. Announced trailers stay announced.
pub fn towards_client(map: &mut HeaderMap) {
    let announced = map.get(header::TRAILER).cloned();
    remove_hop_by_hop(map);
    if let Some(announced) = announced {
        map.insert(header::TRAILER, announced);
    }
}

/// As [`remove_hop_by_hop`] for requests: whoever takes trailers still does at the next hop (gRPC servers insist).
pub fn remove_hop_by_hop_but_trailers(map: &mut HeaderMap) {
    let mut te = map.get_all(header::TE).iter();
    let trailers = te.any(|value| mentions(value, "trailers"));
    remove_hop_by_hop(map);
    if trailers {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the headers that end at this hop, and those that `Connection` names.
pub fn remove_hop_by_hop(map: &mut HeaderMap) {
    let named: Vec<HeaderName> = map
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        map.remove(name);
    }
    for name in HOP_BY_HOP {
        map.remove(name);
    }
}

/// Also with an underscore: CGI-like servers give both spellings one name.
fn is_xdt(name: &HeaderName) -> bool {
    name.as_str().starts_with(xdt::PREFIX) || name.as_str().starts_with("xdt_")
}

/// Removes every `Xdt-*` header: the user container sees the original request.
fn remove_xdt(map: &mut HeaderMap) {
    let names: Vec<HeaderName> = map.keys().filter(|name| is_xdt(name)).cloned().collect();
    for name in names {
        map.remove(name);
    }
}

/// `K-Original-Host` becomes the host again; an HTTP/2 authority becomes a `Host` header for an HTTP/1.1 container.
fn restore_host<B>(request: &mut Request<B>) {
    let original = request
        .headers()
        .get(ORIGINAL_HOST)
        .filter(|value| !value.is_empty())
        .cloned();
    if let Some(host) = original {
        request.headers_mut().remove(ORIGINAL_HOST);
        request.headers_mut().insert(header::HOST, host);
    } else if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn append_peer(map: &mut HeaderMap, peer: SocketAddr) {
    let mut nodes: Vec<String> = map
        .get_all(FORWARDED_FOR)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    nodes.push(peer.ip().to_canonical().to_string());
    if let Ok(joined) = HeaderValue::from_str(&nodes.join(", ")) {
        map.insert(FORWARDED_FOR, joined);
    }
}

fn mentions(value: &HeaderValue, token: &str) -> bool {
    value
        .to_str()
        .is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in pairs {
            request
                .headers_mut()
                .append(*name, value.parse().expect("a header value"));
        }
        request
    }

    fn peer() -> SocketAddr {
        "[::ffff:10.0.0.9]:4711".parse().expect("an address")
    }

    #[test]
    fn the_user_container_sees_the_original_request() {
        let mut request = request(&[
            ("host", "rev.ns"),
            ("k-original-host", "app.example"),
            ("knative-serving-revision", "r"),
            ("knative-serving-namespace", "n"),
            ("k-proxy-request", "activator"),
            ("connection", "x-foo, keep-alive"),
            ("x-foo", "1"),
            ("te", "gzip, trailers"),
            ("xdt-reference", "xdt1.AAAA"),
            ("xdt-anything", "1"),
            ("xdt_reference", "1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
        ]);
        towards_user(&mut request, peer(), true);
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "k-proxy-request", "te", "x-forwarded-for"]);
        assert_eq!(request.headers()["host"], "app.example");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.9");
    }

    #[test]
    fn without_a_key_ring_xdt_headers_are_strangers_like_others() {
        let mut request = request(&[("xdt-reference", "xdt1.AAAA"), ("te", "gzip")]);
        towards_user(&mut request, peer(), false);
        assert!(request.headers().contains_key("xdt-reference"));
        assert!(!request.headers().contains_key("te"));
    }
}
