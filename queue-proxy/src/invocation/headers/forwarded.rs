//! `Forwarded` (RFC 7239) made from `X-Forwarded-*`, for user containers that read only the standard header.
//!
//! Contract of the queue-proxy, section 2.3 (`pkg/queue/forwarded_shim.go`). Looks at the request as it was received,
//! before this hop is appended to `X-Forwarded-For`, and at the first line of each header.

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The `Forwarded` that the user container gets, where the request has none of its own and any `X-Forwarded-*`.
///
/// An empty first node keeps its `;` (the stock proxy drops it, an accident).
#[must_use]
pub fn synthesized_forwarded(map: &HeaderMap) -> Option<HeaderValue> {
    let (nodes, host, proto) = (first(map, &FOR), first(map, &HOST), first(map, &PROTO));
    if (nodes.is_empty() && host.is_empty() && proto.is_empty()) || !first(map, &FORWARDED).is_empty() {
        return None;
    }
    let mut text = BytesMut::with_capacity(2 * nodes.len() + host.len() + proto.len() + 32);
    let mut nodes = Nodes(nodes);
    if let Some(node) = nodes.next() {
        put_node(&mut text, node);
    }
    for (name, value) in [(b"host=".as_slice(), host), (b"proto=", proto)] {
        if !value.is_empty() {
            if !text.is_empty() {
                text.put_u8(b';');
            }
            text.put_slice(name);
            text.put_slice(value);
        }
    }
    for node in nodes {
        text.put_slice(b", ");
        put_node(&mut text, node);
    }
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

fn first<'map>(map: &'map HeaderMap, name: &HeaderName) -> &'map [u8] {
    map.get(name).map_or(&[], HeaderValue::as_bytes)
}

/// Nodes of `X-Forwarded-For`; nothing after a last comma is no node.
struct Nodes<'text>(&'text [u8]);

impl<'text> Iterator for Nodes<'text> {
    type Item = &'text [u8];

    fn next(&mut self) -> Option<&'text [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let comma = self.0.iter().position(|byte| *byte == b',');
        let (node, rest) = comma.map_or((self.0, [].as_slice()), |at| (&self.0[..at], &self.0[at + 1..]));
        self.0 = rest;
        Some(node.trim_ascii())
    }
}

/// An IPv6 address is written in brackets and quotes.
fn put_node(text: &mut BytesMut, node: &[u8]) {
    text.put_slice(b"for=");
    if node.contains(&b':') {
        text.put_slice(b"\"[");
        text.put_slice(node);
        text.put_slice(b"]\"");
    } else {
        text.put_slice(node);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value).expect("a header value");
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    fn made(nodes: &[u8], host: &[u8], proto: &[u8]) -> Option<Vec<u8>> {
        let given = [
            ("x-forwarded-for", nodes),
            ("x-forwarded-host", host),
            ("x-forwarded-proto", proto),
        ];
        let given: Vec<_> = given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        synthesized_forwarded(&map(&given)).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn every_row_of_the_contract_holds() {
        for (nodes, host, proto, expected) in [
            (
                "127.0.0.1, ::1",
                "h",
                "p",
                r#"for=127.0.0.1;host=h;proto=p, for="[::1]""#,
            ),
            ("127.0.0.1, ::1", "", "", r#"for=127.0.0.1, for="[::1]""#),
            ("", "h", "p", "host=h;proto=p"),
            ("", "h", "", "host=h"),
            ("", "", "p", "proto=p"),
            (",,,", "", "", "for=, for=, for="),
            (",a", "hh", "", "for=;host=hh, for=a"),
            ("1.2.3.4", "", "https", "for=1.2.3.4;proto=https"),
        ] {
            let made = made(nodes.as_bytes(), host.as_bytes(), proto.as_bytes());
            assert_eq!(made.as_deref(), Some(expected.as_bytes()), "{nodes} {host} {proto}");
        }
        assert_eq!(made(b"", b"", b""), None);
    }

    #[test]
    fn one_of_the_requests_own_stays_and_an_empty_one_counts_for_none() {
        assert!(synthesized_forwarded(&map(&[("forwarded", b"for=a"), ("x-forwarded-for", b"b")])).is_none());
        let made = synthesized_forwarded(&map(&[("forwarded", b""), ("x-forwarded-for", b"b")]));
        assert_eq!(made.expect("one"), "for=b");
    }

    #[test]
    fn only_first_lines_count() {
        let mut map = map(&[("x-forwarded-for", b"a"), ("x-forwarded-by", b"z")]);
        map.append("x-forwarded-for", HeaderValue::from_static("b"));
        assert_eq!(synthesized_forwarded(&map).expect("one"), "for=a");
    }

    /// Lists, joins and trims, as one would on paper.
    fn model(nodes: &[u8], host: &[u8], proto: &[u8]) -> Option<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = nodes.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect();
        if parts.last().is_some_and(Vec::is_empty) {
            parts.pop();
        }
        let mut elements: Vec<Vec<u8>> = parts
            .iter()
            .map(|node| match node.trim_ascii() {
                node if node.contains(&b':') => [b"for=\"[", node, b"]\""].concat(),
                node => [b"for=", node].concat(),
            })
            .collect();
        let mut pairs: Vec<Vec<u8>> = elements.first().cloned().into_iter().collect();
        pairs.extend((!host.is_empty()).then(|| [b"host=", host].concat()));
        pairs.extend((!proto.is_empty()).then(|| [b"proto=", proto].concat()));
        if pairs.is_empty() {
            return None;
        }
        let first = pairs.join(b";".as_slice());
        if elements.is_empty() {
            return Some(first);
        }
        elements[0] = first;
        Some(elements.join(b", ".as_slice()))
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(b','),
            Just(b':'),
            Just(b' '),
            Just(b'\t'),
            0x21..0x7f_u8,
            0x80..=0xff_u8
        ];
        proptest::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn any_bytes_are_treated_as_the_model_does(nodes in value(), host in value(), proto in value()) {
            prop_assert_eq!(made(&nodes, &host, &proto), model(&nodes, &host, &proto));
        }
    }
}
