//! What of a request labels its metrics and spans. Clients choose some of these texts, so each is cut to a length; how
//! many different ones are kept is bounded where they are kept ([`super::metrics`]).

use http::{HeaderMap, Method, Request, Version, header, uri::Scheme};

/// Longest host name (RFC 1035).
const MAX_HOST: usize = 253;
/// Longest tag of a route (a DNS label).
const MAX_TAG: usize = 63;
/// The tag of the route by which a request came.
const TAG: &str = "knative-serving-tag";
/// Whether it came by the route's default.
const DEFAULT_ROUTE: &str = "knative-serving-default-route";

/// The part of a request that its metrics tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// One of HTTP's own; `None` = any other.
    pub method: Option<&'static str>,
    /// `1.0`, `1.1`, `2.0`.
    pub version: &'static str,
    /// Host name of the `Host` header; may be empty.
    pub host: String,
    /// Its port, unless it is the scheme's own.
    pub port: Option<u16>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// How the request came to this revision.
    pub tag: RouteTag,
}

/// Why a request came to this revision (contract of the queue-proxy, section 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTag {
    /// Routes have no tags.
    Disabled,
    /// By the route's default.
    Default,
    /// By a tag and by default: that should not be.
    Undefined,
    /// By this tag.
    Tag(String),
}

impl Labels {
    /// Those of a request.
    pub fn of<B>(request: &Request<B>, tls: bool) -> Self {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let (host, port) = split(authority.or(host).unwrap_or_default());
        let (scheme, own) = if tls { (Scheme::HTTPS, 443) } else { (Scheme::HTTP, 80) };
        Self {
            method: standard(request.method()),
            version: version(request.version()),
            host: cut(host, MAX_HOST).to_owned(),
            port: port.filter(|port| *port > 0 && *port != own),
            scheme: if scheme == Scheme::HTTPS { "https" } else { "http" },
            tag: RouteTag::of(request.headers()),
        }
    }

    /// The method, or `_OTHER`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method.unwrap_or("_OTHER")
    }
}

impl RouteTag {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        match (text(TAG), text(DEFAULT_ROUTE)) {
            ("", "") => Self::Disabled,
            ("", _) => Self::Default,
            (_, "true") => Self::Undefined,
            (tag, _) => Self::Tag(cut(tag, MAX_TAG).to_owned()),
        }
    }

    /// As releases from 1.19 on write it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Disabled => "kn:disabled",
            Self::Default => "kn:default",
            Self::Undefined => "kn:undefined",
            Self::Tag(tag) => tag,
        }
    }

    /// As releases up to 1.18 write it.
    #[must_use]
    pub fn legacy_text(&self) -> &str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Default => "DEFAULT",
            Self::Undefined => "UNDEFINED",
            Self::Tag(tag) => tag,
        }
    }
}

/// At most `most` bytes of a text.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn standard(method: &Method) -> Option<&'static str> {
    const STANDARD: [&str; 9] = [
        "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
    ];
    STANDARD
        .into_iter()
        .find(|standard| standard.eq_ignore_ascii_case(method.as_str()))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    }
}

/// Host and port of a `Host` header; what is neither is an empty host.
fn split(text: &str) -> (&str, Option<u16>) {
    let bracketed = text
        .strip_prefix('[')
        .map(|rest| rest.split_once(']').unwrap_or_default());
    match bracketed {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':').and_then(|port| port.parse().ok()) {
            Some(port) => (host, Some(port)),
            None => ("", None),
        },
        None => match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => ("", None),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(method: &str, host: &str, headers: &[(&'static str, &str)], tls: bool) -> Labels {
        let mut request = Request::builder().method(method).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Labels::of(&request.body(()).expect("a request"), tls)
    }

    #[test]
    fn hosts_are_split_as_go_splits_them() {
        let cases = [
            ("a.b", "a.b", None),
            ("a.b:8080", "a.b", Some(8080)),
            ("a.b:80", "a.b", None),
            ("[::1]:9", "::1", Some(9)),
            ("[::1]", "::1", None),
            ("a:b", "", None),
            ("[::1", "", None),
            ("", "", None),
        ];
        for (host, address, port) in cases {
            let labels = labels("GET", host, &[], false);
            assert_eq!((labels.host.as_str(), labels.port), (address, port), "{host}");
        }
        assert_eq!(labels("GET", "a:443", &[], true).port, None);
        assert_eq!(labels("GET", "a:80", &[], true).port, Some(80));
    }

    #[test]
    fn only_standard_methods_have_a_name() {
        assert_eq!(labels("GET", "", &[], false).method(), "GET");
        assert_eq!(labels("get", "", &[], false).method(), "GET");
        assert_eq!(labels("BREW", "", &[], false).method(), "_OTHER");
    }

    #[test]
    fn a_route_tag_has_four_forms() {
        let tag = |pairs: &[(&'static str, &str)]| labels("GET", "", pairs, false).tag.text().to_owned();
        assert_eq!(tag(&[]), "kn:disabled");
        assert_eq!(tag(&[(DEFAULT_ROUTE, "false")]), "kn:default");
        assert_eq!(tag(&[(TAG, "blue"), (DEFAULT_ROUTE, "true")]), "kn:undefined");
        assert_eq!(tag(&[(TAG, "blue"), (DEFAULT_ROUTE, "false")]), "blue");
        assert_eq!(tag(&[(TAG, "blue")]), "blue");
    }

    #[test]
    fn what_clients_choose_is_cut() {
        let long = "h".repeat(5000);
        let labels = labels("GET", &long, &[(TAG, &long)], false);
        assert_eq!(labels.host.len(), MAX_HOST);
        assert_eq!(labels.tag.text().len(), MAX_TAG);
        assert_eq!(cut("aä", 2), "a");
    }
}
