//! `index`, `slice`, `len`.

use std::{borrow::Cow, rc::Rc};

use crate::{
    ExecError,
    value::{List, Text, Value},
};

type Found<'v> = Result<Value<'v>, ExecError>;

fn wrong<T>(what: &str, value: &Value<'_>) -> Result<T, ExecError> {
    Err(ExecError::new(format!("{what} {}", value.type_name())))
}

pub(super) fn len<'v>(item: &Value<'v>) -> Found<'v> {
    let length = match item {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.len(),
        other => return wrong("len of type", other),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `index x 1 "a"` is `x[1]["a"]`.
pub(super) fn index<'v>(item: &Value<'v>, keys: &[Value<'v>]) -> Found<'v> {
    if matches!(item, Value::Nil) {
        return wrong("index of untyped", item);
    }
    let mut item = item.clone();
    for key in keys {
        item = match (&item, key) {
            (Value::Map(map), Value::Text(key)) => map.get(key).unwrap_or_else(|| map.zero()),
            (Value::Map(_), key) => return wrong("a map with strings as keys cannot be indexed by", key),
            (Value::List(list), key) => {
                let place = place(key, list.items().len())?;
                let found = list.items().get(place).cloned();
                found.ok_or_else(|| out_of_range(place))?
            }
            (Value::Text(text), key) => {
                let place = place(key, text.len())?;
                let found = text.get(place).copied().map(Value::Uint8);
                found.ok_or_else(|| out_of_range(place))?
            }
            (other, _) => return wrong("can't index item of type", other),
        };
    }
    Ok(item)
}

/// `slice x 1 2` is `x[1:2]`; a third bound, the capacity, shows nowhere.
pub(super) fn slice<'v>(item: &Value<'v>, bounds: &[Value<'v>]) -> Found<'v> {
    let length = match item {
        Value::Text(_) if bounds.len() == 3 => return wrong("cannot 3-index slice a", item),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        other => return wrong("can't slice item of type", other),
    };
    if bounds.len() > 3 {
        return wrong("too many slice indexes for", item);
    }
    let mut places = [0, length, length];
    for (bound, slot) in bounds.iter().zip(&mut places) {
        *slot = place(bound, length)?;
    }
    let [from, to, most] = places;
    if from > to || to > most {
        return Err(ExecError::new(format!(
            "invalid slice index: {from} > {to} or {to} > {most}"
        )));
    }
    Ok(match item {
        Value::Text(text) => Value::Text(part(text, from, to)),
        Value::List(list) => Value::List(Rc::new(List {
            type_name: list.type_name,
            items: list.items.as_ref().map(|items| items[from..to].to_vec()),
        })),
        other => other.clone(),
    })
}

fn part<'v>(text: &Text<'v>, from: usize, to: usize) -> Text<'v> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_vec()),
    }
}

/// An index from 0 to `most`.
fn place(index: &Value<'_>, most: usize) -> Result<usize, ExecError> {
    let number = match index {
        Value::Int(number) | Value::Int64(number) => *number,
        Value::Uint8(number) => i64::from(*number),
        other => return wrong("cannot index slice/array with type", other),
    };
    let place = usize::try_from(number).ok().filter(|place| *place <= most);
    place.ok_or_else(|| ExecError::new(format!("index out of range: {number}")))
}

fn out_of_range(place: usize) -> ExecError {
    ExecError::new(format!("index out of range: {place}"))
}
