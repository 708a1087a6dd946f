//! An object that has arrived whole: bytes, content type, user metadata.
//!
//! Made by get and by an answer's body; owns its bytes, shares them on clone, and never prints them.

use std::{collections::BTreeMap, fmt, io::Cursor, ops::Deref};

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::{Result, aligned::aligned};

/// User metadata: lower-case names, and values as they travelled. At most 8 KiB in all (contract, section 3).
pub type Metadata = BTreeMap<String, String>;

/// The bytes of one object, complete and verified, with what its producer said about them.
///
/// Derefs to the bytes, which begin at a multiple of 64 in memory. A clone shares them.
#[derive(Clone)]
pub struct Object {
    bytes: Bytes,
    content_type: Option<String>,
    metadata: Metadata,
    path: Option<Box<str>>,
}

impl Object {
    pub(crate) fn new(bytes: Bytes, content_type: Option<String>, metadata: Metadata) -> Self {
        Self {
            bytes: aligned(bytes),
            content_type,
            metadata,
            path: None,
        }
    }

    /// Notes the path that the bytes took.
    pub(crate) fn by_path(mut self, path: &str) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The path that the bytes took: `instance`, `node`, `stream` or `spill` (contract, section 2); `None` where the
    /// sidecar does not say, as over its HTTP API.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the object has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes themselves, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The content type. Objects put without one have `application/octet-stream`; an answer's body may have none.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// What the producer attached with [`Put::metadata`](crate::Put::metadata); empty for an answer's body.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads from the start, blocking or async: for code that wants a reader. The bytes are here, so it never waits.
    #[must_use]
    pub fn reader(&self) -> Cursor<Bytes> {
        Cursor::new(self.bytes.clone())
    }

    /// The bytes as a stream of one chunk, for code that wants a stream. To stream as bytes arrive, use
    /// [`Client::open`](crate::Client::open).
    pub fn stream(&self) -> impl Stream<Item = Result<Bytes>> + Send + Unpin + use<> {
        let chunk = (!self.bytes.is_empty()).then(|| Ok(self.bytes.clone()));
        stream::iter(chunk)
    }
}

impl Deref for Object {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Object {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Object> for Bytes {
    fn from(object: Object) -> Self {
        object.bytes
    }
}

/// Prints the length and the content type, never the bytes or the metadata.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("len", &self.len())
            .field("content_type", &self.content_type)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    fn object(bytes: &'static [u8]) -> Object {
        Object::new(
            Bytes::from_static(bytes),
            Some("text/plain".into()),
            Metadata::from([("k".into(), "v".into())]),
        )
    }

    #[tokio::test]
    async fn an_object_is_a_slice_a_reader_and_a_stream() {
        let object = object(b"bytes");
        assert_eq!(&object[..], b"bytes");
        let mut text = String::new();
        object.reader().read_to_string(&mut text).await.expect("in memory");
        assert_eq!(text, "bytes");
        let chunks: Vec<_> = object.stream().map(|chunk| chunk.expect("in memory")).collect().await;
        assert_eq!(chunks, ["bytes"]);
    }

    #[test]
    fn debug_shows_no_bytes_and_no_metadata() {
        let text = format!("{:?}", object(b"secret"));
        assert_eq!(text, r#"Object { len: 6, content_type: Some("text/plain") }"#);
    }
}
