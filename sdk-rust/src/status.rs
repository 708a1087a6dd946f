//! status: the sidecar's counts, for operators and tests (contract, section 3).
//!
//! Counts only: addresses are topology. Fields that this version does not know are ignored.

use serde::{Deserialize, Serialize};

use crate::{Client, Result};

/// What the sidecar holds and has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Objects put into this sidecar.
    pub objects: Objects,
    /// The pool for blocking transfers.
    pub pool: Pool,
    /// Transfers since the sidecar started, by path and outcome.
    pub transfers: Vec<Transfers>,
    /// Sidecars that this one is connected to.
    pub peers: u64,
}

impl Status {
    /// The same as JSON on one line, in the form of the contract (section 3).
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers and strings only: writing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Objects held for later gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// Number of objects.
    pub held: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Most bytes that may be held (`XDT_OBJECT_MEMORY`).
    pub bytes_limit: u64,
}

/// Buffers for blocking transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// In use, in the unit of [`limit`](Self::limit).
    pub used: u64,
    /// All there are.
    pub limit: u64,
}

/// Transfers of one path with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfers {
    /// `instance`, `node`, `stream` or `spill`.
    pub path: String,
    /// `ok` or why not.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

impl Client {
    /// Asks the sidecar for its counts; also a way to see whether it is there.
    ///
    /// # Errors
    /// [`SidecarUnavailable`](crate::ErrorKind::SidecarUnavailable),
    /// [`UnexpectedAnswer`](crate::ErrorKind::UnexpectedAnswer), [`TransferBroken`](crate::ErrorKind::TransferBroken) or
    /// [`Timeout`](crate::ErrorKind::Timeout).
    /// # Cancel safety
    /// Dropping the future has no effect on the sidecar.
    pub async fn status(&self) -> Result<Status> {
        self.bounded(self.shared().transport.status()).await
    }
}
