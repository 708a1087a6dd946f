//! What a repetition would cost its developer in a cloud (thesis, 6.6.3.2; contract, A.7), from measured durations and a
//! dated list of prices.
//!
//! Two figures for storage, because they differ by orders of magnitude: the published method (one month's rent of the
//! bytes, no requests) and the list price (requests, and rent for as long as the object lived). Cache hours are divided
//! by a stated number of workflows per hour, because that choice alone decides.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use xdt_patterns::messages::Pattern;

const GIGABYTE: f64 = 1e9;
const SECONDS_PER_MONTH: f64 = 30.0 * 24.0 * 3600.0;
/// ElastiCache charges one unit for each KB that a command moves.
const ECPU_BYTES: f64 = 1024.0;

/// The price file, in USD.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    /// When they were written down.
    pub(crate) dated: String,
    /// What to know before quoting them.
    pub(crate) note: String,
    lambda_gb_second: f64,
    lambda_request: f64,
    s3_put: f64,
    s3_get: f64,
    s3_gb_month: f64,
    cache_gb_hour: f64,
    cache_minimum_gb: f64,
    cache_ecpu: f64,
    cache_node_hour: f64,
    cache_node_gb: f64,
    /// Configured size of every function.
    pub(crate) function_memory_gb: f64,
    /// What a sidecar adds to it where XDT is on: 32 buffers of 1 MiB at each end.
    pub(crate) sidecar_memory_gb: f64,
    /// Where each was read.
    pub(crate) sources: std::collections::BTreeMap<String, String>,
}

impl Prices {
    /// The file that is compiled in.
    ///
    /// # Errors
    /// Only if the file does not fit this program.
    pub(crate) fn built_in() -> Result<Self> {
        serde_json::from_str(include_str!("../prices.json")).context("prices.json")
    }
}

/// One repetition, as far as its price goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) pattern: Pattern,
    pub(crate) degree: usize,
    pub(crate) size: u64,
    /// Mean time of the whole: what callers are billed for while they wait.
    pub(crate) e2e_s: f64,
    /// Mean time from the first call to the last byte: bound of what consumers are billed for, and of how long objects live.
    pub(crate) transfer_s: f64,
}

/// USD for one repetition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    /// Functions, requests included.
    pub(crate) compute: f64,
    /// Storage by the published method.
    pub(crate) storage_published: f64,
    /// Storage at list prices.
    pub(crate) storage_list: f64,
}

impl Usage {
    /// Objects put, and gets made.
    fn operations(&self) -> (f64, f64) {
        let degree = self.degree as f64;
        match self.pattern {
            Pattern::OneToOne => (1.0, 1.0),
            Pattern::Gather | Pattern::Scatter => (degree, degree),
            Pattern::Broadcast => (1.0, degree),
        }
    }

    /// Functions that take part, and for how long each is billed: callers from beginning to end, those that are called
    /// last for the transfer.
    fn billed(&self) -> [(f64, f64); 2] {
        let degree = self.degree as f64;
        let (callers, called) = match self.pattern {
            Pattern::OneToOne => (1.0, 1.0),
            Pattern::Gather => (1.0, degree + 1.0),
            Pattern::Scatter | Pattern::Broadcast => (2.0, degree),
        };
        [(callers, self.e2e_s), (called, self.transfer_s)]
    }

    fn compute(&self, prices: &Prices, memory_gb: f64) -> f64 {
        let each = self.billed().into_iter();
        let price = |(functions, seconds): (f64, f64)| {
            let billed = (seconds * 1e3).ceil() / 1e3;
            functions * (billed * memory_gb * prices.lambda_gb_second + prices.lambda_request)
        };
        each.map(price).sum()
    }

    /// Through S3.
    pub(crate) fn through_s3(&self, prices: &Prices) -> Cost {
        let (puts, gets) = self.operations();
        let gigabytes = puts * self.size as f64 / GIGABYTE;
        let rent = gigabytes * prices.s3_gb_month;
        Cost {
            compute: self.compute(prices, prices.function_memory_gb),
            storage_published: rent,
            storage_list: puts * prices.s3_put + gets * prices.s3_get + rent * self.transfer_s / SECONDS_PER_MONTH,
        }
    }

    /// Through a cache that `per_hour` such repetitions share: serverless, and a node of its own.
    pub(crate) fn through_cache(&self, prices: &Prices, per_hour: f64) -> (Cost, Cost) {
        let (puts, gets) = self.operations();
        let gigabytes = puts * self.size as f64 / GIGABYTE;
        let units = (puts + gets) * (self.size as f64 / ECPU_BYTES).ceil();
        let hours = gigabytes.max(prices.cache_minimum_gb) * prices.cache_gb_hour / per_hour;
        let nodes = (gigabytes / prices.cache_node_gb).ceil().max(1.0);
        let compute = self.compute(prices, prices.function_memory_gb);
        let cost = |storage: f64| Cost {
            compute,
            storage_published: storage,
            storage_list: storage,
        };
        (
            cost(hours + units * prices.cache_ecpu),
            cost(nodes * prices.cache_node_hour / per_hour),
        )
    }

    /// By XDT: no storage, and the sidecar's memory beside the function's.
    pub(crate) fn by_xdt(&self, prices: &Prices) -> Cost {
        Cost {
            compute: self.compute(prices, prices.function_memory_gb + prices.sidecar_memory_gb),
            ..Cost::default()
        }
    }

    /// Inline: neither.
    pub(crate) fn inline(&self, prices: &Prices) -> Cost {
        Cost {
            compute: self.compute(prices, prices.function_memory_gb),
            ..Cost::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(pattern: Pattern, degree: usize) -> Usage {
        Usage {
            pattern,
            degree,
            size: 1_000_000,
            e2e_s: 1.0,
            transfer_s: 0.5,
        }
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < expected.abs().max(1e-12) * 1e-6
    }

    #[test]
    fn the_published_method_is_a_months_rent_and_the_list_price_is_requests() {
        let prices = Prices::built_in().unwrap();
        let cost = usage(Pattern::Gather, 10).through_s3(&prices);
        assert!(close(cost.storage_published, 0.01 * 0.023), "{cost:?}");
        let requests = 10.0 * 0.000_005 + 10.0 * 0.000_000_4;
        assert!((cost.storage_list - requests).abs() < 1e-9, "{cost:?}");
        assert_eq!(usage(Pattern::Broadcast, 10).operations(), (1.0, 10.0));
    }

    #[test]
    fn compute_is_rounded_up_to_milliseconds_and_counts_requests() {
        let prices = Prices::built_in().unwrap();
        let one = Usage {
            e2e_s: 0.000_1,
            transfer_s: 0.000_1,
            ..usage(Pattern::OneToOne, 1)
        };
        let expected = 2.0 * (0.001 * 0.5 * 0.000_016_666_7 + 0.000_000_2);
        assert!(close(one.inline(&prices).compute, expected));
        assert!(one.by_xdt(&prices).compute > expected);
    }

    #[test]
    fn a_cache_is_dear_alone_and_cheap_in_company() {
        let prices = Prices::built_in().unwrap();
        let of = |per_hour| usage(Pattern::OneToOne, 1).through_cache(&prices, per_hour);
        let ((alone, node), (shared, _)) = (of(1.0), of(1000.0));
        assert!(alone.storage_list > 0.125 && node.storage_list > 0.06);
        assert!(shared.storage_list < alone.storage_list / 900.0);
    }
}
