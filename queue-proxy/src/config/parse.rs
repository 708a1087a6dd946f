//! Raw values, and the faults found in them.

use std::{collections::BTreeMap, fmt, time::Duration};

use xdt_proto::{ByteCount, parse_duration};

use super::{ambient::Ambient, settings::SETTINGS};

/// Longest time that a setting in seconds can mean: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Values as given: a flag beats its variable, a variable beats the default.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    values: BTreeMap<String, String>,
    /// Every variable of the environment whose name begins with `XDT_`.
    xdt_names: Vec<String>,
}

impl Raw {
    /// From an environment, and flags under their variables' names.
    #[must_use]
    pub fn new(environment: impl IntoIterator<Item = (String, String)>, flags: BTreeMap<String, String>) -> Self {
        let mut values: BTreeMap<String, String> = environment.into_iter().collect();
        let xdt_names = values.keys().filter(|name| name.starts_with("XDT_")).cloned().collect();
        values.extend(flags);
        Self { values, xdt_names }
    }

    /// What was given, or the default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // A variable of ours that is set to nothing, as templates render it, is not set.
        let empty = |value: &&str| name.starts_with("XDT_") && value.is_empty();
        let given = self.values.get(name).map(String::as_str).filter(|value| !empty(value));
        given.or_else(|| {
            SETTINGS
                .iter()
                .find(|setting| setting.name == name)
                .and_then(|setting| setting.default)
        })
    }

    /// What telemetry reads of the environment.
    #[must_use]
    pub fn ambient(&self) -> Ambient {
        Ambient::of(&self.values)
    }

    /// Variables that look like ours and are not.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let known = |name: &String| SETTINGS.iter().any(|setting| setting.name == name);
        self.xdt_names.iter().filter(|name| !known(name)).cloned().collect()
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Variables that are missing or not of their type: Knative tells these as plain lines, before there is a log.
    environment: Vec<String>,
    /// Variables that are texts, as they should be, but do not hold what is needed: told through the log.
    contents: Vec<Content>,
}

/// One variable whose content cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The variable.
    pub name: String,
    /// What is wrong with it.
    pub error: String,
}

impl Content {
    /// What the log says, in Knative's words where it has some.
    #[must_use]
    pub fn message(&self) -> String {
        match self.name.as_str() {
            "SERVING_READINESS_PROBE" => "Queue container failed to parse readiness probe".to_owned(),
            name => format!("{name} cannot be used"),
        }
    }
}

impl Faults {
    /// Notes a value that is not accepted.
    pub fn refuse(&mut self, name: &str, value: &str, accepted: &str) {
        self.environment
            .push(format!("{name}: {value:?} does not parse; accepted is {accepted}"));
    }

    pub(super) fn required<'r>(&mut self, raw: &'r Raw, name: &str) -> Option<String> {
        let value: Option<&'r str> = raw.get(name);
        if value.is_none() {
            self.environment.push(format!("required key {name} missing value"));
        }
        value.map(str::to_owned)
    }

    pub(super) fn required_as<'r, T>(
        &mut self,
        raw: &'r Raw,
        name: &str,
        accepted: &str,
        parse: impl FnOnce(&'r str) -> Option<T>,
    ) -> Option<T> {
        if raw.get(name).is_none() {
            self.required(raw, name);
            return None;
        }
        self.optional(raw, name, accepted, parse)
    }

    pub(super) fn optional<'r, T>(
        &mut self,
        raw: &'r Raw,
        name: &str,
        accepted: &str,
        parse: impl FnOnce(&'r str) -> Option<T>,
    ) -> Option<T> {
        let value = raw.get(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.refuse(name, value, accepted);
        }
        parsed
    }

    pub(super) fn go_int(&mut self, raw: &Raw, name: &str) -> Option<i64> {
        self.required_as(raw, name, "a whole number (type int)", go_int)
    }

    /// Whole seconds; less than none is none.
    pub(super) fn seconds(&mut self, raw: &Raw, name: &str) -> Option<Duration> {
        self.go_int(raw, name).map(seconds)
    }

    /// Whole seconds; 0 or less = off.
    pub(super) fn optional_seconds(&mut self, raw: &Raw, name: &str) -> Option<Option<Duration>> {
        self.seconds(raw, name)
            .map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
    }

    /// A truth value as Go writes it.
    pub(super) fn go_bool(&mut self, raw: &Raw, name: &str) -> Option<bool> {
        let accepted = "one of 1 t T TRUE true True 0 f F FALSE false False (type bool)";
        self.required_as(raw, name, accepted, |text| match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => None,
        })
    }

    pub(super) fn size(&mut self, raw: &Raw, name: &str) -> Option<ByteCount> {
        self.required_as(
            raw,
            name,
            "bytes, or a number with KiB, MiB or GiB, such as 64KiB",
            |text| text.parse().ok(),
        )
    }

    pub(super) fn duration(&mut self, raw: &Raw, name: &str) -> Option<Duration> {
        self.required_as(raw, name, "0, or a number with ms, s, m or h, such as 30s", |text| {
            parse_duration(text).ok()
        })
    }

    /// A number with or without a fraction.
    pub(super) fn go_float(&mut self, raw: &Raw, name: &str) -> Option<f64> {
        self.required_as(raw, name, "a number such as 0.1 (type float64)", |text| {
            text.parse().ok()
        })
    }

    /// Takes the value, or notes why the content of the variable `name` cannot be used.
    pub(super) fn checked<T>(&mut self, name: &str, result: Result<T, impl std::error::Error>) -> Option<T> {
        let note = |error: &dyn std::error::Error| Content {
            name: name.to_owned(),
            error: error.to_string(),
        };
        result.map_err(|error| self.contents.push(note(&error))).ok()
    }

    /// The value, if nothing was wrong.
    pub(super) fn settled<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, Self> {
        match make() {
            Some(value) if self.environment.is_empty() && self.contents.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// The faults to be told through the log: those in contents, where there are no others.
    #[must_use]
    pub fn for_the_log(&self) -> &[Content] {
        if self.environment.is_empty() {
            &self.contents
        } else {
            &[]
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self
            .contents
            .iter()
            .map(|Content { name, error }| format!("{name}: {error}"));
        let lines: Vec<String> = self.environment.iter().cloned().chain(contents).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// So many seconds, but never more than [`LONGEST`]: a point in time so far away can still be computed.
pub(super) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST)
}

/// A whole number as Go's base-0 syntax writes it: `10`, `-5`, `0x10`, `0o7`, `07`, `0b1`, `1_000`.
pub(super) fn go_int(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let edge = digits.starts_with('_') && radix == 10 || digits.ends_with('_') || digits.contains("__");
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    if edge || plain.is_empty() || plain.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&plain, radix).ok()?;
    i64::try_from(sign * number).ok()
}
