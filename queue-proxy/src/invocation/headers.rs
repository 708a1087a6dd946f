//! Header rules towards the user container and back (contract of the queue-proxy, sections 2.2 and 2.3).
//!
//! Runs on every request: looks names up, builds nothing that a request does not need. Bytes that are no UTF-8 survive.

mod forwarded;

use std::{fmt::Write as _, net::SocketAddr};

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use xdt_proto::headers as xdt;

pub use forwarded::synthesized_forwarded;

static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static SERVING_REVISION: HeaderName = HeaderName::from_static("knative-serving-revision");
static SERVING_NAMESPACE: HeaderName = HeaderName::from_static("knative-serving-namespace");
static ORIGINAL_HOST: HeaderName = HeaderName::from_static("k-original-host");
static PROXY_REQUEST: HeaderName = HeaderName::from_static("k-proxy-request");
static NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
static KUBELET_PROBE: HeaderName = HeaderName::from_static("k-kubelet-probe");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that end at each hop (RFC 9110, section 7.6.1, and what the stock proxy removes); `Connection` comes first,
/// in [`remove_hop_by_hop`].
static HOP_BY_HOP: [&HeaderName; 8] = [
    &PROXY_CONNECTION,
    &KEEP_ALIVE,
    &header::PROXY_AUTHENTICATE,
    &header::PROXY_AUTHORIZATION,
    &header::TE,
    &header::TRAILER,
    &header::TRANSFER_ENCODING,
    &header::UPGRADE,
];

/// Whether the activator sent the request (and counts it itself).
#[must_use]
pub fn came_through_activator(map: &HeaderMap) -> bool {
    map.get(&PROXY_REQUEST).is_some_and(|value| value == "activator")
}

/// Whether the kubelet itself probes the user container: such requests pass beside the breaker and the statistics.
#[must_use]
pub fn is_kubelet_probe(map: &HeaderMap) -> bool {
    map.get(&KUBELET_PROBE).is_some_and(|value| !value.is_empty())
}

/// Whether logs and metrics count a request as a probe (the rules for answering probes are narrower).
#[must_use]
pub fn is_probe(map: &HeaderMap) -> bool {
    let agent = map.get(header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    agent.starts_with(b"kube-probe/")
        || is_kubelet_probe(map)
        || map.get(&NETWORK_PROBE).is_some_and(|value| !value.is_empty())
}

/// What a request log sees of [`towards_user`]: stock makes these changes in the request itself, all others in a copy.
pub fn as_logged(map: &mut HeaderMap) {
    if let Some(forwarded) = synthesized_forwarded(map) {
        map.insert(header::FORWARDED, forwarded);
    }
    if map.get(&ORIGINAL_HOST).is_some_and(|value| !value.is_empty()) && !is_kubelet_probe(map) {
        map.remove(&ORIGINAL_HOST);
    }
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
    if let Some(forwarded) = synthesized_forwarded(map) {
        map.insert(header::FORWARDED, forwarded);
    }
    keeping_trailer(map, remove_hop_by_hop_but_trailers);
    map.remove(&SERVING_REVISION);
    map.remove(&SERVING_NAMESPACE);
    append_peer(map, peer);
    if xdt_on {
        remove_xdt(map);
    }
}

/// Takes from trailers what would mean something else than a trailer: framing, routing, and what user code must not see.
pub fn clean_trailers(map: &mut HeaderMap) {
    remove_hop_by_hop(map);
    for name in [header::CONTENT_LENGTH, header::HOST] {
        map.remove(name);
    }
    remove_xdt(map);
}

/// Rewrites a response for the client.
pub fn towards_client(map: &mut HeaderMap) {
    // Chunks count, whatever length was announced beside them (RFC 9112, section 6.3).
    if map.contains_key(header::TRANSFER_ENCODING) {
        map.remove(header::CONTENT_LENGTH);
    }
    keeping_trailer(map, remove_hop_by_hop);
}

/// Trailers that were announced, on however many lines, stay announced.
fn keeping_trailer(map: &mut HeaderMap, remove: impl FnOnce(&mut HeaderMap)) {
    let announced: Vec<_> = map.get_all(header::TRAILER).iter().cloned().collect();
    remove(map);
    for line in announced {
        map.append(header::TRAILER, line);
    }
}

/// Tells the client that its connection ends with this response.
pub fn announce_close(map: &mut HeaderMap) {
    map.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// As [`remove_hop_by_hop`] for requests: whoever takes trailers still does at the next hop (gRPC servers insist).
pub fn remove_hop_by_hop_but_trailers(map: &mut HeaderMap) {
    let trailers = map.get_all(header::TE).iter().any(|value| lists(value, "trailers"));
    remove_hop_by_hop(map);
    if trailers {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the headers that end at this hop, and those that `Connection` names.
pub fn remove_hop_by_hop(map: &mut HeaderMap) {
    let mut lines = map.get_all(header::CONNECTION).iter().cloned();
    if let Some(first) = lines.next() {
        let more: Vec<HeaderValue> = lines.collect();
        map.remove(header::CONNECTION);
        remove_named(map, &first);
        more.iter().for_each(|line| remove_named(map, line));
    }
    for name in HOP_BY_HOP {
        map.remove(name);
    }
}

/// The host is part of the request's target and stays.
fn remove_named(map: &mut HeaderMap, value: &HeaderValue) {
    for name in tokens(value).filter_map(|token| HeaderName::from_bytes(token).ok()) {
        if name != header::HOST {
            map.remove(name);
        }
    }
}

/// The comma-separated tokens of a header value, whatever bytes stand beside them.
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether `token` stands among the tokens of a header value, in any case.
#[must_use]
pub fn lists(value: &HeaderValue, token: &str) -> bool {
    tokens(value).any(|part| part.eq_ignore_ascii_case(token.as_bytes()))
}

/// Also with an underscore: CGI-like servers give both spellings one name.
fn is_xdt(name: &HeaderName) -> bool {
    name.as_str().starts_with(xdt::PREFIX) || name.as_str().starts_with("xdt_")
}

/// Removes every `Xdt-*` header: the user container sees the original request.
fn remove_xdt(map: &mut HeaderMap) {
    if !map.keys().any(is_xdt) {
        return;
    }
    let names: Vec<HeaderName> = map.keys().filter(|name| is_xdt(name)).cloned().collect();
    for name in names {
        map.remove(name);
    }
}

/// `K-Original-Host` becomes the host again (not for the kubelet's own requests); the authority of an HTTP/2 request
/// or of a target in absolute form becomes the `Host` header.
fn restore_host<B>(request: &mut Request<B>) {
    let map = request.headers();
    let original = map.get(&ORIGINAL_HOST).filter(|value| !value.is_empty());
    if let Some(host) = original.filter(|_| !is_kubelet_probe(map)).cloned() {
        request.headers_mut().remove(&ORIGINAL_HOST);
        request.headers_mut().insert(header::HOST, host);
    } else if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(without_user(authority.as_str()))
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Folds all lines of `X-Forwarded-For` into one and appends the peer.
fn append_peer(map: &mut HeaderMap, peer: SocketAddr) {
    let mut text = BytesMut::with_capacity(64);
    for line in map.get_all(&FORWARDED_FOR) {
        text.put_slice(line.as_bytes());
        text.put_slice(b", ");
    }
    // Writing to memory does not fail, and an address is a header value.
    let _written = write!(text, "{}", peer.ip().to_canonical());
    if let Ok(value) = HeaderValue::from_maybe_shared(text.freeze()) {
        map.insert(&FORWARDED_FOR, value);
    }
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
        assert_eq!(names, ["forwarded", "host", "k-proxy-request", "te", "x-forwarded-for"]);
        assert_eq!(request.headers()["host"], "app.example");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.9");
    }

    #[test]
    fn bytes_that_are_no_utf8_survive() {
        let odd = HeaderValue::from_bytes(b"\xff\xfe,1.1.1.1").expect("a header value");
        let mut request = request(&[("host", "h"), ("x-foo", "1"), ("x-bar", "1"), ("x-kept", "1")]);
        request.headers_mut().insert(&FORWARDED_FOR, odd);
        let named = HeaderValue::from_bytes(b"\xff, X-Foo ,,\thost").expect("a header value");
        request.headers_mut().append(header::CONNECTION, named);
        request
            .headers_mut()
            .append(header::CONNECTION, HeaderValue::from_static("x-bar"));
        towards_user(&mut request, peer(), true);
        let map = request.headers();
        assert_eq!(map[&FORWARDED_FOR].as_bytes(), b"\xff\xfe,1.1.1.1, 10.0.0.9");
        assert_eq!(map[header::FORWARDED].as_bytes(), b"for=\xff\xfe, for=1.1.1.1");
        assert!(!map.contains_key("x-foo") && !map.contains_key("x-bar") && map.contains_key("x-kept"));
        assert!(map.contains_key(header::HOST), "the host is no header of a hop");
    }

    #[test]
    fn the_target_names_the_host() {
        let mut request = request(&[("host", "ignored")]);
        *request.uri_mut() = "http://user@named.example:81/x".parse().expect("a target");
        towards_user(&mut request, peer(), false);
        assert_eq!(request.headers()["host"], "named.example:81");
    }

    #[test]
    fn the_kubelets_own_requests_keep_their_host() {
        let mut request = request(&[("host", "h"), ("k-original-host", "o"), ("k-kubelet-probe", "x")]);
        towards_user(&mut request, peer(), false);
        assert_eq!(request.headers()["host"], "h");
        assert_eq!(request.headers()["k-original-host"], "o");
    }

    #[test]
    fn chunks_beat_an_announced_length() {
        let mut map = request(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("connection", "close, X-Foo"),
            ("x-foo", "1"),
            ("trailer", "x-sum"),
        ])
        .headers()
        .clone();
        towards_client(&mut map);
        let names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["trailer"]);
    }

    #[test]
    fn without_a_key_ring_xdt_headers_are_strangers_like_others() {
        let mut request = request(&[("xdt-reference", "xdt1.AAAA"), ("te", "gzip")]);
        towards_user(&mut request, peer(), false);
        assert!(request.headers().contains_key("xdt-reference"));
        assert!(!request.headers().contains_key("te"));
    }
}
