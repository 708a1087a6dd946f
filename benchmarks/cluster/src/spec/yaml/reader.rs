//! Reads single values of the cluster file: tables, lists, texts, numbers, each with its place and its faults.
//!
//! Fields are taken out of their table one by one; what is left over is unknown. Nothing here knows what a cluster is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml_ng::{Mapping, Value};

use crate::duration::parse_duration;
use crate::spec::Place;

/// Collects the faults.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<(Place, String)>,
}

/// A YAML mapping on its way to be emptied.
pub(super) struct Table {
    place: Place,
    left: Mapping,
    known: Vec<&'static str>,
}

impl Reader {
    /// Takes `key` out of `table`; absent or null leaves `into` as it is.
    pub(super) fn field<T>(
        &mut self,
        table: &mut Table,
        key: &'static str,
        read: impl FnOnce(&mut Self, Place, Value) -> Option<T>,
        into: &mut T,
    ) {
        table.known.push(key);
        match table.left.remove(key) {
            None | Some(Value::Null) => {}
            Some(value) => {
                if let Some(value) = read(self, table.place.key(key), value) {
                    *into = value;
                }
            }
        }
    }

    /// What is still in the table is unknown.
    pub(super) fn end(&mut self, table: &Table) {
        for key in table.left.keys() {
            let name = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            let message = format!("unknown field `{name}`; known are {}", table.known.join(", "));
            self.faults.push((table.place.key(&name), message));
        }
    }

    pub(super) fn fault<T>(&mut self, place: Place, message: impl Into<String>) -> Option<T> {
        self.faults.push((place, message.into()));
        None
    }

    pub(super) fn table(&mut self, place: Place, value: Value) -> Option<Table> {
        match value {
            Value::Mapping(left) => Some(Table {
                place,
                left,
                known: Vec::new(),
            }),
            _ => self.fault(place, "a table of fields is needed"),
        }
    }

    pub(super) fn list<T>(
        &mut self,
        place: Place,
        value: Value,
        read: fn(&mut Self, Place, Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Sequence(values) = value else {
            return self.fault(place, "a list is needed");
        };
        let each: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| read(self, place.index(index), value))
            .collect();
        each.into_iter().collect()
    }

    pub(super) fn string(&mut self, place: Place, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            _ => self.fault(place, "a text is needed; put it in quotes"),
        }
    }

    /// `true` or `false`.
    #[allow(clippy::needless_pass_by_value)] // one form for all readers
    pub(super) fn boolean(&mut self, place: Place, value: Value) -> Option<bool> {
        match value {
            Value::Bool(value) => Some(value),
            _ => self.fault(place, "true or false is needed"),
        }
    }

    pub(super) fn words(&mut self, place: Place, value: Value) -> Option<Vec<String>> {
        self.list(place, value, Self::scalar)
    }

    /// A text, or a whole number or bool as its text. A fraction would change (`1.10`), so it needs quotes.
    pub(super) fn scalar(&mut self, place: Place, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => self.fault(place, "a text is needed; put it in quotes"),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self, place: Place, value: Value) -> Option<T> {
        let number = if let Value::Number(number) = value {
            number.as_u64()
        } else {
            None
        };
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Some(number),
            None => self.fault(place, "a whole number of at least 0 is needed"),
        }
    }

    pub(super) fn duration(&mut self, place: Place, value: Value) -> Option<Duration> {
        let text = self.scalar(place.clone(), value)?;
        parse_duration(&text).map_or_else(|error| self.fault(place, error.to_string()), Some)
    }

    pub(super) fn variables(&mut self, place: Place, value: Value) -> Option<BTreeMap<String, String>> {
        let table = self.table(place, value)?;
        let mut variables = BTreeMap::new();
        for (key, value) in table.left {
            let Some(name) = self.scalar(table.place.clone(), key) else {
                continue;
            };
            if let Some(text) = self.scalar(table.place.key(&name), value) {
                variables.insert(name, text);
            }
        }
        Some(variables)
    }
}
