//! `eq ne lt le gt ge`: values of one kind; integers of any size and sign; `eq` also compares with nil.

use std::cmp::Ordering;

use crate::{ExecError, value::Value};

enum Basic<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    /// No basic kind.
    Other,
}

fn basic<'a>(value: &'a Value<'_>) -> Basic<'a> {
    match value {
        Value::Bool(truth) => Basic::Bool(*truth),
        Value::Int(number) | Value::Int64(number) => Basic::Int(*number),
        Value::Uint8(number) => Basic::Int(i64::from(*number)),
        Value::Float(number) => Basic::Float(*number),
        Value::Text(text) => Basic::Text(text),
        _ => Basic::Other,
    }
}

fn is_nil(value: &Value<'_>) -> bool {
    match value {
        Value::Nil | Value::NilPointer(_) => true,
        Value::List(list) => list.items.is_none(),
        Value::Map(map) => map.is_nil(),
        _ => false,
    }
}

fn incompatible(one: &Value<'_>, other: &Value<'_>) -> ExecError {
    let (one, other) = (one.type_name(), other.type_name());
    ExecError::new(format!("incompatible types for comparison: {one} and {other}"))
}

/// Whether `one` equals any of `others`.
pub(super) fn eq(one: &Value<'_>, others: &[Value<'_>]) -> Result<bool, ExecError> {
    if others.is_empty() {
        return Err(ExecError::new("missing argument for comparison"));
    }
    for other in others {
        let equal = match (basic(one), basic(other)) {
            (Basic::Bool(one), Basic::Bool(other)) => one == other,
            (Basic::Int(one), Basic::Int(other)) => one == other,
            (Basic::Float(one), Basic::Float(other)) => one == other,
            (Basic::Text(one), Basic::Text(other)) => one == other,
            (Basic::Other, Basic::Other) => same(one, other)?,
            // A basic value is never nil.
            _ if matches!(one, Value::Nil) || matches!(other, Value::Nil) => false,
            _ => return Err(incompatible(one, other)),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn same(one: &Value<'_>, other: &Value<'_>) -> Result<bool, ExecError> {
    let comparable = match (one, other) {
        (Value::Nil, _) | (_, Value::Nil) => true,
        (Value::Struct(_) | Value::NilPointer(_), Value::Struct(_) | Value::NilPointer(_)) => true,
        (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => is_nil(one) || is_nil(other),
        _ => false,
    };
    if !comparable {
        return Err(incompatible(one, other));
    }
    if is_nil(one) || is_nil(other) {
        return Ok(is_nil(one) && is_nil(other));
    }
    // Pointers are made anew whenever data is looked up: equal if they show the same.
    Ok(match (one, other) {
        (Value::Struct(one), Value::Struct(other)) => {
            one.type_name() == other.type_name() && one.text() == other.text()
        }
        _ => false,
    })
}

fn order(one: &Value<'_>, other: &Value<'_>) -> Result<Option<Ordering>, ExecError> {
    match (basic(one), basic(other)) {
        (Basic::Int(one), Basic::Int(other)) => Ok(Some(one.cmp(&other))),
        (Basic::Float(one), Basic::Float(other)) => Ok(one.partial_cmp(&other)),
        (Basic::Text(one), Basic::Text(other)) => Ok(Some(one.cmp(other))),
        _ => Err(incompatible(one, other)),
    }
}

pub(super) fn lt(one: &Value<'_>, other: &Value<'_>) -> Result<bool, ExecError> {
    Ok(order(one, other)? == Some(Ordering::Less))
}

pub(super) fn le(one: &Value<'_>, other: &Value<'_>) -> Result<bool, ExecError> {
    Ok(matches!(order(one, other)?, Some(Ordering::Less | Ordering::Equal)))
}
