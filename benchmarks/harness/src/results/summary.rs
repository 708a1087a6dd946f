//! `summary.csv`: one row for each column of each cell. Field order is column order, and that is fixed (contract, B).

use serde::{Deserialize, Serialize};

use super::{facts::CellFacts, sample::Sample};
use crate::{published, statistics::Sorted};

/// One column of one cell. Empty fields: not measured, or too few samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) run_id: String,
    pub(crate) experiment: String,
    pub(crate) pattern: String,
    pub(crate) backend: String,
    pub(crate) size_bytes: u64,
    pub(crate) degree: usize,
    pub(crate) chain: usize,
    pub(crate) n: usize,
    pub(crate) errors: usize,
    pub(crate) mean_ms: Option<f64>,
    pub(crate) sd_ms: Option<f64>,
    pub(crate) min_ms: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p90_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    pub(crate) ci_lo_ms: Option<f64>,
    pub(crate) ci_hi_ms: Option<f64>,
    /// p99 / median (3.4).
    pub(crate) tmr: Option<f64>,
    /// Median / median of the base run; load experiments only.
    pub(crate) mr: Option<f64>,
    /// p99 / median of the base run; load experiments only.
    pub(crate) tr: Option<f64>,
    pub(crate) bw_mean_mbs: Option<f64>,
    pub(crate) bw_median_mbs: Option<f64>,
    pub(crate) cpu_user_s: Option<f64>,
    pub(crate) cpu_sidecar_s: Option<f64>,
    pub(crate) rss_sidecar_mb: Option<f64>,
    /// What the thesis says of this cell, and where.
    pub(crate) published: String,
    pub(crate) published_section: String,
}

impl Summary {
    /// Sums up the samples of one column of one cell; times are `e2e`.
    pub(crate) fn of(run_id: &str, facts: &CellFacts, samples: &[&Sample]) -> Self {
        let counted: Vec<_> = samples.iter().filter(|sample| sample.counts()).collect();
        let times = Sorted::new(counted.iter().map(|sample| sample.e2e_ns).collect());
        let bytes = counted.first().map_or(0, |sample| sample.bytes);
        let median = times.median();
        let rate = |ns: f64| (ns > 0.0 && bytes > 0).then(|| round(bytes as f64 * 1e3 / ns));
        let is_some = times.len() > 0;
        let interval = times.median_interval();
        let published = published::of(&facts.pattern, &facts.backend, facts.size_bytes, facts.degree);
        Self {
            run_id: run_id.to_owned(),
            experiment: facts.experiment.clone(),
            pattern: facts.pattern.clone(),
            backend: facts.backend.clone(),
            size_bytes: facts.size_bytes,
            degree: facts.degree,
            chain: samples.first().map_or(1, |sample| sample.chain),
            n: times.len(),
            errors: samples
                .iter()
                .filter(|sample| sample.outcome != super::sample::OK)
                .count(),
            mean_ms: is_some.then(|| millis(times.mean())),
            sd_ms: is_some.then(|| millis(times.deviation())),
            min_ms: times.percentile(0).map(ms),
            p50_ms: median.map(ms),
            p90_ms: times.percentile(90).map(ms),
            p99_ms: times.p99().map(ms),
            max_ms: times.percentile(100).map(ms),
            ci_lo_ms: interval.map(|(low, _)| ms(low)),
            ci_hi_ms: interval.map(|(_, high)| ms(high)),
            tmr: times
                .p99()
                .zip(median)
                .map(|(p99, median)| round(p99 as f64 / median.max(1) as f64)),
            mr: None,
            tr: None,
            bw_mean_mbs: rate(times.mean()),
            bw_median_mbs: median.and_then(|median| rate(median as f64)),
            cpu_user_s: Some(round(facts.cpu_user_s)),
            cpu_sidecar_s: Some(round(facts.cpu_sidecar_s)),
            rss_sidecar_mb: Some(round(facts.rss_sidecar_bytes as f64 / 1e6)),
            published: published.map(|value| value.text.to_owned()).unwrap_or_default(),
            published_section: published.map(|value| value.section.to_owned()).unwrap_or_default(),
        }
    }
}

fn ms(ns: u64) -> f64 {
    millis(ns as f64)
}

fn millis(ns: f64) -> f64 {
    (ns / 1e3).round() / 1e3
}

/// Four decimals: CPU seconds of small cells need them.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
