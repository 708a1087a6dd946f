//! `printf`: verbs with flags, width, precision and argument numbers, and what Go prints where they are wrong.

use super::{leaf::Flags, value::Printer};
use crate::{ExecError, buffer::Buffer, quote::decode, value::Value};

/// Largest width and precision.
const MAX_NUMBER: usize = 1_000_000;

pub(crate) fn printf(format: &[u8], arguments: &[Value<'_>]) -> Result<Vec<u8>, ExecError> {
    let mut out = Buffer::default();
    let mut run = Format {
        format,
        at: 0,
        arguments,
        next: 0,
        numbered: false,
        good_number: true,
        after_number: false,
    };
    while let Some(percent) = format[run.at..].iter().position(|byte| *byte == b'%') {
        out.push(&format[run.at..run.at + percent]);
        run.at += percent + 1;
        run.verb(&mut out);
    }
    out.push(&format[run.at..]);
    if !run.numbered && run.next < arguments.len() {
        extra(&arguments[run.next..], &mut out);
    }
    out.finish()
}

/// Arguments that no verb asked for.
fn extra(arguments: &[Value<'_>], out: &mut Buffer) {
    out.push(b"%!(EXTRA ");
    for (place, value) in arguments.iter().enumerate() {
        if place > 0 {
            out.push(b", ");
        }
        if matches!(value, Value::Nil) {
            out.push(b"<nil>");
        } else {
            out.push(value.type_name().as_bytes());
            out.push(b"=");
            Printer::new(out).value(value, 'v');
        }
    }
    out.push(b")");
}

struct Format<'a, 'v> {
    format: &'a [u8],
    at: usize,
    arguments: &'a [Value<'v>],
    /// The argument that the next verb takes.
    next: usize,
    /// Some verb named its argument: then none is too many.
    numbered: bool,
    good_number: bool,
    /// A number, such as `[1]`, has just been read.
    after_number: bool,
}

impl Format<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    /// Everything after a `%`.
    fn verb(&mut self, out: &mut Buffer) {
        self.good_number = true;
        self.after_number = false;
        let mut printer = Printer::new(out);
        self.flags(&mut printer.flags);
        self.argument_number();
        self.width(&mut printer);
        self.precision(&mut printer);
        if !self.after_number {
            self.argument_number();
        }
        if self.at >= self.format.len() {
            return printer.out.push(b"%!(NOVERB)");
        }
        let (c, length) = decode(&self.format[self.at..]);
        let verb = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.at += length;
        if verb == '%' {
            return printer.out.push(b"%");
        }
        let value = match self.arguments.get(self.next) {
            _ if !self.good_number => return wrong(verb, b"(BADINDEX)", printer.out),
            None => return wrong(verb, b"(MISSING)", printer.out),
            Some(value) => value,
        };
        self.next += 1;
        if verb == 'v' {
            let flags = &mut printer.flags;
            flags.go_syntax = std::mem::take(&mut flags.sharp);
            flags.names = std::mem::take(&mut flags.plus);
        }
        printer.value(value, verb);
    }

    fn flags(&mut self, flags: &mut Flags) {
        while let Some(flag) = self.peek() {
            match flag {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    fn width(&mut self, printer: &mut Printer<'_>) {
        if self.peek() != Some(b'*') {
            printer.flags.width = self.number();
            if self.after_number && printer.flags.width.is_some() {
                self.good_number = false; // "%[3]2d"
            }
            return;
        }
        self.at += 1;
        match self.number_argument() {
            Some(width) => {
                if width < 0 {
                    printer.flags.minus = true;
                    printer.flags.zero = false;
                }
                printer.flags.width = usize::try_from(width.unsigned_abs()).ok();
            }
            None => printer.out.push(b"%!(BADWIDTH)"),
        }
        self.after_number = false;
    }

    fn precision(&mut self, printer: &mut Printer<'_>) {
        if self.peek() != Some(b'.') {
            return;
        }
        self.at += 1;
        if self.after_number {
            self.good_number = false; // "%[3].2d"
        }
        self.argument_number();
        if self.peek() != Some(b'*') {
            printer.flags.precision = Some(self.number().unwrap_or(0));
            return;
        }
        self.at += 1;
        match self.number_argument() {
            // A negative one is none.
            Some(precision) => printer.flags.precision = usize::try_from(precision).ok(),
            None => printer.out.push(b"%!(BADPREC)"),
        }
        self.after_number = false;
    }

    /// Digits; too many of them end the whole format, as in Go.
    fn number(&mut self) -> Option<usize> {
        let (number, end) = number(self.format, self.at, self.format.len());
        self.at = end;
        number
    }

    /// An `int` among the arguments, for `*`.
    fn number_argument(&mut self) -> Option<i64> {
        let value = self.arguments.get(self.next)?;
        self.next += 1;
        let number = match value {
            Value::Int(number) | Value::Int64(number) => *number,
            Value::Uint8(number) => i64::from(*number),
            _ => return None,
        };
        usize::try_from(number.unsigned_abs())
            .is_ok_and(|size| size <= MAX_NUMBER)
            .then_some(number)
    }

    /// `[2]`: the next verb takes the second argument.
    fn argument_number(&mut self) {
        self.after_number = false;
        if self.peek() != Some(b'[') {
            return;
        }
        self.numbered = true;
        let rest = &self.format[self.at..];
        let close = rest.iter().position(|byte| *byte == b']').filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.good_number = false;
            self.at += 1;
            return;
        };
        let (index, end) = number(rest, 1, close);
        self.at += close + 1;
        self.after_number = index.is_some() && end == close;
        let place = index.filter(|_| end == close).and_then(|index| index.checked_sub(1));
        match place.filter(|place| *place < self.arguments.len()) {
            Some(place) => self.next = place,
            None => self.good_number = false,
        }
    }
}

/// `%!d(MISSING)`
fn wrong(verb: char, what: &[u8], out: &mut Buffer) {
    out.push(b"%!");
    out.push_char(verb);
    out.push(what);
}

/// A number and where it ends; none if there are no digits or too many.
fn number(text: &[u8], from: usize, to: usize) -> (Option<usize>, usize) {
    let mut number = None;
    let mut at = from;
    while at < to && text[at].is_ascii_digit() {
        let before = number.unwrap_or(0);
        if before > MAX_NUMBER {
            return (None, to);
        }
        number = Some(before * 10 + usize::from(text[at] - b'0'));
        at += 1;
    }
    (number, at)
}
