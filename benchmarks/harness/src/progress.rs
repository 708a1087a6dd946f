//! The bar on the terminal's error output while transfers run; nothing where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// One step per transfer; removed when dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for `transfers` steps.
    pub(crate) fn new(transfers: u64) -> Self {
        let bar = ProgressBar::new(transfers);
        let template = "{elapsed_precise} [{bar:40}] {pos}/{len} transfers  {msg}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// Names what runs now.
    pub(crate) fn at(&self, object: &str, backend: &str) {
        self.0.set_message(format!("{object} by {backend}"));
    }

    /// Steps done, or left out for want of time.
    pub(crate) fn advance(&self, transfers: u64) {
        self.0.inc(transfers);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
