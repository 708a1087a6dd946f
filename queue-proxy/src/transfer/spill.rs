//! Spilled copies (contract, section 9): what is left of an object when its instance leaves, in an object store, so that
//! its reference stays valid.
//!
//! [`leave`] writes copies at the end of the drain; [`retrieve`] reads them for consumers whose producer is gone, with
//! the same rules as a pull: claimed, verified, confirmed. [`copies`] is one copy in the store, sealed with the ring
//! (`trust/copy.rs`); the rules of its retrievals are `xdt_objects::Copy`. The store itself is made when it is first
//! needed ([`store`]).

pub(super) mod copies;
mod leave;
mod records;
pub(super) mod retrieve;
mod store;

use copies::{CHUNK, chunks};
pub(super) use copies::{Copies, SpillError};
pub use store::SpillUrl;
use store::Store;

impl Copies {
    /// Those behind `url`. Nothing is connected to yet.
    pub(super) fn behind(url: SpillUrl) -> Self {
        Self::new(Store::new(url))
    }
}
