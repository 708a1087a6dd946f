//! pprof's format: `profile.proto` of github.com/google/pprof as messages (the fields that a CPU profile needs), and the
//! way from stacks to bytes.

use std::{
    collections::HashMap,
    hash::Hash,
    io::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

/// `Profile`. Numbers that name a text are places in [`Profile::string_table`], whose first text is empty.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What each sample counts.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Places in the program.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// Texts.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// When it began, since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// How long it took.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What lies between two samples.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "12")]
    pub period: i64,
}

/// `ValueType`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ValueType {
    /// What is counted.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// In what.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// `Sample`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sample {
    /// The stack, innermost place first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One for each sample type.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// More about it.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// `Label`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Its text.
    #[prost(int64, tag = "2")]
    pub str: i64,
}

/// `Location`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Location {
    /// Its name.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The calls inlined there, innermost first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// `Line`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// The line in its file.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// `Function`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Function {
    /// Its name in here.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name in the program.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Its file.
    pub file: String,
    /// The line; 0 = unknown.
    pub line: i64,
}

/// Where a thread was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The thread.
    pub thread: String,
    /// Innermost first; in one place, the calls inlined there.
    pub calls: Vec<Vec<Call>>,
}

/// A compressed CPU profile of stacks and how often each was seen, `frequency` times a second.
///
/// # Errors
/// Those of compression.
pub fn encode(
    stacks: impl Iterator<Item = (Stack, i64)>,
    begun: SystemTime,
    duration: Duration,
    frequency: i32,
) -> io::Result<Vec<u8>> {
    let mut tables = Tables::default();
    tables.strings.id(String::new());
    let mut value_type = |r#type: &str, unit: &str| ValueType {
        r#type: tables.text(r#type),
        unit: tables.text(unit),
    };
    let (samples, cpu) = (value_type("samples", "count"), value_type("cpu", "nanoseconds"));
    let period = 1_000_000_000 / i64::from(frequency.max(1));
    let sample = stacks
        .map(|(stack, count)| tables.sample(&stack, count, period))
        .collect();
    let profile = Profile {
        sample_type: vec![samples, cpu],
        sample,
        location: tables.location(),
        function: tables.function(),
        string_table: tables.strings.in_order(),
        time_nanos: nanoseconds(begun.duration_since(UNIX_EPOCH).unwrap_or_default()),
        duration_nanos: nanoseconds(duration),
        period_type: Some(cpu),
        period,
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish()
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Gives each distinct value a number, from 0 on.
struct Table<T>(HashMap<T, u64>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Table<T> {
    fn id(&mut self, value: T) -> u64 {
        let next = self.0.len() as u64;
        *self.0.entry(value).or_insert(next)
    }

    fn in_order(self) -> Vec<T> {
        let mut entries: Vec<(T, u64)> = self.0.into_iter().collect();
        entries.sort_unstable_by_key(|(_, id)| *id);
        entries.into_iter().map(|(value, _)| value).collect()
    }
}

/// What samples refer to. Functions and locations are numbered from 1 on, because 0 is none.
#[derive(Default)]
struct Tables {
    strings: Table<String>,
    /// Name and file.
    functions: Table<(i64, i64)>,
    locations: Table<Vec<Line>>,
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        i64::try_from(self.strings.id(text.to_owned())).unwrap_or(0)
    }

    fn sample(&mut self, stack: &Stack, count: i64, period: i64) -> Sample {
        let label = Label {
            key: self.text("thread"),
            str: self.text(&stack.thread),
        };
        let place = |inlined: &Vec<Call>| {
            let lines = inlined.iter().map(|call| self.line(call)).collect();
            self.locations.id(lines) + 1
        };
        Sample {
            location_id: stack.calls.iter().map(place).collect(),
            value: vec![count, count.saturating_mul(period)],
            label: vec![label],
        }
    }

    fn line(&mut self, call: &Call) -> Line {
        let function = (self.text(&call.name), self.text(&call.file));
        Line {
            function_id: self.functions.id(function) + 1,
            line: call.line,
        }
    }

    fn location(&mut self) -> Vec<Location> {
        let lines = std::mem::take(&mut self.locations).in_order();
        let numbered = (1..).zip(lines);
        numbered.map(|(id, line)| Location { id, line }).collect()
    }

    fn function(&mut self) -> Vec<Function> {
        let functions = std::mem::take(&mut self.functions).in_order();
        let numbered = (1..).zip(functions);
        numbered
            .map(|(id, (name, filename))| Function { id, name, filename })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_profile_can_be_read_back() {
        let call = |name: &str| Call {
            name: name.to_owned(),
            file: "file.rs".to_owned(),
            line: 7,
        };
        let stack = |calls: &[&[&str]]| Stack {
            thread: "worker".to_owned(),
            calls: calls
                .iter()
                .map(|inlined| inlined.iter().map(|name| call(name)).collect())
                .collect(),
        };
        let stacks = [
            (stack(&[&["leaf", "inlined into"], &["main"]]), 3),
            (stack(&[&["main"]]), 1),
        ];
        let bytes = encode(stacks.into_iter(), UNIX_EPOCH, Duration::from_secs(1), 100).expect("compressible");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .expect("gzip");
        let profile = Profile::decode(plain.as_slice()).expect("a profile");
        assert_eq!(profile.string_table[0], "");
        let text = |id: i64| profile.string_table[usize::try_from(id).expect("small")].as_str();
        let types: Vec<_> = profile
            .sample_type
            .iter()
            .map(|one| (text(one.r#type), text(one.unit)))
            .collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
        let name = |id: u64| {
            let location = profile
                .location
                .iter()
                .find(|location| location.id == id)
                .expect("known");
            let names = location.line.iter().map(|line| {
                let function = profile.function.iter().find(|function| function.id == line.function_id);
                text(function.expect("known").name)
            });
            names.collect::<Vec<_>>().join(" < ")
        };
        let samples: Vec<_> = profile
            .sample
            .iter()
            .map(|sample| {
                (
                    sample.location_id.iter().map(|id| name(*id)).collect::<Vec<_>>(),
                    sample.value.clone(),
                )
            })
            .collect();
        assert_eq!(samples[0].0, ["leaf < inlined into", "main"]);
        assert_eq!(samples[0].1, [3, 30_000_000]);
        assert_eq!(samples[1].0, ["main"]);
        assert_eq!((profile.function.len(), profile.location.len()), (3, 2));
    }
}
