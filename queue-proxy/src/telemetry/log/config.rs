//! `SERVING_LOGGING_CONFIG`: a zap configuration, read over Knative's production default as Go's JSON decoder reads it.
//!
//! That is: keys match without regard to case, unknown ones are ignored, an absent key keeps the default, and for
//! encoders a key that is present but empty selects zap's own default. Not supported: `timeEncoder` as an object with
//! a layout of Go's, which gives RFC 3339. Without effect, because no line holds such values: `durationEncoder`,
//! `nameEncoder`.

use std::io;

use serde::{Deserialize, Deserializer, de::IntoDeserializer as _};
use serde_json::{Map, Value};

use super::level::Level;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not of the types that zap expects.
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
    /// zap knows `json` and `console`.
    #[error("no encoder registered for name {0:?}")]
    Encoding(String),
    /// An output cannot be opened.
    #[error("an output cannot be opened: {0}")]
    Output(#[source] io::Error),
}

/// What is written, how, and where to.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Config {
    pub(super) level: Level,
    development: bool,
    #[serde(rename = "disablecaller")]
    disable_caller: bool,
    #[serde(rename = "disablestacktrace")]
    disable_stacktrace: bool,
    pub(super) sampling: Option<Sampling>,
    encoding: String,
    #[serde(rename = "encoderconfig")]
    pub(super) encoder: EncoderConfig,
    #[serde(rename = "outputpaths")]
    pub(super) output_paths: Vec<String>,
    #[serde(rename = "erroroutputpaths")]
    pub(super) error_output_paths: Vec<String>,
    #[serde(rename = "initialfields")]
    pub(super) initial_fields: Map<String, Value>,
}

/// Per second and message: how many lines pass at first, and then every how many-th.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Sampling {
    pub(super) initial: i64,
    pub(super) thereafter: i64,
}

/// Keys (an empty one drops its field) and forms of values.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct EncoderConfig {
    #[serde(rename = "timekey")]
    pub(super) time_key: String,
    #[serde(rename = "levelkey")]
    pub(super) level_key: String,
    #[serde(rename = "namekey")]
    pub(super) name_key: String,
    #[serde(rename = "callerkey")]
    pub(super) caller_key: String,
    #[serde(rename = "functionkey")]
    pub(super) function_key: String,
    #[serde(rename = "messagekey")]
    pub(super) message_key: String,
    #[serde(rename = "stacktracekey")]
    pub(super) stacktrace_key: String,
    #[serde(rename = "skiplineending")]
    skip_line_ending: bool,
    #[serde(rename = "lineending")]
    line_ending: String,
    #[serde(rename = "consoleseparator")]
    console_separator: String,
    #[serde(rename = "levelencoder")]
    pub(super) level_form: LevelForm,
    #[serde(rename = "timeencoder")]
    pub(super) time_form: TimeForm,
    #[serde(rename = "callerencoder")]
    pub(super) caller_form: CallerForm,
}

/// How a level is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum LevelForm {
    /// Knative's: `WARNING`.
    Severity,
    Lower,
    Capital,
    LowerColour,
    CapitalColour,
}

/// How a time is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeForm {
    Rfc3339Nanos,
    Rfc3339,
    Iso8601,
    EpochSeconds,
    EpochMillis,
    EpochNanos,
}

/// How a place in the source is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallerForm {
    /// The last two parts of the path.
    Short,
    Full,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: Level::Info,
            development: false,
            disable_caller: false,
            disable_stacktrace: false,
            sampling: Some(Sampling::default()),
            encoding: "json".to_owned(),
            encoder: EncoderConfig::default(),
            output_paths: vec!["stderr".to_owned()],
            error_output_paths: vec!["stderr".to_owned()],
            initial_fields: Map::new(),
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            initial: 100,
            thereafter: 100,
        }
    }
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            time_key: "timestamp".to_owned(),
            level_key: "severity".to_owned(),
            name_key: "logger".to_owned(),
            caller_key: "caller".to_owned(),
            function_key: String::new(),
            message_key: "message".to_owned(),
            stacktrace_key: "stacktrace".to_owned(),
            skip_line_ending: false,
            line_ending: String::new(),
            console_separator: String::new(),
            level_form: LevelForm::Severity,
            time_form: TimeForm::Rfc3339Nanos,
            caller_form: CallerForm::Short,
        }
    }
}

impl Config {
    /// Reads the variable; empty = the default.
    ///
    /// # Errors
    /// [`ConfigError`], never [`ConfigError::Output`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        // Through a map, because a struct would also be read from an array.
        let object: Option<Map<String, Value>> = serde_json::from_str(text)?;
        let mut object = as_go_matches(object.unwrap_or_default(), &["sampling"]);
        for name in ["sampling", "encoderconfig"] {
            if let Some(Value::Object(inner)) = object.get_mut(name) {
                *inner = as_go_matches(std::mem::take(inner), &[]);
            }
        }
        let config: Self = serde_json::from_value(object.into())?;
        match config.encoding.as_str() {
            "json" | "console" => Ok(config),
            _ => Err(ConfigError::Encoding(config.encoding)),
        }
    }

    pub(super) fn is_console(&self) -> bool {
        self.encoding == "console"
    }

    /// Whether lines tell where they were made.
    pub(super) fn has_caller(&self) -> bool {
        !self.disable_caller
    }

    /// From which level on lines have a stack trace.
    pub(super) fn stack_from(&self) -> Option<Level> {
        let level = if self.development { Level::Warn } else { Level::Error };
        (!self.disable_stacktrace).then_some(level)
    }
}

impl EncoderConfig {
    pub(super) fn ending(&self) -> &str {
        match self.line_ending.as_str() {
            _ if self.skip_line_ending => "",
            "" => "\n",
            ending => ending,
        }
    }

    pub(super) fn separator(&self) -> &str {
        match self.console_separator.as_str() {
            "" => "\t",
            separator => separator,
        }
    }
}

/// Keys in lower case; `null` leaves the default, except where it means "none".
fn as_go_matches(object: Map<String, Value>, nullable: &[&str]) -> Map<String, Value> {
    let lower = object.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
    lower
        .filter(|(key, value)| !value.is_null() || nullable.contains(&key.as_str()))
        .collect()
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unrecognized level: {text:?}")))
    }
}

impl<'de> Deserialize<'de> for LevelForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "capital" => Self::Capital,
            "capitalColor" => Self::CapitalColour,
            "color" => Self::LowerColour,
            _ => Self::Lower,
        })
    }
}

impl<'de> Deserialize<'de> for TimeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.is_object() {
            return Ok(Self::Rfc3339Nanos);
        }
        let text = String::deserialize(value.into_deserializer()).map_err(serde::de::Error::custom)?;
        Ok(match text.as_str() {
            "rfc3339nano" | "RFC3339Nano" => Self::Rfc3339Nanos,
            "rfc3339" | "RFC3339" => Self::Rfc3339,
            "iso8601" | "ISO8601" => Self::Iso8601,
            "millis" => Self::EpochMillis,
            "nanos" => Self::EpochNanos,
            _ => Self::EpochSeconds,
        })
    }
}

impl<'de> Deserialize<'de> for CallerForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "full" => Self::Full,
            _ => Self::Short,
        })
    }
}
