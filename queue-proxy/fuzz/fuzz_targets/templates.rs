//! Any text as a template over fixed data: refused or parsed, executed or failed, never a panic, never without end.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use xdt_gotemplate::{MAX_OUTPUT, Table, Template, Value};

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse("fuzz", text) else {
        return;
    };
    let list = || Value::strings(["a", "", "h\u{e9}"].map(|text| text.as_bytes().into()));
    let entries = [
        ("I", Value::Int(-7)),
        ("F", Value::Float(1.5)),
        ("S", Value::text("<a href=\"x\">")),
        ("B", Value::owned(b"\xff\x00".to_vec())),
        ("L", list()),
        ("N", Value::Nil),
        ("P", Value::NilPointer("main.T")),
        (
            "M",
            Value::Map(Rc::new(Table::new("map[string][]string", Value::no_strings(), [(b"A"[..].into(), list())]))),
        ),
    ];
    let entries = entries.map(|(name, value)| (name.as_bytes().into(), value));
    let data = Value::Map(Rc::new(Table::new("map[string]interface {}", Value::Nil, entries)));
    let mut out = Vec::new();
    let _either = template.execute(&data, &mut out);
    assert!(out.len() <= MAX_OUTPUT);
});
