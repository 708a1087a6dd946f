//! Characters of byte strings, and Go's quoting of them (`strconv.Quote`).

use crate::buffer::Buffer;

/// The first character and its length; a byte that begins no character stands alone.
pub(crate) fn decode(bytes: &[u8]) -> (Option<char>, usize) {
    let length = match bytes.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 1,
    };
    let text = bytes.get(..length).and_then(|part| std::str::from_utf8(part).ok());
    match text.and_then(|text| text.chars().next()) {
        Some(c) => (Some(c), length),
        None => (None, 1),
    }
}

/// How many characters Go counts.
pub(crate) fn count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    characters(bytes).count()
}

/// Every character with its bytes.
pub(crate) fn characters(mut bytes: &[u8]) -> impl Iterator<Item = (Option<char>, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (c, length) = decode(bytes);
        let (this, rest) = bytes.split_at(length);
        bytes = rest;
        Some((c, this))
    })
}

/// The first `most` characters.
pub(crate) fn truncate(bytes: &[u8], most: usize) -> &[u8] {
    let end: usize = characters(bytes).take(most).map(|(_, this)| this.len()).sum();
    &bytes[..end]
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII space, as Go's `unicode.IsPrint`.
pub(crate) fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library keeps that table for `Debug`; behind another character it leaves marks as they are.
    let mut two = [b'a'; 5];
    let length = c.encode_utf8(&mut two[1..]).len() + 1;
    std::str::from_utf8(&two[..length]).is_ok_and(|two| two.escape_debug().nth(1) == Some(c))
}

/// `bytes` in quotes, with escapes; `ascii`: all else escaped too.
pub(crate) fn quote(bytes: &[u8], mark: char, ascii: bool, out: &mut Buffer) {
    out.push_char(mark);
    for (c, this) in characters(bytes) {
        match c {
            Some(c) => escape(c, mark, ascii, out),
            None => out.push(format!("\\x{:02x}", this[0]).as_bytes()),
        }
    }
    out.push_char(mark);
}

fn escape(c: char, mark: char, ascii: bool, out: &mut Buffer) {
    let simple = match c {
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        '\\' => "\\\\",
        _ => "",
    };
    let code = u32::from(c);
    if !simple.is_empty() {
        out.push(simple.as_bytes());
    } else if c == mark {
        out.push(b"\\");
        out.push_char(c);
    } else if is_print(c) && (c.is_ascii() || !ascii) {
        out.push_char(c);
    } else if code < 0x20 || code == 0x7f {
        out.push(format!("\\x{code:02x}").as_bytes());
    } else if code < 0x1_0000 {
        out.push(format!("\\u{code:04x}").as_bytes());
    } else {
        out.push(format!("\\U{code:08x}").as_bytes());
    }
}

/// Whether it can stand in back quotes as it is.
pub(crate) fn fits_back_quotes(bytes: &[u8]) -> bool {
    characters(bytes).all(|(c, _)| match c {
        None | Some('\u{feff}' | '`' | '\x7f') => false,
        Some(c) => c >= ' ' || c == '\t',
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_as_go_counts_them() {
        for (bytes, expected) in [
            (&b"abc"[..], 3),
            ("h\u{e9}llo".as_bytes(), 5),
            (b"\xffa", 2),
            (b"\xe2\x82", 2),
            (b"\xed\xa0\x80", 3),
        ] {
            assert_eq!(count(bytes), expected, "{bytes:?}");
        }
        assert_eq!(truncate("héllo".as_bytes(), 2), "hé".as_bytes());
    }

    #[test]
    fn what_prints_is_what_go_prints() {
        for c in ['a', ' ', 'é', '世', '\u{301}', '😀', '\u{fffd}', '€'] {
            assert!(is_print(c), "{c:?}");
        }
        for c in [
            '\n', '\x7f', '\u{a0}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{e000}', '\u{3000}',
        ] {
            assert!(!is_print(c), "{c:?}");
        }
    }
}
