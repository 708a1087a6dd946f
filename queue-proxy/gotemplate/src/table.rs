//! A map whose entries are made at once.

use std::collections::BTreeMap;

use crate::value::{Map, Text, Value};

/// A Go map, for data that is small or made anyway.
pub struct Table<'v> {
    type_name: &'static str,
    zero: Value<'v>,
    entries: BTreeMap<Text<'v>, Value<'v>>,
}

impl<'v> Table<'v> {
    /// Of this Go type, whose missing entries are `zero`.
    #[must_use]
    pub fn new(
        type_name: &'static str,
        zero: Value<'v>,
        entries: impl IntoIterator<Item = (Text<'v>, Value<'v>)>,
    ) -> Self {
        Self {
            type_name,
            zero,
            entries: entries.into_iter().collect(),
        }
    }
}

impl<'v> Map<'v> for Table<'v> {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, key: &[u8]) -> Option<Value<'v>> {
        self.entries.get(key).cloned()
    }

    fn zero(&self) -> Value<'v> {
        self.zero.clone()
    }

    fn entries(&self) -> Vec<(Text<'v>, Value<'v>)> {
        let entries = self.entries.iter();
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}
