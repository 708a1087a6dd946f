//! Cookies of a request, as Go's `readCookies` finds them.

use http::{HeaderMap, HeaderValue, header};
use xdt_gotemplate::{Struct, Text, Value};

/// `*http.Cookie`, of which requests have a name and a value only.
pub(super) struct Cookie<'v> {
    pub(super) name: &'v [u8],
    value: &'v [u8],
    quoted: bool,
}

/// All cookies with valid names and values, in their order.
pub(super) fn all(map: &HeaderMap) -> Vec<Cookie<'_>> {
    let lines = map.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let parts = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    parts.filter_map(|part| cookie(part.trim_ascii())).collect()
}

fn cookie(part: &[u8]) -> Option<Cookie<'_>> {
    let (name, value) = match part.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&part[..equals], &part[equals + 1..]),
        None => (part, &[][..]),
    };
    let name = name.trim_ascii();
    let (value, quoted) = match value {
        [b'"', inner @ .., b'"'] => (inner, true),
        value => (value, false),
    };
    let is_token = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let is_value = |byte: &u8| (0x20..0x7f).contains(byte) && !b"\";\\".contains(byte);
    (is_token && value.iter().all(is_value)).then_some(Cookie { name, value, quoted })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl<'v> Struct<'v> for Cookie<'v> {
    fn type_name(&self) -> &'static str {
        "http.Cookie"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Name", "Value", "Quoted", "Path", "Domain"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        Some(match name {
            "Name" => Value::Text(self.name.into()),
            "Value" => Value::Text(self.value.into()),
            "Quoted" => Value::Bool(self.quoted),
            "Path" | "Domain" | "RawExpires" | "Raw" => Value::text(""),
            "MaxAge" => Value::Int(0),
            "Secure" | "HttpOnly" | "Partitioned" => Value::Bool(false),
            _ => return None,
        })
    }

    fn text(&self) -> Option<Text<'v>> {
        let quote: &[u8] = if self.quoted || self.value.iter().any(|byte| b" ,".contains(byte)) {
            b"\""
        } else {
            b""
        };
        Some([self.name, b"=", quote, self.value, quote].concat().into())
    }
}
