//! Where lines go: standard output, standard error, files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use super::config::{Config, ConfigError};

enum Sink {
    Stdout,
    Stderr,
    File(File),
}

impl Sink {
    fn open(path: &str) -> Result<Self, ConfigError> {
        match path {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => {
                let file = path.strip_prefix("file://").unwrap_or(path);
                let opened = OpenOptions::new().create(true).append(true).open(file);
                opened.map(Self::File).map_err(ConfigError::Output)
            }
        }
    }

    /// In one write, so that lines of others on the same stream stay whole.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Self::Stderr => io::stderr().write_all(line),
            Self::File(file) => file.write_all(line),
        }
    }
}

/// All of them.
pub(super) struct Sinks {
    outputs: Mutex<Vec<Sink>>,
    /// Take what goes wrong with the others.
    errors: Mutex<Vec<Sink>>,
}

impl Sinks {
    /// Those that the configuration names.
    pub(super) fn open(config: &Config) -> Result<Self, ConfigError> {
        let open = |paths: &[String]| paths.iter().map(|path| Sink::open(path)).collect::<Result<_, _>>();
        Ok(Self {
            outputs: Mutex::new(open(&config.output_paths)?),
            errors: Mutex::new(open(&config.error_output_paths)?),
        })
    }

    /// Standard error for everything.
    pub(super) fn standard() -> Self {
        Self {
            outputs: Mutex::new(vec![Sink::Stderr]),
            errors: Mutex::new(vec![Sink::Stderr]),
        }
    }

    /// Writes a line everywhere. A sink that fails is told to the others for errors, and nothing else happens.
    pub(super) fn write(&self, line: &[u8], time: SystemTime) {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = outputs.iter_mut().filter_map(|sink| sink.write(line).err()).last();
        if let Some(error) = failed {
            let time = humantime::format_rfc3339_nanos(time.max(SystemTime::UNIX_EPOCH));
            let text = format!("{time} write error: {error}\n");
            for sink in self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                // There is nobody left to tell.
                let _lost = sink.write(text.as_bytes());
            }
        }
    }
}
