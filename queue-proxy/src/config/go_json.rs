//! JSON as Go's decoder reads it, where that differs from serde.

use serde_json::Value;

/// Go matches keys without regard to case, and a `null` leaves the default. Keys come out in lower case.
#[must_use]
pub fn as_go_reads(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.into_iter().filter(|(_, value)| !value.is_null());
            let lower = entries.map(|(key, value)| (key.to_ascii_lowercase(), as_go_reads(value)));
            Value::Object(lower.collect())
        }
        Value::Array(values) => values.into_iter().map(as_go_reads).collect(),
        other => other,
    }
}
