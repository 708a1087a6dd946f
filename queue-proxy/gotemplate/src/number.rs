//! Numeric constants: ideal, until the place where one stands gives it a type.

use crate::{ExecError, unquote, value::Value};

/// A constant under every type that can hold it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    /// Its value, where it is a whole number that fits.
    pub(crate) int: Option<i64>,
    ideal: Ideal,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ideal {
    Int(i64),
    Float(f64),
    /// A whole number that only `uint64` holds.
    TooLarge,
}

impl Number {
    pub(crate) fn character(quoted: &str) -> Option<Self> {
        let value = unquote::constant(quoted)?;
        Some(Self {
            int: Some(value),
            ideal: Ideal::Int(value),
        })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let looks_like_float = is_float(text);
        if let Some(value) = integer(text) {
            let int = i64::try_from(value).ok();
            return Some(Self {
                int,
                ideal: int.map_or(Ideal::TooLarge, Ideal::Int),
            });
        }
        if !looks_like_float {
            return None;
        }
        let value = float(text)?;
        Some(Self {
            int: whole(value),
            ideal: Ideal::Float(value),
        })
    }

    /// Its value where any type will do.
    pub(crate) fn value<'v>(self) -> Result<Value<'v>, ExecError> {
        match self.ideal {
            Ideal::Int(value) => Ok(Value::Int(value)),
            Ideal::Float(value) => Ok(Value::Float(value)),
            Ideal::TooLarge => Err(ExecError::new("a constant overflows int")),
        }
    }
}

/// `1.0` may stand where an `int` is wanted.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // compared with what it was made of
fn whole(value: f64) -> Option<i64> {
    let int = value as i64;
    (int as f64 == value && int != i64::MAX).then_some(int)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        return unsigned.contains(['p', 'P']);
    }
    unsigned.contains(['.', 'e', 'E'])
}

/// A whole number in Go's base-0 syntax; positive ones up to the largest `uint64`.
fn integer(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if !underscores_are_fine(unsigned) {
        return None;
    }
    let lower = unsigned.to_ascii_lowercase().replace('_', "");
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // `from_str_radix` would take another sign.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let largest = if sign < 0 || text.starts_with('+') {
        i128::from(i64::MAX) + i128::from(sign < 0)
    } else {
        i128::from(u64::MAX)
    };
    (value <= largest).then_some(sign * value)
}

/// Underscores stand between digits, or after a base's prefix.
fn underscores_are_fine(unsigned: &str) -> bool {
    let bytes = unsigned.as_bytes();
    let prefix = bytes.len() >= 2 && bytes[0] == b'0' && b"xXoObB".contains(&bytes[1]);
    let hex = prefix && bytes[1].eq_ignore_ascii_case(&b'x');
    let mut before = if prefix { b'0' } else { b'^' };
    for &byte in &bytes[if prefix { 2 } else { 0 }..] {
        let kind = match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'f' | b'A'..=b'F' if hex => b'0',
            b'_' if before == b'0' => b'_',
            b'_' => return false,
            _ if before == b'_' => return false,
            _ => b'!',
        };
        before = kind;
    }
    before != b'_'
}

fn float(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if !underscores_are_fine(unsigned) {
        return None;
    }
    let plain = unsigned.to_ascii_lowercase().replace('_', "");
    let value = match plain.strip_prefix("0x") {
        Some(hex) => hex_float(hex)?,
        // What Rust reads beyond digits, a point and an exponent ("inf", "nan") never comes out of the lexer.
        None => plain.parse::<f64>().ok()?,
    };
    value.is_finite().then_some(sign * value)
}

/// `1.8p-3`; digits beyond the sixteenth are cut.
fn hex_float(text: &str) -> Option<f64> {
    const MAX_DIGITS: u32 = 16;
    let (mantissa, exponent) = text.split_once('p')?;
    let mut exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut value, mut taken) = (0_u64, 0);
    for (digit, in_fraction) in whole
        .chars()
        .map(|c| (c, false))
        .chain(fraction.chars().map(|c| (c, true)))
    {
        let digit = digit.to_digit(16)?;
        if taken < MAX_DIGITS {
            value = value * 16 + u64::from(digit);
            taken += u32::from(value > 0);
            exponent = exponent.checked_sub(if in_fraction { 4 } else { 0 })?;
        } else if !in_fraction {
            exponent = exponent.checked_add(4)?;
        }
    }
    #[allow(clippy::cast_precision_loss)] // that is rounding
    let value = value as f64;
    // In two steps: the first may not overflow or vanish where the whole does not.
    let half = exponent / 2;
    Some(value * 2_f64.powi(half) * 2_f64.powi(exponent - half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_the_types_that_their_syntax_says() {
        let int = |value| Some((Some(value), Ideal::Int(value)));
        let float = |whole, value| Some((whole, Ideal::Float(value)));
        for (text, expected) in [
            ("0", int(0)),
            ("-0", int(0)),
            ("73", int(73)),
            ("+5", int(5)),
            ("0x12", int(18)),
            ("0xe", int(14)),
            ("-0x1F", int(-31)),
            ("0b1010", int(10)),
            ("0o17", int(15)),
            ("017", int(15)),
            ("1_000", int(1000)),
            ("0x_1F", int(31)),
            ("9223372036854775807", int(i64::MAX)),
            ("-9223372036854775808", int(i64::MIN)),
            ("18446744073709551615", Some((None, Ideal::TooLarge))),
            ("1.0", float(Some(1), 1.0)),
            ("1e3", float(Some(1000), 1000.0)),
            (".5", float(None, 0.5)),
            ("1.", float(Some(1), 1.0)),
            ("-1.25", float(None, -1.25)),
            ("1e19", float(None, 1e19)),
            ("0x1p4", float(Some(16), 16.0)),
            ("0x1.8p-1", float(None, 0.75)),
            ("1_0.5", float(None, 10.5)),
            ("089", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            (".", None),
            ("0x", None),
            ("0x.8", None),
            ("1e", None),
            ("1e400", None),
            ("99999999999999999999", None),
            ("-18446744073709551615", None),
        ] {
            let number = Number::parse(text).map(|number| (number.int, number.ideal));
            assert_eq!(number, expected, "{text}");
        }
    }

    #[test]
    fn characters_are_their_code_points() {
        for (text, expected) in [
            ("'a'", Some(97)),
            (r"'\n'", Some(10)),
            (r"'\''", Some(39)),
            (r"'\x41'", Some(65)),
            (r"'\101'", Some(65)),
            (r"'\u00e9'", Some(233)),
            ("'é'", Some(233)),
            ("''", None),
            ("'ab'", None),
            (r#"'\"'"#, None),
            (r"'\400'", None),
            (r"'\q'", None),
        ] {
            assert_eq!(Number::character(text).and_then(|n| n.int), expected, "{text}");
        }
    }
}
