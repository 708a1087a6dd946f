//! The values of quoted strings and character constants, as in Go's `strconv.Unquote`.

/// The bytes of a quoted string, with its quotes.
pub(crate) fn string(quoted: &str) -> Option<Vec<u8>> {
    if let Some(raw) = quoted.strip_prefix('`') {
        // Go drops carriage returns from raw strings.
        return Some(raw.strip_suffix('`')?.replace('\r', "").into_bytes());
    }
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        match character(&mut rest, '"')? {
            Unquoted::Byte(byte) => bytes.push(byte),
            Unquoted::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(bytes)
}

/// The code point of a character constant, with its quotes.
pub(crate) fn constant(quoted: &str) -> Option<i64> {
    let mut rest = quoted.strip_prefix('\'')?;
    let value = match character(&mut rest, '\'')? {
        Unquoted::Byte(byte) => i64::from(byte),
        Unquoted::Char(c) => i64::from(u32::from(c)),
    };
    (rest == "'").then_some(value)
}

enum Unquoted {
    Byte(u8),
    Char(char),
}

/// Takes one character or escape off the front.
fn character(rest: &mut &str, quote: char) -> Option<Unquoted> {
    let mut chars = rest.chars();
    let first = chars.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        *rest = chars.as_str();
        return Some(Unquoted::Char(first));
    }
    let escape = chars.next()?;
    *rest = chars.as_str();
    let simple = |byte| Some(Unquoted::Byte(byte));
    match escape {
        'a' => simple(7),
        'b' => simple(8),
        'f' => simple(12),
        'n' => simple(b'\n'),
        'r' => simple(b'\r'),
        't' => simple(b'\t'),
        'v' => simple(11),
        '\\' => simple(b'\\'),
        '\'' | '"' if escape == quote => simple(u8::try_from(escape).ok()?),
        'x' => simple(u8::try_from(digits(rest, 2, 16)?).ok()?),
        'u' => Some(Unquoted::Char(char::from_u32(digits(rest, 4, 16)?)?)),
        'U' => Some(Unquoted::Char(char::from_u32(digits(rest, 8, 16)?)?)),
        '0'..='7' => {
            let tail = digits(rest, 2, 8)?;
            simple(u8::try_from(escape.to_digit(8)? * 64 + tail).ok()?)
        }
        _ => None,
    }
}

fn digits(rest: &mut &str, count: usize, radix: u32) -> Option<u32> {
    let text = rest.get(..count)?;
    if !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    *rest = &rest[count..];
    u32::from_str_radix(text, radix).ok()
}
