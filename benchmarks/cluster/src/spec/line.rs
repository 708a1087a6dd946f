//! Places in the cluster file, and on which line they are.
//!
//! The YAML reader keeps no positions, but its errors do. So a place is found by walking there a second time and failing
//! on purpose. Runs once per fault, never on the way to a good spec.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The way from the root of the file to one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    /// The field `key` below this place.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The list entry `index` below this place.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    /// Whether `other` is this place or inside it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The line, from 1, of this place in `text`, or of the nearest place around it that exists.
    pub(crate) fn line_in(&self, text: &str) -> Option<usize> {
        (1..=self.0.len()).rev().find_map(|depth| {
            let walk = Walk(self.0.get(..depth)?);
            let stopped = walk.deserialize(serde_yaml_ng::Deserializer::from_str(text)).err()?;
            Some(stopped.location()?.line())
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Follows the steps and fails at the last one; succeeds when the way does not exist.
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the way")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        while let Some(found) = map.next_key_seed(Key {
            wanted,
            is_last: rest.is_empty(),
        })? {
            if found {
                return map.next_value_seed(Walk(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Walk(rest)).map(|_| ())
    }
}

/// Tells whether a key is the wanted one; fails on it if the way ends there.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.is_last => Err(E::custom("here")),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nlist:\n  - x\n  - deep:\n      b: [1, 2]\n      c: 3\n";

    #[test]
    fn places_are_found_on_their_line() {
        let root = Place::default();
        assert_eq!(root.key("a").line_in(TEXT), Some(1));
        assert_eq!(root.key("list").line_in(TEXT), Some(2));
        assert_eq!(root.key("list").index(0).line_in(TEXT), Some(3));
        assert_eq!(root.key("list").index(1).key("deep").key("c").line_in(TEXT), Some(6));
    }

    #[test]
    fn an_absent_field_has_the_line_of_what_should_hold_it() {
        assert_eq!(Place::default().key("list").index(1).key("gone").line_in(TEXT), Some(4));
        assert_eq!(Place::default().key("gone").line_in(TEXT), None);
    }
}
