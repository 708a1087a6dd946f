//! Logs: one JSON object a line on stderr, with Knative's keys.

use std::{fmt, io, time::SystemTime};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Installs the log for the whole process. `level` as Knative names it; empty or unknown: info.
pub fn install(level: &str, namespace: &str, revision: &str, pod: &str) {
    let format = JsonLines {
        key: format!("{namespace}/{revision}"),
        pod: pod.to_owned(),
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(filter(level))
        .with_writer(io::stderr)
        .event_format(format);
    // Fails only when a log is installed already, as in tests.
    let _already = tracing::subscriber::set_global_default(builder.finish());
}

fn filter(level: &str) -> LevelFilter {
    match level {
        "debug" => LevelFilter::DEBUG,
        "warn" => LevelFilter::WARN,
        "error" | "dpanic" | "panic" | "fatal" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// Field of an error that ends the process: the line's severity is EMERGENCY, and the field is left out.
const FATAL: &str = "fatal";

/// Tells why the process ends before it has begun to serve: one line of severity EMERGENCY.
pub fn fatal(error: &str, message: &str) {
    tracing::error!(fatal = true, error, "{message}");
}

struct JsonLines {
    key: String,
    pod: String,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
        put("severity", severity(*metadata.level()).into());
        put(
            "timestamp",
            humantime::format_rfc3339_nanos(SystemTime::now()).to_string().into(),
        );
        put("logger", "queueproxy".into());
        let file = metadata
            .file()
            .and_then(|file| file.split("src/").last())
            .unwrap_or_default();
        put(
            "caller",
            format!("{file}:{}", metadata.line().unwrap_or_default()).into(),
        );
        put("knative.dev/key", self.key.clone().into());
        put("knative.dev/pod", self.pod.clone().into());
        event.record(&mut Fields(&mut line));
        if line.remove(FATAL).is_some() {
            line.insert("severity".to_owned(), "EMERGENCY".into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

struct Fields<'l>(&'l mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}
