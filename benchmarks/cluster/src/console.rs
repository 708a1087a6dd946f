//! What the person at the terminal sees, all of it on stderr: a spinner while starting, and lines.
//!
//! Without a terminal there is no spinner, only the lines. The library's log goes the same way, so that nothing is
//! written across the spinner.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use xdt_cluster::{Cluster, Options, Progress, Spec, StartError};

use crate::cli::Run;
use crate::signals::Signals;

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// The terminal.
#[derive(Debug)]
pub(crate) struct Console {
    spinner: ProgressBar,
}

impl Console {
    /// Opens it, and sends the log there: `RUST_LOG`, by default what the cluster itself does.
    pub(crate) fn open() -> Self {
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        spinner.set_style(ProgressStyle::default_spinner());
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("xdt_cluster=info"));
        let log = tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_env_filter(filter);
        log.with_writer(Lines(spinner.clone())).init();
        Self { spinner }
    }

    /// Writes one line.
    pub(crate) fn say(&self, line: &str) {
        // A terminal that is gone is no reason to leave processes behind.
        let _gone = Lines(self.spinner.clone()).write_all(format!("{line}\n").as_bytes());
    }

    /// Starts the cluster behind a turning spinner, unless a signal comes first.
    pub(crate) async fn start(&self, spec: Spec, run: &Run, signals: &mut Signals) -> Result<Cluster, StartError> {
        let (progress, seen) = watch::channel(Progress::default());
        let options = Options {
            progress: Some(progress),
            ..run.options()
        };
        let cluster = tokio::select! {
            started = Cluster::start_unless(spec, options, signals.next()) => started?,
            never = self.follow(seen) => match never {},
        };
        for url in cluster.functions().filter_map(|name| cluster.url(name).ok()) {
            self.say(&url);
        }
        self.say(&format!(
            "ready: ingress {}, addresses in {}",
            cluster.ingress(),
            cluster.endpoints().display()
        ));
        Ok(cluster)
    }

    /// Never ends by itself; the spinner stops when this is dropped.
    async fn follow(&self, mut seen: watch::Receiver<Progress>) -> Infallible {
        let stop = Stop(&self.spinner);
        stop.0.enable_steady_tick(TURN);
        loop {
            let Progress { ready, wanted } = *seen.borrow_and_update();
            stop.0.set_message(format!("{ready} of {wanted} instances are ready"));
            if seen.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Stops the spinner when dropped.
struct Stop<'a>(&'a ProgressBar);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Writes lines above the spinner.
#[derive(Debug, Clone)]
struct Lines(ProgressBar);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
