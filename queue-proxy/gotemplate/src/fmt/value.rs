//! Prints one value under one verb, and what is in it.

use super::leaf::Flags;
use crate::{
    buffer::Buffer,
    value::{List, Map, Struct, Value},
};

/// Where a pointer points to is nobody's business.
const ADDRESS: u64 = 0xc0_0000_0000;
/// Structs in structs; data has no circles, but nothing proves it.
const MAX_LEVELS: usize = 100;

/// Prints with these flags.
pub(crate) struct Printer<'b> {
    pub(super) out: &'b mut Buffer,
    pub(super) flags: Flags,
}

impl<'b> Printer<'b> {
    pub(super) fn new(out: &'b mut Buffer) -> Self {
        Self {
            out,
            flags: Flags::default(),
        }
    }

    /// As an argument of its own.
    pub(super) fn value(&mut self, value: &Value<'_>, verb: char) {
        match (value, verb) {
            (value, 'T') => {
                let name = value.type_name();
                self.text(name.as_bytes(), 's');
            }
            (Value::Nil, 'v') => self.pad(b"<nil>"),
            (value, verb) => self.at(value, verb, 0),
        }
    }

    /// `level`: how many values this one is in.
    fn at(&mut self, value: &Value<'_>, verb: char, level: usize) {
        if level > MAX_LEVELS {
            return;
        }
        match value {
            Value::Nil if verb == 'v' => self.out.push(b"<nil>"),
            Value::Nil => self.bad(verb, value),
            Value::NilPointer(_) => self.pointer(0, value, verb),
            Value::Bool(truth) => self.bool(*truth, verb),
            Value::Int(number) | Value::Int64(number) => self.integer(number.unsigned_abs(), *number < 0, verb, value),
            Value::Uint8(number) if self.flags.go_syntax && verb == 'v' => {
                self.with_sharp(|printer| printer.integer(u64::from(*number), false, 'x', value));
            }
            Value::Uint8(number) => self.integer(u64::from(*number), false, verb, value),
            Value::Float(number) => self.float(*number, verb, value),
            Value::Text(text) => self.text(text, verb),
            Value::List(list) => self.list(list, value, verb, level),
            Value::Map(map) => self.map(map.as_ref(), value, verb, level),
            Value::Struct(object) => self.object(object.as_ref(), value, verb, level),
        }
    }

    /// `%!d(string=x)`
    pub(super) fn bad(&mut self, verb: char, value: &Value<'_>) {
        self.out.push(b"%!");
        self.out.push_char(verb);
        self.out.push(b"(");
        match value {
            Value::Nil => self.out.push(b"<nil>"),
            value => {
                self.out.push(value.type_name().as_bytes());
                self.out.push(b"=");
                match value {
                    // Not through its text: that may be what failed.
                    Value::Struct(object) => {
                        self.out.push(b"&");
                        self.fields(object.as_ref(), 'v', 1);
                    }
                    value => self.at(value, 'v', 0),
                }
            }
        }
        self.out.push(b")");
    }

    fn list(&mut self, list: &List<'_>, value: &Value<'_>, verb: char, level: usize) {
        if verb == 'p' {
            return self.pointer(ADDRESS, value, verb);
        }
        let go = self.flags.go_syntax;
        if go {
            self.out.push(list.type_name.as_bytes());
            if list.items.is_none() {
                return self.out.push(b"(nil)");
            }
        }
        self.out.push(if go { b"{" } else { b"[" });
        for (place, item) in list.items().iter().enumerate() {
            self.separate(place);
            self.at(item, verb, level + 1);
        }
        self.out.push(if go { b"}" } else { b"]" });
    }

    fn map<'v>(&mut self, map: &(dyn Map<'v> + 'v), value: &Value<'_>, verb: char, level: usize) {
        if verb == 'p' {
            return self.pointer(ADDRESS, value, verb);
        }
        let go = self.flags.go_syntax;
        if go {
            self.out.push(map.type_name().as_bytes());
            if map.is_nil() {
                return self.out.push(b"(nil)");
            }
        }
        self.out.push(if go { b"{" } else { b"map[" });
        for (place, (key, item)) in map.entries().into_iter().enumerate() {
            self.separate(place);
            self.text(&key, verb);
            self.out.push(b":");
            self.at(&item, verb, level + 1);
        }
        self.out.push(if go { b"}" } else { b"]" });
    }

    fn object<'v>(&mut self, object: &(dyn Struct<'v> + 'v), value: &Value<'_>, verb: char, level: usize) {
        if !self.flags.go_syntax
            && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
            && let Some(text) = object.text()
        {
            return self.text(&text, verb);
        }
        if level > 0 || verb == 'p' {
            return self.pointer(ADDRESS, value, verb);
        }
        self.out.push(b"&");
        self.fields(object, verb, level + 1);
    }

    /// A struct without the pointer to it.
    pub(super) fn fields<'v>(&mut self, object: &(dyn Struct<'v> + 'v), verb: char, level: usize) {
        let names = self.flags.names || self.flags.go_syntax;
        if self.flags.go_syntax {
            self.out.push(object.type_name().as_bytes());
        }
        self.out.push(b"{");
        for (place, name) in object.names().iter().enumerate() {
            self.separate(place);
            if names {
                self.out.push(name.as_bytes());
                self.out.push(b":");
            }
            self.at(&object.field(name).unwrap_or(Value::Nil), verb, level + 1);
        }
        self.out.push(b"}");
    }

    fn separate(&mut self, place: usize) {
        if place > 0 {
            self.out.push(if self.flags.go_syntax { b", " } else { b" " });
        }
    }

    fn pointer(&mut self, address: u64, value: &Value<'_>, verb: char) {
        match verb {
            'v' if self.flags.go_syntax => {
                let shown = if address == 0 {
                    "nil".to_owned()
                } else {
                    format!("{address:#x}")
                };
                let text = format!("({})({shown})", value.type_name());
                self.out.push(text.as_bytes());
            }
            'v' if address == 0 => self.pad(b"<nil>"),
            'v' | 'p' => {
                let sharp = self.flags.sharp;
                self.flags.sharp = !sharp;
                self.integer(address, false, 'x', value);
                self.flags.sharp = sharp;
            }
            'b' | 'o' | 'd' | 'x' | 'X' => self.integer(address, false, verb, value),
            _ => {
                self.out.push(b"%!");
                self.out.push_char(verb);
                let text = if address == 0 {
                    format!("({}=<nil>)", value.type_name())
                } else {
                    format!("({}={address:#x})", value.type_name())
                };
                self.out.push(text.as_bytes());
            }
        }
    }

    fn with_sharp(&mut self, print: impl FnOnce(&mut Self)) {
        let sharp = std::mem::replace(&mut self.flags.sharp, true);
        print(self);
        self.flags.sharp = sharp;
    }
}
