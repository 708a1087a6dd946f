//! The same-node path: a producer's sealed memory file passes to a consumer's queue-proxy on the same node, and no byte
//! of it is copied (contract, section 7).
//!
//! - [`directory`]: the node directory, who may speak in it, and under which name.
//! - `pull`: the consumer's side, called by `get`.
//! - [`serve`]: the producer's side.
//!
//! What travels is in `node.proto`. Tickets, proofs, claims and refusals are those of the network path; only the bytes
//! come another way. A producer is known by the owner of its socket file and by the credentials of its process before a
//! ticket is shown to it, and by its proof afterwards.

pub mod directory;
mod pull;
pub mod serve;

pub(super) use pull::NodePull;
