//! `.Request.URL`: Go's `*url.URL`, and `url.Values`, the map that a query becomes.

use std::{borrow::Cow, collections::BTreeMap, fmt, rc::Rc};

use http::{Method, Uri, Version};
use xdt_gotemplate::{ExecError, Map, Param, Struct, Text, Value};

use super::escape::{Place, escape, is_encoded_path, unescape};

/// A request's target, taken apart.
pub(super) struct Url {
    scheme: String,
    host: String,
    /// Decoded.
    path: Vec<u8>,
    /// As it came, where that differs from what Go makes of `path`.
    raw_path: String,
    raw_query: String,
    /// A `?` with nothing behind it.
    bare_question_mark: bool,
}

impl Url {
    /// As Go's server reads it: an HTTP/2 request's is its path only.
    pub(super) fn of(method: &Method, uri: &Uri, version: Version) -> Self {
        let target = version != Version::HTTP_2 && (uri.scheme().is_some() || method == Method::CONNECT);
        let (scheme, host) = if target {
            let host = uri.authority().map_or("", |authority| authority.as_str());
            (uri.scheme_str().unwrap_or_default(), host)
        } else {
            ("", "")
        };
        // What Go's server would have refused is shown as it is.
        let raw = uri.path();
        let path = unescape(raw.as_bytes(), Place::Path).unwrap_or_else(|| raw.as_bytes().to_vec());
        let changes = escape(&path, Place::Path) != raw.as_bytes();
        Self {
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            raw_path: if changes && raw != "*" { raw } else { "" }.to_owned(),
            path,
            raw_query: uri.query().unwrap_or_default().to_owned(),
            bare_question_mark: uri.query() == Some(""),
        }
    }

    fn escaped_path(&self) -> Vec<u8> {
        if !self.raw_path.is_empty() && is_encoded_path(self.raw_path.as_bytes()) {
            return self.raw_path.clone().into_bytes();
        }
        if self.path == b"*" {
            return self.path.clone();
        }
        escape(&self.path, Place::Path)
    }

    /// Path and query.
    fn request_uri(&self) -> Vec<u8> {
        let mut text = self.escaped_path();
        if text.is_empty() {
            text.push(b'/');
        }
        self.push_query(&mut text);
        text
    }

    fn push_query(&self, text: &mut Vec<u8>) {
        if self.bare_question_mark || !self.raw_query.is_empty() {
            text.push(b'?');
            text.extend_from_slice(self.raw_query.as_bytes());
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.scheme.is_empty() {
            text.extend_from_slice(self.scheme.as_bytes());
            text.push(b':');
        }
        if !self.scheme.is_empty() || !self.host.is_empty() {
            text.extend_from_slice(b"//");
            text.extend_from_slice(self.host.as_bytes());
        }
        text.extend_from_slice(&self.escaped_path());
        self.push_query(&mut text);
        text
    }

    /// Host and port.
    fn host_and_port(&self) -> (&str, &str) {
        let host = self.host.as_str();
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
            _ => (host, ""),
        };
        match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(inner) => (inner, port),
            None => (name, port),
        }
    }

    pub(super) fn query(&self) -> Values {
        Values::parse(&self.raw_query)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

impl<'v> Struct<'v> for Url {
    fn type_name(&self) -> &'static str {
        "url.URL"
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "Scheme",
            "Opaque",
            "User",
            "Host",
            "Path",
            "RawPath",
            "OmitHost",
            "ForceQuery",
            "RawQuery",
            "Fragment",
            "RawFragment",
        ]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        Some(match name {
            "Scheme" => Value::owned(self.scheme.clone()),
            "User" => Value::NilPointer("url.Userinfo"),
            "Host" => Value::owned(self.host.clone()),
            "Path" => Value::owned(self.path.clone()),
            "RawPath" => Value::owned(self.raw_path.clone()),
            "ForceQuery" => Value::Bool(self.bare_question_mark),
            "OmitHost" => Value::Bool(false),
            "RawQuery" => Value::owned(self.raw_query.clone()),
            "Opaque" | "Fragment" | "RawFragment" => Value::text(""),
            _ => return None,
        })
    }

    fn method(&self, name: &str) -> Option<&'static [Param]> {
        match name {
            "String" | "Redacted" | "EscapedPath" | "EscapedFragment" | "RequestURI" | "Query" | "Hostname"
            | "Port" | "IsAbs" => Some(&[]),
            _ => None,
        }
    }

    fn call(&self, name: &str, _arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        Ok(match name {
            "String" | "Redacted" => Value::owned(self.bytes()),
            "EscapedPath" => Value::owned(self.escaped_path()),
            "EscapedFragment" => Value::text(""),
            "RequestURI" => Value::owned(self.request_uri()),
            "Query" => Value::Map(Rc::new(self.query())),
            "Hostname" => Value::owned(self.host_and_port().0),
            "Port" => Value::owned(self.host_and_port().1),
            "IsAbs" => Value::Bool(!self.scheme.is_empty()),
            _ => return Err(ExecError::new("no such method")),
        })
    }

    fn text(&self) -> Option<Text<'v>> {
        Some(self.bytes().into())
    }
}

/// `url.Values`
pub(super) struct Values(Option<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>);

impl Values {
    /// Of a form that nobody has parsed.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// What is malformed is left out, as in Go.
    fn parse(query: &str) -> Self {
        let mut values = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
        let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| unescape(text.as_bytes(), Place::Query);
            if let (Some(key), Some(value)) = (decoded(key), decoded(value)) {
                values.entry(key).or_default().push(value);
            }
        }
        Self(Some(values))
    }

    fn values(&self, key: &[u8]) -> Option<&[Vec<u8>]> {
        self.0.as_ref()?.get(key).map(Vec::as_slice)
    }

    pub(super) fn first(&self, key: &[u8]) -> Vec<u8> {
        self.values(key).and_then(<[_]>::first).cloned().unwrap_or_default()
    }

    fn encode(&self) -> Vec<u8> {
        let entries = self.0.iter().flatten();
        let pairs = entries.flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        let pairs: Vec<Vec<u8>> = pairs
            .map(|(key, value)| [escape(key, Place::Query), escape(value, Place::Query)].join(&b'='))
            .collect();
        pairs.join(&b'&')
    }
}

fn strings<'v>(values: &[Vec<u8>]) -> Value<'v> {
    Value::strings(values.iter().map(|value| Cow::Owned(value.clone())))
}

impl<'v> Map<'v> for Values {
    fn type_name(&self) -> &'static str {
        "url.Values"
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, BTreeMap::len)
    }

    fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    fn get(&self, key: &[u8]) -> Option<Value<'v>> {
        self.values(key).map(strings)
    }

    fn zero(&self) -> Value<'v> {
        Value::no_strings()
    }

    fn entries(&self) -> Vec<(Text<'v>, Value<'v>)> {
        let entries = self.0.iter().flatten();
        entries
            .map(|(key, values)| (Cow::Owned(key.clone()), strings(values)))
            .collect()
    }

    fn method(&self, name: &str) -> Option<&'static [Param]> {
        match name {
            "Get" | "Has" => Some(&[Param::Text]),
            "Encode" => Some(&[]),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        Ok(match (name, arguments) {
            ("Get", [Value::Text(key)]) => Value::owned(self.first(key)),
            ("Has", [Value::Text(key)]) => Value::Bool(self.values(key).is_some()),
            ("Encode", _) => Value::owned(self.encode()),
            _ => return Err(ExecError::new("no such method")),
        })
    }
}
