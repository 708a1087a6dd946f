//! The rows of `samples.csv` and `transfers.csv`. Field order is column order, and that is fixed (contract, section B).

use serde::{Deserialize, Serialize};

/// What a sample's `outcome` says when all is well.
pub(crate) const OK: &str = "ok";
/// The bytes arrived, but not the right ones.
pub(crate) const WRONG: &str = "wrong-bytes";
/// The transfer failed.
pub(crate) const FAILED: &str = "failed";

/// One repetition of one cell by one column, or one request of a load experiment. Times are nanoseconds of
/// `CLOCK_MONOTONIC`, so they mean something only beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) run_id: String,
    pub(crate) experiment: String,
    pub(crate) pattern: String,
    /// The column's name.
    pub(crate) backend: String,
    /// Bytes of one object.
    pub(crate) size_bytes: u64,
    pub(crate) degree: usize,
    /// Functions one behind the other.
    pub(crate) chain: usize,
    pub(crate) burst_id: u64,
    pub(crate) rep: u64,
    /// Left out of the figures, though not of the checks.
    pub(crate) warmup: bool,
    pub(crate) cold: bool,
    /// When it should have been sent.
    pub(crate) scheduled_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) received_ns: u64,
    /// The client's clock around the whole, from the scheduled moment.
    pub(crate) e2e_ns: u64,
    /// From the first put, invoke or stream call to the last byte in a consumer's user code.
    pub(crate) transfer_ns: u64,
    /// Longest put, where objects are put.
    pub(crate) put_ns: u64,
    /// Longest get, where objects are got.
    pub(crate) get_ns: u64,
    /// Bytes delivered.
    pub(crate) bytes: u64,
    /// What the sidecars' counters say.
    pub(crate) path: String,
    pub(crate) outcome: String,
}

impl Sample {
    /// Whether the figures are made from it.
    pub(crate) fn counts(&self) -> bool {
        !self.warmup && self.outcome == OK
    }
}

/// One retrieval by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) run_id: String,
    /// Empty: timed runs are not traced.
    pub(crate) trace_id: String,
    /// Stands for the reference, which nobody should find in a file.
    pub(crate) reference_digest: String,
    pub(crate) bytes: u64,
    /// Number of the retrieval of its repetition.
    pub(crate) retrieval: usize,
    pub(crate) path: String,
    /// The repetition's first call.
    pub(crate) queued_ns: u64,
    /// The get's call.
    pub(crate) started_ns: u64,
    /// Empty: user code sees whole objects.
    pub(crate) first_byte_ns: Option<u64>,
    pub(crate) done_ns: u64,
    pub(crate) outcome: String,
}
