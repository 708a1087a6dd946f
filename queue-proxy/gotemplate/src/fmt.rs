//! How Go prints values: `print`, `println`, and what stands in a template by itself.

mod float;
mod leaf;
pub(crate) mod printf;
mod value;

use crate::{ExecError, buffer::Buffer, value::Value};
use value::Printer;

/// `fmt.Sprint`: spaces between operands when neither is a string.
pub(crate) fn sprint(given: &[Value<'_>]) -> Result<Vec<u8>, ExecError> {
    joined(given, false, |printer, value| printer.value(value, 'v'))
}

/// As [`sprint`], for `html`, `js` and `urlquery`: operands as they would stand in a template.
pub(crate) fn sprint_in_template(given: &[Value<'_>]) -> Result<Vec<u8>, ExecError> {
    joined(given, true, in_template)
}

/// `fmt.Sprintln`: spaces between all operands.
pub(crate) fn sprintln(given: &[Value<'_>]) -> Result<Vec<u8>, ExecError> {
    let mut out = Buffer::default();
    for (place, value) in given.iter().enumerate() {
        if place > 0 {
            out.push(b" ");
        }
        Printer::new(&mut out).value(value, 'v');
    }
    out.push(b"\n");
    out.finish()
}

/// What an action prints.
pub(crate) fn print_in_template(value: &Value<'_>, out: &mut Buffer) {
    in_template(&mut Printer::new(out), value);
}

/// Pointers are followed, and nothing is called so.
fn in_template(printer: &mut Printer<'_>, value: &Value<'_>) {
    match value {
        Value::Nil => printer.text(b"<no value>", 'v'),
        Value::Struct(object) => match object.text() {
            Some(text) => printer.text(&text, 'v'),
            None => printer.fields(object.as_ref(), 'v', 0),
        },
        other => printer.value(other, 'v'),
    }
}

/// In a template, nothing and structs with a text are strings already when they are joined.
fn joined(
    given: &[Value<'_>],
    in_template: bool,
    print: impl Fn(&mut Printer<'_>, &Value<'_>),
) -> Result<Vec<u8>, ExecError> {
    let is_string = |value: &Value<'_>| match value {
        Value::Text(_) => true,
        Value::Nil => in_template,
        _ => false,
    };
    let mut out = Buffer::default();
    let mut after_string = true;
    for (place, value) in given.iter().enumerate() {
        let string = is_string(value);
        if place > 0 && !string && !after_string {
            out.push(b" ");
        }
        after_string = string;
        print(&mut Printer::new(&mut out), value);
    }
    out.finish()
}
