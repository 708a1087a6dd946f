//! The bar of one transfer.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Bytes moved, of all there are where that is known; removed when dropped.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(output: &Output, bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(bytes, output.bars());
        let template = match bytes {
            Some(_) => "[{bar:40}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
            None => "{spinner} {bytes}  {bytes_per_sec}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(crate) fn moved(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.0.position()
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
