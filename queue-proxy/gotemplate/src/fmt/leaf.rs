//! Prints bools, integers, floats and strings under every verb, with width, precision and flags.

use super::{float, value::Printer};
use crate::{
    quote::{count, fits_back_quotes, is_print, quote, truncate},
    value::Value,
};

/// What stands between `%` and the verb.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // they are Go's flags
pub(super) struct Flags {
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    /// `%+v`
    pub(super) names: bool,
    /// `%#v`
    pub(super) go_syntax: bool,
}

/// Digits of an integer in base 2.
const MAX_DIGITS: usize = 64;

impl Printer<'_> {
    /// `bytes` in the width asked for.
    pub(super) fn pad(&mut self, bytes: &[u8]) {
        let missing = self.flags.width.map_or(0, |width| width.saturating_sub(count(bytes)));
        if self.flags.minus {
            self.out.push(bytes);
            self.out.fill(b' ', missing);
        } else {
            self.out.fill(if self.flags.zero { b'0' } else { b' ' }, missing);
            self.out.push(bytes);
        }
    }

    /// As [`Self::pad`], with zeros only where a number's digits have not taken them already.
    fn pad_with_spaces(&mut self, bytes: &[u8]) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad(bytes);
        self.flags.zero = zero;
    }

    pub(super) fn bool(&mut self, truth: bool, verb: char) {
        match verb {
            't' | 'v' => self.pad(if truth { b"true" } else { b"false" }),
            _ => self.bad(verb, &Value::Bool(truth)),
        }
    }

    pub(super) fn text(&mut self, text: &[u8], verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.quoted(text),
            'v' | 's' => self.pad(self.cut(text)),
            'x' => self.hex(text, false),
            'X' => self.hex(text, true),
            'q' => self.quoted(text),
            _ => self.bad(verb, &Value::Text(text.into())),
        }
    }

    fn cut<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        match self.flags.precision {
            Some(most) => truncate(text, most),
            None => text,
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.cut(text);
        if self.flags.sharp && fits_back_quotes(text) {
            let quoted = [b"`", text, b"`"].concat();
            return self.pad(&quoted);
        }
        let mut quoted = crate::buffer::Buffer::default();
        quote(text, '"', self.flags.plus, &mut quoted);
        self.pad_buffer(quoted);
    }

    fn pad_buffer(&mut self, buffer: crate::buffer::Buffer) {
        match buffer.finish() {
            Ok(bytes) => self.pad(&bytes),
            Err(_) => self.out.fill(b' ', usize::MAX), // too much here is too much there
        }
    }

    fn hex(&mut self, text: &[u8], upper: bool) {
        let text = &text[..self.flags.precision.map_or(text.len(), |most| most.min(text.len()))];
        let prefix = match (self.flags.sharp, upper) {
            (true, true) => "0X",
            (true, false) => "0x",
            (false, _) => "",
        };
        let mut digits = Vec::new();
        for (place, byte) in text.iter().enumerate() {
            if place > 0 && self.flags.space {
                digits.push(b' ');
            }
            if place == 0 || self.flags.space {
                digits.extend_from_slice(prefix.as_bytes());
            }
            let pair = if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            };
            digits.extend_from_slice(pair.as_bytes());
        }
        self.pad(&digits);
    }

    /// `value`: what is printed, for verbs that do not fit it.
    pub(super) fn integer(&mut self, number: u64, negative: bool, verb: char, value: &Value<'_>) {
        let base = match verb {
            'v' | 'd' => 10,
            'b' => 2,
            'o' | 'O' => 8,
            'x' | 'X' => 16,
            'c' => return self.character(number, negative),
            'q' => return self.quoted_character(number, negative),
            'U' => return self.code_point(number, negative),
            _ => return self.bad(verb, value),
        };
        if self.flags.precision == Some(0) && number == 0 {
            // No digits at all, and no sign.
            return self.pad_with_spaces(b"");
        }
        let mut digits = digits(number, base);
        if verb == 'X' {
            digits.make_ascii_uppercase();
        }
        let sign = match (negative, self.flags.plus, self.flags.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let least = match (self.flags.precision, self.flags.width) {
            (Some(least), _) => least,
            (None, Some(width)) if self.flags.zero && !self.flags.minus => width - sign.len().min(width),
            _ => 0,
        };
        let mut number = crate::buffer::Buffer::default();
        number.push(sign.as_bytes());
        let zeros = least.saturating_sub(digits.len());
        let prefix = match (base, verb) {
            (8, 'O') => "0o",
            (2, _) if self.flags.sharp => "0b",
            (8, _) if self.flags.sharp && zeros == 0 && !digits.starts_with('0') => "0",
            (16, 'X') if self.flags.sharp => "0X",
            (16, _) if self.flags.sharp => "0x",
            _ => "",
        };
        number.push(prefix.as_bytes());
        number.fill(b'0', zeros);
        number.push(digits.as_bytes());
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad_buffer(number);
        self.flags.zero = zero;
    }

    fn character(&mut self, number: u64, negative: bool) {
        let c = code(number, negative);
        self.pad(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn quoted_character(&mut self, number: u64, negative: bool) {
        let c = code(number, negative);
        let mut quoted = crate::buffer::Buffer::default();
        quote(
            c.encode_utf8(&mut [0; 4]).as_bytes(),
            '\'',
            self.flags.plus,
            &mut quoted,
        );
        self.pad_buffer(quoted);
    }

    fn code_point(&mut self, number: u64, negative: bool) {
        let number = if negative { number.wrapping_neg() } else { number };
        let least = self.flags.precision.unwrap_or(4).max(4);
        let digits = format!("{number:X}");
        let mut text = crate::buffer::Buffer::default();
        text.push(b"U+");
        text.fill(b'0', least.saturating_sub(digits.len()));
        text.push(digits.as_bytes());
        let c = u32::try_from(number).ok().and_then(char::from_u32);
        if let Some(c) = c.filter(|c| self.flags.sharp && is_print(*c)) {
            text.push(b" '");
            text.push_char(c);
            text.push(b"'");
        }
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.pad_buffer(text);
        self.flags.zero = zero;
    }

    pub(super) fn float(&mut self, number: f64, verb: char, value: &Value<'_>) {
        let (format, precision) = match verb {
            'v' => (b'g', None),
            'b' => (b'b', None),
            'g' => (b'g', None),
            'G' => (b'G', None),
            'x' => (b'x', None),
            'X' => (b'X', None),
            'e' => (b'e', Some(6)),
            'E' => (b'E', Some(6)),
            'f' | 'F' => (b'f', Some(6)),
            _ => return self.bad(verb, value),
        };
        let precision = self.flags.precision.or(precision);
        // The bound of the output bounds the precision too.
        if precision.is_some_and(|precision| precision > crate::MAX_OUTPUT) {
            return self.out.fill(b'0', usize::MAX);
        }
        let mut text = float::format(number, format, precision);
        let negative = text.starts_with('-');
        let unsigned = text.split_off(usize::from(text.starts_with(['-', '+'])));
        let sign = match (negative, self.flags.plus, self.flags.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        if !number.is_finite() {
            // An infinity always shows its sign only where one is asked for; zeros never stand before it.
            let sign = if number.is_infinite() && sign.is_empty() {
                "+"
            } else {
                sign
            };
            return self.pad_with_spaces(format!("{sign}{unsigned}").as_bytes());
        }
        let unsigned = if self.flags.sharp && verb != 'b' {
            float::with_point(&unsigned, format, precision)
        } else {
            unsigned
        };
        let length = sign.len() + unsigned.len();
        match self.flags.width {
            Some(width) if self.flags.zero && !self.flags.minus && width > length => {
                self.out.push(sign.as_bytes());
                self.out.fill(b'0', width - length);
                self.out.push(unsigned.as_bytes());
            }
            _ => self.pad(format!("{sign}{unsigned}").as_bytes()),
        }
    }
}

/// What is no character is the replacement character.
fn code(number: u64, negative: bool) -> char {
    let c = u32::try_from(number).ok().filter(|_| !negative || number == 0);
    c.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn digits(mut number: u64, base: u32) -> String {
    let mut digits = Vec::with_capacity(MAX_DIGITS);
    while number > 0 || digits.is_empty() {
        // Below the base, which is at most 16.
        let digit = u32::try_from(number % u64::from(base)).unwrap_or(0);
        digits.push(char::from_digit(digit, base).unwrap_or('0'));
        number /= u64::from(base);
    }
    digits.iter().rev().collect()
}
