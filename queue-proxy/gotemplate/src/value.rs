//! Values of a template: Go's kinds, as far as data for templates needs them.

use std::{borrow::Cow, rc::Rc};

use crate::ExecError;

/// A Go string: bytes, mostly UTF-8.
pub type Text<'v> = Cow<'v, [u8]>;

/// One value. Cheap to clone, except for strings that a function has made.
#[derive(Clone)]
pub enum Value<'v> {
    /// No value: an untyped `nil`, a missing key.
    Nil,
    /// A nil pointer to a struct of this type.
    NilPointer(&'static str),
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `int64`
    Int64(i64),
    /// `uint8`: a byte of a string.
    Uint8(u8),
    /// `float64`
    Float(f64),
    /// `string`
    Text(Text<'v>),
    /// A slice.
    List(Rc<List<'v>>),
    /// A map with strings as keys.
    Map(Rc<dyn Map<'v> + 'v>),
    /// A pointer to a struct.
    Struct(Rc<dyn Struct<'v> + 'v>),
}

/// A slice.
#[derive(Clone)]
pub struct List<'v> {
    /// Go's name of its type, such as `[]string`.
    pub type_name: &'static str,
    /// `None`: a nil slice, which is empty too.
    pub items: Option<Vec<Value<'v>>>,
}

impl<'v> List<'v> {
    /// What it holds.
    #[must_use]
    pub fn items(&self) -> &[Value<'v>] {
        self.items.as_deref().unwrap_or_default()
    }
}

/// What a method takes as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// `any`
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
}

/// A pointer to a Go struct with its fields and methods.
pub trait Struct<'v> {
    /// Go's name of the struct's type, such as `http.Request`.
    fn type_name(&self) -> &'static str;

    /// Exported fields in their order.
    fn names(&self) -> &'static [&'static str];

    /// A field, if there is one of this name.
    fn field(&self, name: &str) -> Option<Value<'v>>;

    /// What a method takes, if there is one of this name.
    fn method(&self, _name: &str) -> Option<&'static [Param]> {
        None
    }

    /// Calls a method that [`Self::method`] knows, with arguments of the right number and types.
    ///
    /// # Errors
    /// The method's.
    fn call(&self, name: &str, _arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        Err(ExecError::new(format!("no method {name}")))
    }

    /// What Go's `String` method gives, for types that have one.
    fn text(&self) -> Option<Text<'v>> {
        None
    }
}

/// A Go map with strings as keys, and its methods.
pub trait Map<'v> {
    /// Go's name of its type, such as `http.Header`.
    fn type_name(&self) -> &'static str;

    /// How many entries it has.
    fn len(&self) -> usize;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a nil map, which is empty too.
    fn is_nil(&self) -> bool {
        false
    }

    /// An entry.
    fn get(&self, key: &[u8]) -> Option<Value<'v>>;

    /// What `index` gives for a missing key.
    fn zero(&self) -> Value<'v>;

    /// All entries, sorted by key.
    fn entries(&self) -> Vec<(Text<'v>, Value<'v>)>;

    /// What a method takes, if there is one of this name.
    fn method(&self, _name: &str) -> Option<&'static [Param]> {
        None
    }

    /// Calls a method that [`Self::method`] knows, with arguments of the right number and types.
    ///
    /// # Errors
    /// The method's.
    fn call(&self, name: &str, _arguments: &[Value<'v>]) -> Result<Value<'v>, ExecError> {
        Err(ExecError::new(format!("no method {name}")))
    }
}

impl<'v> Value<'v> {
    /// A string.
    #[must_use]
    pub fn text(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// A string of its own.
    #[must_use]
    pub fn owned(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// A `[]string`.
    #[must_use]
    pub fn strings(texts: impl IntoIterator<Item = Text<'v>>) -> Self {
        Self::List(Rc::new(List {
            type_name: "[]string",
            items: Some(texts.into_iter().map(Value::Text).collect()),
        }))
    }

    /// A nil `[]string`.
    #[must_use]
    pub fn no_strings() -> Self {
        Self::List(Rc::new(List {
            type_name: "[]string",
            items: None,
        }))
    }

    /// What Go's `%T` prints.
    pub(crate) fn type_name(&self) -> Cow<'static, str> {
        match self {
            Self::Nil => "<nil>".into(),
            Self::NilPointer(name) => format!("*{name}").into(),
            Self::Bool(_) => "bool".into(),
            Self::Int(_) => "int".into(),
            Self::Int64(_) => "int64".into(),
            Self::Uint8(_) => "uint8".into(),
            Self::Float(_) => "float64".into(),
            Self::Text(_) => "string".into(),
            Self::List(list) => list.type_name.into(),
            Self::Map(map) => map.type_name().into(),
            Self::Struct(object) => format!("*{}", object.type_name()).into(),
        }
    }

    /// What `if` makes of it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilPointer(_) => false,
            Self::Bool(truth) => *truth,
            Self::Int(number) | Self::Int64(number) => *number != 0,
            Self::Uint8(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items().is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Struct(_) => true,
        }
    }
}
