//! `.Request`: Go's `*http.Request` as its server makes it, with the methods that a template can use.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use http_body::Body as HttpBody;
use xdt_gotemplate::{ExecError, List, Param, Struct, Text, Value};

use super::{
    cookies::{self, Cookie},
    header::Header,
    url::{Url, Values},
};
use crate::{invocation::headers, net::Peer};

/// What is kept of a request until its line is written.
pub struct Head {
    pub(in super::super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    host: Vec<u8>,
    trailers: Option<HeaderValue>,
    peer: Peer,
    /// -1: unknown.
    length: i64,
    chunked: bool,
}

/// The request while a template looks at it.
pub(super) struct View<'v>(pub(super) &'v Head);

impl Head {
    /// Copies what a template may look at.
    pub fn of<B: HttpBody>(request: &Request<B>, peer: Peer) -> Self {
        let body = request.body();
        let length = if body.is_end_stream() {
            Some(0)
        } else {
            body.size_hint().exact()
        };
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            host: Vec::new(),
            trailers: None,
            peer,
            length: length.and_then(|length| i64::try_from(length).ok()).unwrap_or(-1),
            chunked: false,
        }
    }

    /// Headers as they are at the end of a request in Go: without those that its server takes out, and, where the
    /// request was `passed_on`, with the changes that the proxy makes for itself.
    pub fn finish(&mut self, passed_on: bool) {
        let map = &mut self.headers;
        // Whoever reads a log must not get what lets him fetch an object.
        map.remove(xdt_proto::headers::REFERENCE);
        if passed_on {
            headers::as_logged(map);
        }
        let host = map.remove(header::HOST);
        self.host = match (self.uri.authority(), &host) {
            (Some(authority), _) => authority.as_str().as_bytes().to_vec(),
            (None, Some(host)) => host.as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        self.trailers = map.remove(header::TRAILER);
        self.chunked = map.remove(header::TRANSFER_ENCODING).is_some() && self.length < 0;
        if self.chunked {
            map.remove(header::CONTENT_LENGTH);
        }
        match self.version {
            Version::HTTP_2 => join_cookies(map),
            _ => {
                if map.get(header::PRAGMA).is_some_and(|value| value == "no-cache")
                    && !map.contains_key(header::CACHE_CONTROL)
                {
                    map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                }
            }
        }
    }

    fn protocol(&self) -> (&'static str, i64, i64) {
        match self.version {
            Version::HTTP_09 => ("HTTP/0.9", 0, 9),
            Version::HTTP_10 => ("HTTP/1.0", 1, 0),
            Version::HTTP_2 => ("HTTP/2.0", 2, 0),
            Version::HTTP_3 => ("HTTP/3.0", 3, 0),
            _ => ("HTTP/1.1", 1, 1),
        }
    }

    /// The target as it stood in the request line, or `:path`.
    fn target(&self) -> Text<'_> {
        let path = || self.uri.path_and_query().map_or("", |target| target.as_str());
        if self.version == Version::HTTP_2 || self.uri.scheme().is_none() {
            return match self.uri.authority() {
                // A `CONNECT`.
                Some(authority) if path().is_empty() => authority.as_str().as_bytes().into(),
                _ => path().as_bytes().into(),
            };
        }
        self.uri.to_string().into_bytes().into()
    }

    fn first(&self, name: header::HeaderName) -> Text<'_> {
        self.headers.get(name).map_or(&[][..], HeaderValue::as_bytes).into()
    }

    /// Whether Go closes the connection after the answer.
    fn closes(&self) -> bool {
        let mut lines = self.headers.get_all(header::CONNECTION).iter();
        match self.version {
            Version::HTTP_10 => !lines.any(|line| headers::lists(line, "keep-alive")),
            Version::HTTP_2 => false,
            _ => lines.any(|line| headers::lists(line, "close")),
        }
    }

    fn url(&self) -> Url {
        Url::of(&self.method, &self.uri, self.version)
    }
}

/// HTTP/2 clients may send each cookie in a line of its own.
fn join_cookies(map: &mut HeaderMap) {
    let lines: Vec<&[u8]> = map.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        map.insert(header::COOKIE, joined);
    }
}

impl<'v> Struct<'v> for View<'v> {
    fn type_name(&self) -> &'static str {
        "http.Request"
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "Method",
            "URL",
            "Proto",
            "ProtoMajor",
            "ProtoMinor",
            "Header",
            "ContentLength",
            "TransferEncoding",
            "Close",
            "Host",
            "Form",
            "PostForm",
            "MultipartForm",
            "Trailer",
            "RemoteAddr",
            "RequestURI",
            "TLS",
            "Response",
            "Pattern",
        ]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        let head = self.0;
        let (protocol, major, minor) = head.protocol();
        Some(match name {
            "Method" => Value::text(head.method.as_str()),
            "URL" => Value::Struct(Rc::new(head.url())),
            "Proto" => Value::text(protocol),
            "ProtoMajor" => Value::Int(major),
            "ProtoMinor" => Value::Int(minor),
            "Header" => Value::Map(Rc::new(Header::of(&head.headers))),
            "ContentLength" => Value::Int64(head.length),
            "TransferEncoding" if head.chunked => Value::strings([b"chunked"[..].into()]),
            "TransferEncoding" => Value::no_strings(),
            "Close" => Value::Bool(head.closes()),
            "Host" => Value::Text(head.host.as_slice().into()),
            "Form" | "PostForm" => Value::Map(Rc::new(Values::none())),
            "MultipartForm" => Value::NilPointer("multipart.Form"),
            "Trailer" => Value::Map(Rc::new(super::header::announced(head.trailers.as_ref()))),
            "RemoteAddr" => Value::owned(address(head.peer)),
            "RequestURI" => Value::Text(head.target()),
            "TLS" if head.peer.tls => Value::Struct(Rc::new(Tls)),
            "TLS" => Value::NilPointer("tls.ConnectionState"),
            "Response" => Value::NilPointer("http.Response"),
            "Pattern" => Value::text(""),
            _ => return None,
        })
    }

    fn method(&self, name: &str) -> Option<&'static [Param]> {
        Some(match name {
            "UserAgent" | "Referer" | "Cookies" => &[],
            "Cookie" | "CookiesNamed" | "FormValue" | "PostFormValue" | "PathValue" => &[Param::Text],
            "ProtoAtLeast" => &[Param::Int, Param::Int],
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        let head = self.0;
        let (_, major, minor) = head.protocol();
        Ok(match (name, arguments) {
            ("UserAgent", _) => Value::Text(head.first(header::USER_AGENT)),
            ("Referer", _) => Value::Text(head.first(header::REFERER)),
            ("Cookies", _) => list(cookies::all(&head.headers)),
            ("CookiesNamed", [Value::Text(name)]) => {
                let all = cookies::all(&head.headers).into_iter();
                list(all.filter(|cookie| cookie.name == &name[..]).collect())
            }
            ("Cookie", [Value::Text(name)]) => {
                let mut all = cookies::all(&head.headers).into_iter();
                let found = all.find(|cookie| cookie.name == &name[..]);
                let found = found.ok_or_else(|| ExecError::new("http: named cookie not present"))?;
                Value::Struct(Rc::new(found))
            }
            // The body was the user container's; what is left of a form is the query.
            ("FormValue", [Value::Text(name)]) => Value::owned(head.url().query().first(name)),
            ("PostFormValue" | "PathValue", _) => Value::text(""),
            ("ProtoAtLeast", [Value::Int(one), Value::Int(two)]) => Value::Bool((major, minor) >= (*one, *two)),
            _ => return Err(ExecError::new("no such method")),
        })
    }
}

/// `ip:port`, IPv4 as such.
fn address(peer: Peer) -> String {
    let (ip, port) = (peer.address.ip().to_canonical(), peer.address.port());
    std::net::SocketAddr::new(ip, port).to_string()
}

fn list<'v>(cookies: Vec<Cookie<'v>>) -> Value<'v> {
    Value::List(Rc::new(List {
        type_name: "[]*http.Cookie",
        items: Some(
            cookies
                .into_iter()
                .map(|cookie| Value::Struct(Rc::new(cookie)))
                .collect(),
        ),
    }))
}

/// Whether there is one is all that a template can learn of a TLS connection.
struct Tls;

impl<'v> Struct<'v> for Tls {
    fn type_name(&self) -> &'static str {
        "tls.ConnectionState"
    }

    fn names(&self) -> &'static [&'static str] {
        &[]
    }

    fn field(&self, _name: &str) -> Option<Value<'v>> {
        None
    }
}
