//! The pure core of the object store: which objects are held, who may retrieve them, who may use how much memory.
//!
//! Called by the queue-proxy's transfer path only. State and rules live here; locks, tasks, sockets and memory live with
//! the caller. Nothing here does I/O, reads a clock (`now` is always an argument) or needs a runtime, so that whole
//! histories run in microseconds and a model test can try a hundred thousand of them.
//!
//! - [`Table`]: objects by id; put, claim, confirm, give back, delete, expire.
//! - [`Life`] and [`State`]: every state that one object can have.
//! - [`struct@Copy`]: the state of a spilled copy, which consumers change together.
//! - [`Budget`]: byte permits, granted strictly in the order of asking.
//!
//! Rules: contract, section 1 (*retrieval*) and section 9; architecture, section 4.

mod budget;
mod copy;
mod life;
mod table;

pub use budget::{AskError, Asked, Budget, MAX_WAITERS, WaiterId};
pub use copy::{Copy, Lease, LeaseId};
pub use life::{ClaimError, Life, State};
pub use table::{ClaimId, Claimed, DuplicateId, Held, Leaving, Table};
