//! The URL that an HTTP probe asks for, and where a redirect leads from there.
//!
//! Sources: Go's `net/url` (what is escaped, what is refused), RFC 3986 section 5.2 (relative references). `Location`
//! values are bytes from a peer: bounded by the header limits of the connection, never trusted to be well formed.

use http::{HeaderValue, uri::PathAndQuery};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What Go escapes in a path: all but unreserved characters, sub-delimiters, `:@/[]`, and `%`, which is checked apart.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Go sends queries as they are; these could not be sent.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// An absolute URL, ready to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether it is `https`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port, the scheme's own if none is written.
    pub port: u16,
    /// Host and port as written: the `Host` header.
    pub authority: HeaderValue,
    /// What follows, without fragment.
    pub path: PathAndQuery,
}

/// Why a text is no URL to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A control character, or `%` that no two hexadecimal digits follow.
    #[error("invalid character or escape")]
    Escape,
    /// Neither `http` nor `https`.
    #[error("unsupported protocol scheme")]
    Scheme,
    /// No host, or a port that is none.
    #[error("invalid host or port")]
    Authority,
}

impl Target {
    /// The URL of a probe: exactly one slash is put before a path that has none.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn of_probe(scheme: &str, host: &str, port: u16, path: &str) -> Result<Self, TargetError> {
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let colon = host.contains(':');
        let host = if colon { format!("[{host}]") } else { host.to_owned() };
        let scheme = if scheme.is_empty() { "http" } else { scheme };
        let path = path.strip_prefix('/').unwrap_or(path);
        let text = format!("{scheme}://{host}:{port}/{path}");
        let Parts {
            scheme: Some(scheme),
            authority: Some(authority),
            path,
            query,
        } = Parts::of(&text)
        else {
            return Err(TargetError::Scheme);
        };
        Self::new(is_tls(scheme)?, authority, path, query)
    }

    /// Where `location` leads from here.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn redirected(&self, location: &str) -> Result<Self, TargetError> {
        let to = Parts::of(location);
        let tls = to.scheme.map_or(Ok(self.tls), is_tls)?;
        if to.scheme.is_some() || to.authority.is_some() {
            let authority = to.authority.ok_or(TargetError::Authority)?;
            return Self::new(tls, authority, &without_dots(to.path), to.query);
        }
        let authority = self.authority.to_str().map_err(|_| TargetError::Authority)?;
        let (path, query) = if to.path.is_empty() {
            let query = to.query.or(self.path.query());
            (self.path.path().to_owned(), query)
        } else if to.path.starts_with('/') {
            (to.path.to_owned(), to.query)
        } else {
            let folder = self.path.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            (format!("{folder}/{}", to.path), to.query)
        };
        Self::new(tls, authority, &without_dots(&path), query)
    }

    fn new(tls: bool, authority: &str, path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        // Credentials in a URL are not sent.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
        Ok(Self {
            tls,
            host,
            port,
            authority: HeaderValue::from_str(authority).map_err(|_| TargetError::Authority)?,
            path: path_and_query(path, query)?,
        })
    }

    /// Whether headers with credentials may go from here to `other`: the same host, or one below it.
    #[must_use]
    pub fn may_share_secrets_with(&self, other: &Self) -> bool {
        let (from, to) = (self.host.to_ascii_lowercase(), other.host.to_ascii_lowercase());
        let below = to.strip_suffix(&from).is_some_and(|rest| rest.ends_with('.'));
        to == from || below && to.parse::<std::net::IpAddr>().is_err()
    }

    /// As text, for the `Referer` of what follows a redirect.
    #[must_use]
    pub fn to_text(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let authority = self.authority.to_str().unwrap_or_default();
        format!("{scheme}://{authority}{}", self.path)
    }
}

/// A URL reference, cut where RFC 3986 cuts it; without its fragment.
struct Parts<'t> {
    scheme: Option<&'t str>,
    authority: Option<&'t str>,
    path: &'t str,
    query: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let (rest, query) = match text.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (text, None),
        };
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, after)) if is_scheme(scheme) => (Some(scheme), after),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => {
                let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Self {
            scheme,
            authority,
            path,
            query,
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_tls(scheme: &str) -> Result<bool, TargetError> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(false),
        "https" => Ok(true),
        _ => Err(TargetError::Scheme),
    }
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), TargetError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(TargetError::Authority)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| TargetError::Authority)?;
            (host, after.strip_prefix(':').or((after.is_empty()).then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = match port.ok_or(TargetError::Authority)? {
        "" => default,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| TargetError::Authority)?
        }
        _ => return Err(TargetError::Authority),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(valid) {
        return Err(TargetError::Authority);
    }
    Ok((host.to_owned(), port))
}

fn path_and_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, TargetError> {
    let control = |text: &str| text.bytes().any(|byte| byte.is_ascii_control());
    if control(path) || query.is_some_and(control) || !is_escaped_well(path) {
        return Err(TargetError::Escape);
    }
    let mut text = utf8_percent_encode(path, PATH).to_string();
    if !text.starts_with('/') {
        text.insert(0, '/');
    }
    if let Some(query) = query {
        text.push('?');
        text.extend(utf8_percent_encode(query, QUERY));
    }
    text.parse().map_err(|_| TargetError::Escape)
}

fn is_escaped_well(path: &str) -> bool {
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    bytes
        .iter()
        .enumerate()
        .all(|(at, byte)| *byte != b'%' || hex(bytes.get(at + 1)) && hex(bytes.get(at + 2)))
}

/// Takes `.` and `..` out of an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == ".." {
            kept.pop();
        }
        if segment == "." || segment == ".." {
            if last {
                kept.push("");
            }
        } else {
            kept.push(segment);
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe(path: &str) -> Result<String, TargetError> {
        Target::of_probe("HTTP", "127.0.0.1", 8080, path).map(|target| target.path.to_string())
    }

    #[test]
    fn paths_are_sent_as_go_sends_them() {
        for (path, sent) in [
            ("", "/"),
            ("/", "/"),
            ("healthz", "/healthz"),
            ("/healthz", "/healthz"),
            ("//healthz", "//healthz"),
            ("/a?b=c&d", "/a?b=c&d"),
            ("?q", "/?q"),
            ("/?query={__typename}", "/?query={__typename}"),
            ("/a b{c}", "/a%20b%7Bc%7D"),
            ("/a%2Fb;c", "/a%2Fb;c"),
            ("/ü", "/%C3%BC"),
            ("/a#part", "/a"),
            ("/a/../b", "/a/../b"),
            ("a:b", "/a:b"),
        ] {
            assert_eq!(probe(path).as_deref(), Ok(sent), "{path}");
        }
        for path in ["/%zz", "/a\nb", "/?a\r\nX: y"] {
            assert_eq!(probe(path), Err(TargetError::Escape), "{path:?}");
        }
    }

    #[test]
    fn schemes_and_hosts() {
        let target = |scheme, host| Target::of_probe(scheme, host, 1, "/");
        assert!(!target("", "").expect("defaults").tls);
        assert_eq!(target("", "").expect("defaults").authority, "127.0.0.1:1");
        assert!(target("HTTPS", "localhost").expect("valid").tls);
        assert_eq!(target("HTTP", "::1").expect("valid").authority, "[::1]:1");
        assert_eq!(target("HTTP", "::1").expect("valid").host, "::1");
        assert_eq!(target("FTP", "h"), Err(TargetError::Scheme));
        assert_eq!(target("HTTP", "a b"), Err(TargetError::Authority));
    }

    #[test]
    fn redirects_resolve_as_references_do() {
        let base = Target::of_probe("HTTP", "h", 8080, "/a/b?q").expect("valid");
        for (location, leads_to) in [
            ("/x", "http://h:8080/x"),
            ("c", "http://h:8080/a/c"),
            ("../c?d", "http://h:8080/c?d"),
            ("./", "http://h:8080/a/"),
            ("..", "http://h:8080/"),
            ("/x/./y/../z/..", "http://h:8080/x/"),
            ("?z", "http://h:8080/a/b?z"),
            ("", "http://h:8080/a/b?q"),
            ("#part", "http://h:8080/a/b?q"),
            ("//other/x", "http://other/x"),
            ("http://other:81", "http://other:81/"),
            ("HTTPS://user:pw@other/x#y", "https://other/x"),
            ("http://[::1]:9/x", "http://[::1]:9/x"),
            ("//other?x", "http://other/?x"),
        ] {
            assert_eq!(
                base.redirected(location).map(|to| to.to_text()).as_deref(),
                Ok(leads_to),
                "{location}"
            );
        }
        assert_eq!(base.redirected("https://other/").expect("valid").port, 443);
        for location in [
            "ftp://h/",
            "mailto:a",
            "http:///x",
            "http:x",
            "http://h:port/",
            "http://[::1/",
            "http://[x]/",
            "http://h:99999/",
            "/%",
        ] {
            assert!(base.redirected(location).is_err(), "{location}");
        }
    }

    #[test]
    fn secrets_stay_with_the_host_and_those_below_it() {
        let at = |host| Target::of_probe("HTTP", host, 1, "/").expect("valid");
        assert!(at("A.b").may_share_secrets_with(&at("a.b")));
        assert!(at("a.b").may_share_secrets_with(&at("c.a.b")));
        assert!(!at("a.b").may_share_secrets_with(&at("xa.b")));
        assert!(!at("a.b").may_share_secrets_with(&at("b")));
        assert!(!at("0.0.1").may_share_secrets_with(&at("127.0.0.1")));
        assert!(!at("::1").may_share_secrets_with(&at("127.0.0.1")));
    }

    proptest! {
        #[test]
        fn any_location_leads_somewhere_or_nowhere(location in "[/.:?#%@\\[\\]a-c \\u{0}-\\u{ff}]{0,40}") {
            let base = Target::of_probe("HTTP", "h", 8080, "/a/b").expect("valid");
            if let Ok(to) = base.redirected(&location) {
                prop_assert!(to.path.as_str().starts_with('/') && !to.host.is_empty());
                prop_assert!(to.redirected("x").is_ok());
                prop_assert_eq!(base.redirected(&to.to_text()), Ok(to));
            }
        }
    }
}
