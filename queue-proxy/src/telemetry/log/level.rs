//! zap's levels, and the words for them.

use tracing::level_filters::LevelFilter;

/// From what only developers want to know to what ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
    /// Should never happen; we go on.
    DPanic,
    /// A panic.
    Panic,
    /// Ends the process.
    Fatal,
}

impl Level {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// zap's word, in any case; none is info.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" | "" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            "dpanic" => Self::DPanic,
            "panic" => Self::Panic,
            "fatal" => Self::Fatal,
            _ => return None,
        })
    }

    /// Of an event that does not say more.
    pub(super) fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }

    /// What `tracing` must let through for a log of this level.
    pub(super) fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            _ => LevelFilter::ERROR,
        }
    }

    /// The same for events of other crates, which tell more than anybody wants below a warning.
    pub(super) fn of_others(self) -> LevelFilter {
        self.max(Self::Warn).filter()
    }

    /// Knative's word.
    pub(super) fn severity(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARNING",
            Self::Error => "ERROR",
            Self::DPanic => "CRITICAL",
            Self::Panic => "ALERT",
            Self::Fatal => "EMERGENCY",
        }
    }

    /// zap's own word.
    pub(super) fn lower(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::DPanic => "dpanic",
            Self::Panic => "panic",
            Self::Fatal => "fatal",
        }
    }

    /// Its colour on a terminal, as an ANSI code.
    pub(super) fn colour(self) -> u8 {
        match self {
            Self::Debug => 35,
            Self::Info => 34,
            Self::Warn => 33,
            _ => 31,
        }
    }
}
