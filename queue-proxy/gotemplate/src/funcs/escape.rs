//! `html`, `js`, `urlquery`: text made safe for other languages.

use std::borrow::Cow;

use crate::{
    ExecError,
    buffer::Buffer,
    fmt,
    quote::{characters, is_print},
    value::{Text, Value},
};

type Escaped<'v> = Result<Value<'v>, ExecError>;

/// The arguments as `print` shows them; one string as it is.
fn text<'v>(mut given: Vec<Value<'v>>) -> Result<Text<'v>, ExecError> {
    if given.len() == 1
        && let Some(Value::Text(_)) = given.first()
        && let Some(Value::Text(text)) = given.pop()
    {
        return Ok(text);
    }
    fmt::sprint_in_template(&given).map(Cow::Owned)
}

/// `text` as it is, or all of it through `escape`, if any byte needs it.
fn escaped<'v>(
    given: Vec<Value<'v>>,
    is_special: impl Fn(u8) -> bool,
    escape: impl Fn(&[u8], &mut Buffer),
) -> Escaped<'v> {
    let text = text(given)?;
    if !text.iter().any(|byte| is_special(*byte)) {
        return Ok(Value::Text(text));
    }
    let mut out = Buffer::default();
    let mut rest = &text[..];
    while let Some(special) = rest.iter().position(|byte| is_special(*byte)) {
        out.push(&rest[..special]);
        // A character beyond ASCII is escaped as a whole.
        let (_, this) = characters(&rest[special..]).next().unwrap_or((None, &[]));
        escape(this, &mut out);
        rest = &rest[special + this.len()..];
    }
    out.push(rest);
    out.finish().map(Value::owned)
}

pub(super) fn html(given: Vec<Value<'_>>) -> Escaped<'_> {
    escaped(
        given,
        |byte| matches!(byte, b'"' | b'\'' | b'&' | b'<' | b'>' | 0),
        |this, out| {
            out.push(match this {
                b"\"" => b"&#34;",
                b"'" => b"&#39;",
                b"&" => b"&amp;",
                b"<" => b"&lt;",
                b">" => b"&gt;",
                _ => "\u{fffd}".as_bytes(),
            });
        },
    )
}

pub(super) fn js(given: Vec<Value<'_>>) -> Escaped<'_> {
    let is_special =
        |byte| matches!(byte, b'\\' | b'\'' | b'"' | b'<' | b'>' | b'&' | b'=') || !(b' '..0x80).contains(&byte);
    escaped(given, is_special, |this, out| match this {
        [quoted @ (b'\\' | b'\'' | b'"')] => out.push(&[b'\\', *quoted]),
        [byte] if *byte < 0x80 => out.push(format!("\\u{byte:04X}").as_bytes()),
        _ => match characters(this).next() {
            Some((Some(c), _)) if !is_print(c) => out.push(format!("\\u{:04X}", u32::from(c)).as_bytes()),
            _ => out.push(this),
        },
    })
}

pub(super) fn urlquery(given: Vec<Value<'_>>) -> Escaped<'_> {
    let is_special = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    escaped(given, is_special, |this, out| {
        for byte in this {
            match byte {
                b' ' => out.push(b"+"),
                byte => out.push(format!("%{byte:02X}").as_bytes()),
            }
        }
    })
}
