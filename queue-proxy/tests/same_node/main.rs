//! The same-node path: a producer's memory reaches a consumer on its node without a copy, under the same rules as over
//! the network (contract, section 7). Real sidecars, the real SDK.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hostile;
mod kit;
mod lifetime;
mod paths;
