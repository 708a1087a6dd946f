//! XDT for functions in Rust: objects move straight from the instance that made them to the instance that needs them,
//! and only a short reference travels with the request.
//!
//! A function talks to the sidecar in its own pod, found through the environment:
//!
//! | verb | meaning |
//! | --- | --- |
//! | [`put`](Client::put) | the sidecar holds the bytes and answers with a [`Reference`] |
//! | [`create`](Client::create) | memory to build an object in place; its put copies nothing |
//! | [`get`](Client::get), [`open`](Client::open) | the bytes behind a reference, whole or as they arrive |
//! | [`invoke`](Client::invoke) | an HTTP call with a payload and an answer of any size |
//! | [`delete`](Client::delete) | frees an object early |
//!
//! `server::XdtLayer` (feature `server`, on by default) is for the other side: a server whose handlers see ordinary
//! requests. [`cloudevents`] carries references in events.
//!
//! ```no_run
//! # async fn example() -> xdt::Result<()> {
//! let client = xdt::Client::connect()?;
//! let reference = client.put(vec![0; 10 << 20]).retrievals(2).await?;
//! // The reference is text: send it to any instance of the same tenant, which then says
//! let object = client.get(&reference).await?;
//! assert_eq!(object.len(), 10 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! Memory: a put or an invoke holds one chunk of a streamed payload, a get one object of at most
//! [`memory_limit`](ClientBuilder::memory_limit), an open reader one chunk. Time: every call ends within its
//! [`timeout`](ClientBuilder::timeout). References are opaque; their `Debug` shows a digest, and no error shows an
//! address.

mod aligned;
mod buffer;
mod client;
pub mod cloudevents;
mod delete;
mod error;
mod get;
mod invoke;
mod object;
mod payload;
mod put;
mod reader;
mod response;
#[cfg(feature = "server")]
pub mod server;
pub mod status;
mod transport;

pub use buffer::Buffer;
pub use bytes::Bytes;
pub use client::{Client, ClientBuilder};
pub use error::{Error, ErrorKind, Result};
pub use get::Get;
pub use http::{HeaderMap, Method, StatusCode};
pub use invoke::Invoke;
pub use object::{Metadata, Object};
pub use payload::Payload;
pub use put::Put;
pub use reader::Reader;
pub use response::Response;
pub use status::Status;
pub use xdt_proto::{ByteCount, ErrorWord, Reference, ReferenceFormError, Retrievals};
