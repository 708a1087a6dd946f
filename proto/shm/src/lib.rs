//! Memory files between the processes of one pod: made, sealed, checked, mapped, and passed over a unix socket.
//!
//! Used by the sidecar and by the SDK, which do not trust each other. A producer fills a [`Building`] in place or a [`Writer`] by copying, seals
//! it and passes its descriptor ([`pass`]); the receiver trusts nothing about a descriptor before [`Sealed::verify`] has looked
//! at it: only a file of memory that can neither shrink nor grow nor be written any more, of exactly the announced size
//! and without holes, is ever mapped. Whatever fails that is read by [`Received::copy_into`] at most, which copies and
//! cannot be hurt.
//!
//! Linux only, as Knative's pods are. Bounded by its callers: each file's size is announced before it is made or
//! accepted, and one message carries one descriptor. The only crate beside the Python buffer view with `unsafe` code,
//! all of it in `map.rs`.

mod building;
mod channel;
mod error;
mod frame;
mod map;
pub mod pass;
mod sealed;
mod writer;

pub use building::Building;
pub use channel::{Channel, ChannelError, MAX_FRAME};
pub use error::{Refused, ShmError};
pub use frame::{Frames, TooLong};
pub use map::Map;
pub use sealed::{Received, Sealed};
pub use writer::Writer;
