//! Lines: zap's `json` and `console` encodings.
//!
//! A stack trace is the one frame that is known without unwinding: the module, file and line of the event.

use std::{fmt::Write as _, io::Write as _, time::SystemTime};

use serde::Serialize;

use super::{
    config::{CallerForm, Config, EncoderConfig, LevelForm, TimeForm},
    level::Level,
};

/// One event.
pub(super) struct Entry<'e> {
    pub(super) level: Level,
    pub(super) time: SystemTime,
    pub(super) file: &'e str,
    pub(super) line: u32,
    pub(super) module: &'e str,
    pub(super) message: &'e str,
    pub(super) fields: &'e Members,
    /// Whether it has a stack trace.
    pub(super) stack: bool,
}

/// Members of a JSON object, without its braces. A key may come twice, as with zap; readers take the last.
#[derive(Default)]
pub(super) struct Members(Vec<u8>);

impl Members {
    pub(super) fn put<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) {
        let length = self.0.len();
        self.key(key);
        // Fails for no text, number or value of JSON.
        if serde_json::to_writer(&mut self.0, value).is_err() {
            self.0.truncate(length);
        }
    }

    /// Under a key of the configuration, where an empty one drops the member.
    fn put_under(&mut self, key: &str, text: &str) {
        if !key.is_empty() {
            self.put(key, text);
        }
    }

    fn put_stamp(&mut self, key: &str, stamp: &Stamp) {
        match stamp {
            Stamp::Text(text) => self.put(key, text),
            Stamp::Number(digits) => {
                self.key(key);
                self.0.extend_from_slice(digits.as_bytes());
            }
        }
    }

    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        // Writing a text into memory does not fail.
        let _infallible = serde_json::to_writer(&mut self.0, key);
        self.0.push(b':');
    }

    fn append(&mut self, others: &Self) {
        if !self.0.is_empty() && !others.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(&others.0);
    }
}

/// A time as it is written.
enum Stamp {
    Text(String),
    Number(String),
}

/// Writes lines.
pub(super) struct Encoder {
    config: EncoderConfig,
    console: bool,
    caller: bool,
    /// The logger's name.
    name: &'static str,
    /// On every line.
    context: Members,
}

impl Encoder {
    pub(super) fn new(config: &Config, name: &'static str, context: Members) -> Self {
        Self {
            config: config.encoder.clone(),
            console: config.is_console(),
            caller: config.has_caller(),
            name,
            context,
        }
    }

    /// The whole line, with its ending.
    pub(super) fn line(&self, entry: &Entry<'_>) -> Vec<u8> {
        let mut line = if self.console {
            self.console(entry)
        } else {
            self.json(entry)
        };
        line.extend_from_slice(self.config.ending().as_bytes());
        line
    }

    fn json(&self, entry: &Entry<'_>) -> Vec<u8> {
        let config = &self.config;
        let mut members = Members::default();
        members.put_under(&config.level_key, &level(config.level_form, entry.level));
        if !config.time_key.is_empty() {
            members.put_stamp(&config.time_key, &stamp(config.time_form, entry.time));
        }
        members.put_under(&config.name_key, self.name);
        if self.caller {
            members.put_under(&config.caller_key, &caller(config.caller_form, entry));
            members.put_under(&config.function_key, entry.module);
        }
        members.put_under(&config.message_key, entry.message);
        members.append(&self.context);
        members.append(entry.fields);
        if entry.stack {
            members.put_under(&config.stacktrace_key, &stack(entry));
        }
        [b"{", members.0.as_slice(), b"}"].concat()
    }

    fn console(&self, entry: &Entry<'_>) -> Vec<u8> {
        let config = &self.config;
        let mut parts = Vec::new();
        let mut put = |key: &str, text: String| {
            if !key.is_empty() {
                parts.push(text);
            }
        };
        let (Stamp::Text(time) | Stamp::Number(time)) = stamp(config.time_form, entry.time);
        put(&config.time_key, time);
        put(&config.level_key, level(config.level_form, entry.level));
        put(&config.name_key, self.name.to_owned());
        if self.caller {
            put(&config.caller_key, caller(config.caller_form, entry));
            put(&config.function_key, entry.module.to_owned());
        }
        put(&config.message_key, entry.message.to_owned());
        let mut line = parts.join(config.separator()).into_bytes();
        let mut fields = Members::default();
        fields.append(&self.context);
        fields.append(entry.fields);
        if !fields.0.is_empty() {
            if !line.is_empty() {
                line.extend_from_slice(config.separator().as_bytes());
            }
            line.push(b'{');
            line.append(&mut fields.0);
            line.push(b'}');
        }
        if entry.stack && !config.stacktrace_key.is_empty() {
            // Writing into memory does not fail.
            let _infallible = write!(line, "\n{}", stack(entry));
        }
        line
    }
}

fn level(form: LevelForm, level: Level) -> String {
    let coloured = |text: &str| format!("\u{1b}[{}m{text}\u{1b}[0m", level.colour());
    match form {
        LevelForm::Severity => level.severity().to_owned(),
        LevelForm::Lower => level.lower().to_owned(),
        LevelForm::Capital => level.lower().to_ascii_uppercase(),
        LevelForm::LowerColour => coloured(level.lower()),
        LevelForm::CapitalColour => coloured(&level.lower().to_ascii_uppercase()),
    }
}

fn stamp(form: TimeForm, time: SystemTime) -> Stamp {
    let time = time.max(SystemTime::UNIX_EPOCH);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = |shown: humantime::Rfc3339Timestamp| {
        let mut text = String::new();
        // Fails only beyond the year 9999.
        let _too_late = write!(text, "{shown}");
        text
    };
    match form {
        TimeForm::Rfc3339Nanos => Stamp::Text(without_trailing_zeros(&text(humantime::format_rfc3339_nanos(time)))),
        TimeForm::Rfc3339 => Stamp::Text(text(humantime::format_rfc3339_seconds(time))),
        TimeForm::Iso8601 => Stamp::Text(text(humantime::format_rfc3339_millis(time))),
        TimeForm::EpochSeconds => Stamp::Number((since.as_nanos() as f64 / 1e9).to_string()),
        TimeForm::EpochMillis => Stamp::Number((since.as_nanos() as f64 / 1e6).to_string()),
        TimeForm::EpochNanos => Stamp::Number(since.as_nanos().to_string()),
    }
}

/// Go's `RFC3339Nano` ends with the last digit that is not zero.
fn without_trailing_zeros(text: &str) -> String {
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

fn caller(form: CallerForm, entry: &Entry<'_>) -> String {
    let file = match form {
        CallerForm::Full => entry.file,
        CallerForm::Short => {
            let mut cuts = entry.file.rmatch_indices('/').map(|(at, _)| at + 1);
            &entry.file[cuts.nth(1).unwrap_or(0)..]
        }
    };
    format!("{file}:{}", entry.line)
}

fn stack(entry: &Entry<'_>) -> String {
    format!("{}\n\t{}:{}", entry.module, entry.file, entry.line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamped(form: TimeForm, nanos: u64) -> String {
        let (Stamp::Text(text) | Stamp::Number(text)) =
            stamp(form, SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos));
        text
    }

    #[test]
    fn times_are_written_as_zap_writes_them() {
        let time = 1_795_247_423_497_000_120;
        assert_eq!(stamped(TimeForm::Rfc3339Nanos, time), "2026-11-21T07:50:23.49700012Z");
        assert_eq!(stamped(TimeForm::Rfc3339Nanos, 0), "1970-01-01T00:00:00Z");
        assert_eq!(stamped(TimeForm::Rfc3339, time), "2026-11-21T07:50:23Z");
        assert_eq!(stamped(TimeForm::Iso8601, time), "2026-11-21T07:50:23.497Z");
        assert_eq!(stamped(TimeForm::EpochNanos, time), "1795247423497000120");
        assert!(stamped(TimeForm::EpochSeconds, time).starts_with("1795247423.497"));
        assert!(stamped(TimeForm::EpochMillis, time).starts_with("1795247423497.0"));
    }
}
