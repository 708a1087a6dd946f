//! Percent-encoding as Go's `net/url` does it, in paths and in queries.

/// Where bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn stands(byte: u8, place: Place) -> bool {
    is_unreserved(byte) || (place == Place::Path && b"$&+,/:;=@".contains(&byte))
}

/// Encodes what cannot stand there.
pub(super) fn escape(bytes: &[u8], place: Place) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            byte if stands(*byte, place) => out.push(*byte),
            b' ' if place == Place::Query => out.push(b'+'),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

/// Decodes; `None` where a `%` begins no code.
pub(super) fn unescape(bytes: &[u8], place: Place) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let code = rest.get(..2)?;
                let digits = std::str::from_utf8(code).ok()?;
                // `from_str_radix` would take a sign.
                if !code.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            b'+' if place == Place::Query => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Some(out)
}

/// Whether Go shows a path as it came.
pub(super) fn is_encoded_path(bytes: &[u8]) -> bool {
    let may_stand = |byte: &u8| stands(*byte, Place::Path) || b"!'()*[]%".contains(byte);
    bytes.iter().all(may_stand)
}
