//! `http.Header`: a map of lists under canonical names, such as `X-Request-Id`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use xdt_gotemplate::{ExecError, Map, Param, Table, Text, Value};

const TYPE: &str = "http.Header";

/// Headers while a template looks at them.
pub(super) struct Header<'v>(&'v HeaderMap);

impl<'v> Header<'v> {
    pub(super) fn of(map: &'v HeaderMap) -> Self {
        Self(map)
    }

    fn lines(&self, name: &HeaderName) -> Value<'v> {
        Value::strings(self.0.get_all(name).iter().map(|line| line.as_bytes().into()))
    }

    /// By a name in any case, as Go's methods do.
    fn find(&self, name: &[u8]) -> Option<HeaderName> {
        HeaderName::from_bytes(name)
            .ok()
            .filter(|name| self.0.contains_key(name))
    }
}

/// Go's spelling of a header's name.
fn canonical(name: &HeaderName) -> String {
    let mut upper = true;
    let letters = name.as_str().chars().map(|c| {
        let c = if upper { c.to_ascii_uppercase() } else { c };
        upper = c == '-';
        c
    });
    letters.collect()
}

impl<'v> Map<'v> for Header<'v> {
    fn type_name(&self) -> &'static str {
        TYPE
    }

    fn len(&self) -> usize {
        self.0.keys_len()
    }

    /// Only by the canonical name.
    fn get(&self, key: &[u8]) -> Option<Value<'v>> {
        let name = self.find(key)?;
        (canonical(&name).as_bytes() == key).then(|| self.lines(&name))
    }

    fn zero(&self) -> Value<'v> {
        Value::no_strings()
    }

    fn entries(&self) -> Vec<(Text<'v>, Value<'v>)> {
        let names: BTreeMap<String, &HeaderName> = self.0.keys().map(|name| (canonical(name), name)).collect();
        let entries = names.into_iter();
        entries
            .map(|(key, name)| (key.into_bytes().into(), self.lines(name)))
            .collect()
    }

    fn method(&self, name: &str) -> Option<&'static [Param]> {
        match name {
            "Get" | "Values" => Some(&[Param::Text]),
            "Clone" => Some(&[]),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        let found = match arguments {
            [Value::Text(key)] => self.find(key),
            _ => None,
        };
        Ok(match (name, found) {
            ("Get", Some(name)) => Value::Text(self.0.get(name).map_or(&[][..], HeaderValue::as_bytes).into()),
            ("Get", None) => Value::text(""),
            ("Values", Some(name)) => self.lines(&name),
            ("Values", None) => Value::no_strings(),
            ("Clone", _) => Value::Map(std::rc::Rc::new(Self(self.0))),
            _ => return Err(ExecError::new("no such method")),
        })
    }
}

/// Names of the trailers that a request announces; their values are not looked at.
pub(super) fn announced<'v>(line: Option<&HeaderValue>) -> Table<'v> {
    let names = line.and_then(|line| line.to_str().ok()).unwrap_or_default().split(',');
    let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    Table::new(
        TYPE,
        Value::no_strings(),
        names.map(|name| (canonical(&name).into_bytes().into(), Value::no_strings())),
    )
}
