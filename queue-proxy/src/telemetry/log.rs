//! The log of the process, as Knative's zap logger writes it (contract of the queue-proxy, section 1.3).
//!
//! Code logs with `tracing`'s macros. This subscriber decides what is written ([`config`]: level, sampling), how
//! (`encode`) and where to (`sink`). `tracing` ends at ERROR; an event above it names its level in the field
//! `LEVEL_FIELD`, which is not written. Of other crates, warnings and errors are told. Nothing is buffered: a line is
//! one write. Source: `knative.dev/pkg/logging/config.go`, `go.uber.org/zap`.

pub mod config;
mod encode;
mod level;
mod sampling;
mod sink;

use std::{fmt, panic::PanicHookInfo, time::SystemTime};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

use crate::error::chain;
use config::Config;
use encode::{Encoder, Entry, Members};
use level::Level;
use sampling::Sampler;
use sink::Sinks;

/// Names a level above ERROR in an event of level ERROR: `dpanic`, `panic` or `fatal`.
const LEVEL_FIELD: &str = "zap";
/// The logger's name, and what is put before it when the configuration cannot be used.
const NAME: &str = "queueproxy";
const FALLBACK_NAME: &str = "fallback-logger.queueproxy";
/// Revision of the source that this program was built from; `None` when the build could not tell.
pub const COMMIT: Option<&str> = option_env!("XDT_COMMIT");

/// What the controller says about the log.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'s> {
    /// `SERVING_LOGGING_CONFIG`.
    pub config: &'s str,
    /// `SERVING_LOGGING_LEVEL`.
    pub level: &'s str,
    /// `SERVING_NAMESPACE`.
    pub namespace: &'s str,
    /// `SERVING_REVISION`.
    pub revision: &'s str,
    /// `SERVING_POD`.
    pub pod: &'s str,
}

/// Installs the log for the whole process, and tells panics through it.
///
/// A configuration that cannot be used gives Knative's default, a warning, and another name of the logger.
pub fn install(settings: &Settings<'_>) {
    let (log, fault) = Log::new(settings);
    let targets = Targets::new()
        .with_default(log.level.of_others())
        .with_target("xdt", log.level.filter());
    // Fails only when a log is installed already, as in tests.
    let _already = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(targets).with(log));
    std::panic::set_hook(Box::new(|panic| tracing::error!(zap = "panic", "{}", panicked(panic))));
    if let Some(error) = fault {
        tracing::warn!(
            %error,
            "Failed to parse logging config - using default zap production config"
        );
    }
}

/// Tells why the process ends before it has begun to serve: one line of severity EMERGENCY.
pub fn fatal(error: &str, message: &str) {
    tracing::error!(zap = "fatal", error, "{message}");
}

fn panicked(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    format!("panic at {place}: {}", text.unwrap_or("without a message"))
}

/// The subscriber.
struct Log {
    level: Level,
    /// Events of this level and above tell where they were made, in the key of stack traces.
    stack_from: Option<Level>,
    sampler: Option<Sampler>,
    encoder: Encoder,
    sinks: Sinks,
}

impl Log {
    /// With what was wrong with the configuration, if anything.
    fn new(settings: &Settings<'_>) -> (Self, Option<String>) {
        let opened =
            Config::parse(settings.config).and_then(|config| Sinks::open(&config).map(|sinks| (config, sinks)));
        let (mut config, sinks, fault) = match opened {
            Ok((config, sinks)) => (config, sinks, None),
            Err(error) => (Config::default(), Sinks::standard(), Some(error.to_string())),
        };
        if let Some(level) = Level::parse(settings.level).filter(|_| !settings.level.is_empty()) {
            config.level = level;
        }
        let mut context = Members::default();
        for (name, value) in &config.initial_fields {
            context.put(name, value);
        }
        if let Some(commit) = COMMIT {
            context.put("commit", commit);
        }
        context.put(
            "knative.dev/key",
            &format!("{}/{}", settings.namespace, settings.revision),
        );
        context.put("knative.dev/pod", settings.pod);
        let name = if fault.is_some() { FALLBACK_NAME } else { NAME };
        let log = Self {
            level: config.level,
            stack_from: config.stack_from(),
            sampler: config.sampling.map(Sampler::new),
            encoder: Encoder::new(&config, name, context),
            sinks,
        };
        (log, fault)
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = fields.level.unwrap_or_else(|| Level::of(*metadata.level()));
        let time = SystemTime::now();
        let sampled = |sampler: &Sampler| sampler.passes(level, &fields.message, time);
        if level < self.level || !self.sampler.as_ref().is_none_or(sampled) {
            return;
        }
        let line = self.encoder.line(&Entry {
            level,
            time,
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            module: metadata.module_path().unwrap_or_default(),
            message: &fields.message,
            fields: &fields.members,
            stack: self.stack_from.is_some_and(|from| level >= from),
        });
        self.sinks.write(&line, time);
    }
}

/// What an event holds.
#[derive(Default)]
struct Fields {
    message: String,
    level: Option<Level>,
    members: Members,
}

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => text.clone_into(&mut self.message),
            LEVEL_FIELD => self.level = Level::parse(text),
            name => self.members.put(name, text),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    /// With what lies behind it, as a wrapped error of Go prints.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &chain(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.members.put(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.members.put(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.members.put(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.members.put(field.name(), &value);
    }
}

#[cfg(test)]
mod tests;
