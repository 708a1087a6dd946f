//! Data for the tests: one of every kind of value.

use std::{borrow::Cow, rc::Rc};

use xdt_gotemplate::{ExecError, List, Param, Struct, Table, Template, Text, Value};

/// A struct with one of everything.
pub(crate) struct Data;

/// `{a b}` with a `String` method.
struct Named(&'static str);

/// `{Ann 3}`
struct Plain;

pub(crate) fn data<'v>() -> Value<'v> {
    Value::Struct(Rc::new(Data))
}

/// What `template` prints, or an error of the parser or the execution.
pub(crate) fn run(template: &str) -> Result<Vec<u8>, String> {
    let template = Template::parse("test", template).map_err(|error| format!("parse: {error}"))?;
    let mut out = Vec::new();
    let done = template.execute(&data(), &mut out);
    done.map(|()| out).map_err(|error| format!("exec: {error}"))
}

fn bytes(text: &'static str) -> Text<'static> {
    Cow::Borrowed(text.as_bytes())
}

fn ints<'v>(numbers: &[i64]) -> Value<'v> {
    Value::List(Rc::new(List {
        type_name: "[]int",
        items: Some(numbers.iter().map(|number| Value::Int(*number)).collect()),
    }))
}

impl<'v> Struct<'v> for Data {
    fn type_name(&self) -> &'static str {
        "main.Data"
    }

    fn names(&self) -> &'static [&'static str] {
        &["X", "I"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        Some(match name {
            "X" => Value::text("x"),
            "I" => Value::Int(17),
            "Zero" => Value::Int(0),
            "Big" => Value::Int64(5),
            "F" => Value::Float(1.5),
            "Small" => Value::Float(0.000_012_5),
            "True" => Value::Bool(true),
            "S" => Value::text("<a href=\"x\">'&\\\n"),
            "Word" => Value::text("h\u{e9}llo w\u{f6}rld"),
            "Broken" => Value::owned(b"a\xffb".to_vec()),
            "Strings" => Value::strings(["a", "b", "c"].map(bytes)),
            "None" => Value::no_strings(),
            "Ints" => ints(&[3, 4, 5]),
            "M" => table(),
            "Any" => any(),
            "Named" => Value::Struct(Rc::new(Named("n1"))),
            "Names" => Value::List(Rc::new(List {
                type_name: "[]*main.Named",
                items: Some(vec![
                    Value::Struct(Rc::new(Named("n1"))),
                    Value::Struct(Rc::new(Named("n2"))),
                ]),
            })),
            "Plain" => Value::Struct(Rc::new(Plain)),
            "Pointer" => Value::NilPointer("main.Plain"),
            _ => return None,
        })
    }

    fn method(&self, name: &str) -> Option<&'static [Param]> {
        match name {
            "Method0" | "Fail" => Some(&[]),
            "Echo" => Some(&[Param::Text]),
            "Add" => Some(&[Param::Int, Param::Int]),
            "Show" => Some(&[Param::Any]),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        match (name, arguments) {
            ("Method0", []) => Ok(Value::text("M0")),
            ("Echo" | "Show", [value]) => Ok(value.clone()),
            ("Add", [Value::Int(one), Value::Int(other)]) => Ok(Value::Int(one + other)),
            _ => Err(ExecError::new("failed as asked")),
        }
    }
}

fn table<'v>() -> Value<'v> {
    let entries = [
        (bytes("B"), Value::strings([bytes("x")])),
        (bytes("A"), Value::strings(["1", "2"].map(bytes))),
    ];
    Value::Map(Rc::new(Table::new("map[string][]string", Value::no_strings(), entries)))
}

fn any<'v>() -> Value<'v> {
    let entries = [
        (bytes("one"), Value::Int(1)),
        (bytes("two"), Value::text("2")),
        (bytes("nothing"), Value::Nil),
    ];
    Value::Map(Rc::new(Table::new("map[string]interface {}", Value::Nil, entries)))
}

impl<'v> Struct<'v> for Named {
    fn type_name(&self) -> &'static str {
        "main.Named"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Name"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        (name == "Name").then(|| Value::text(self.0))
    }

    fn text(&self) -> Option<Text<'v>> {
        Some(format!("<{}>", self.0).into_bytes().into())
    }
}

impl<'v> Struct<'v> for Plain {
    fn type_name(&self) -> &'static str {
        "main.Plain"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Name", "Count"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        match name {
            "Name" => Some(Value::text("Ann")),
            "Count" => Some(Value::Int(3)),
            _ => None,
        }
    }
}
