//! What a put or an invoke sends: bytes in memory, a file, a reader or a stream.
//!
//! Made by callers, turned into an HTTP body by the verbs. Nothing is read before the call is awaited, and never more
//! than one chunk ahead of the connection.

mod body;

use std::{fmt, io, path::PathBuf, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::ReaderStream;
use xdt_shm::Sealed;

use crate::{Error, ErrorKind, Result, transport::Local};
pub(crate) use body::Outgoing;

/// Bytes read at a time from files and readers: the default of `XDT_CHUNK_SIZE`, so a chunk fills one of the sidecar's.
const READ_CHUNK: usize = 64 * 1024;

/// The bytes of a put or an invoke.
///
/// Made from `Bytes`, `Vec<u8>`, `&'static [u8]`, `String` and `&str` by `into()` (a `&str` is copied, the others are
/// not), or from a file, reader or stream.
pub struct Payload {
    source: Source,
    length: Option<u64>,
}

enum Source {
    Bytes(Bytes),
    Sealed(Sealed),
    File(PathBuf),
    Stream(Chunks),
}

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Payload {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// A file, opened when the call is awaited and sent as long as it is at that moment.
    ///
    /// A file that cannot be opened, or that shrinks meanwhile, fails the call with [`ErrorKind::PayloadFailed`].
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
            length: None,
        }
    }

    /// Everything up to the end of `reader`, in chunks of at most 64 KiB. The length is unknown until
    /// [`with_length`](Self::with_length) states it.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::stream(ReaderStream::with_capacity(reader, READ_CHUNK))
    }

    /// The chunks of `stream`, each sent as it comes and freed when written. An `Err` item fails the call with
    /// [`ErrorKind::PayloadFailed`] and the object is discarded.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            source: Source::Stream(Box::pin(stream)),
            length: None,
        }
    }

    /// States the length, in bytes, so that the receiver can reserve it at once. A reader or stream of another length
    /// fails the call with [`ErrorKind::PayloadFailed`]. Without effect on bytes and files, which know their own.
    #[must_use]
    pub fn with_length(mut self, bytes: u64) -> Self {
        if matches!(self.source, Source::Stream(_)) {
            self.length = Some(bytes);
        }
        self
    }

    /// Length in bytes, where it is known: not for files before they are opened, nor for streams without a stated one.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        self.length
    }

    /// Whether the payload is known to have no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// Opens what must be opened and gives the body to send.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadFailed`] if the file cannot be opened, or if a stream said to be empty is not.
    /// The bytes, where all of them are in memory already.
    pub(crate) fn in_memory(&self) -> Option<Local> {
        match &self.source {
            Source::Bytes(bytes) => Some(Local::Bytes(bytes.clone())),
            Source::Sealed(file) => Some(Local::File(file.clone())),
            Source::File(_) | Source::Stream(_) => None,
        }
    }

    /// A buffer that was filled in place.
    pub(crate) fn sealed(file: Sealed) -> Self {
        Self {
            length: Some(file.size().get()),
            source: Source::Sealed(file),
        }
    }

    pub(crate) async fn into_body(self) -> Result<Outgoing> {
        match self.source {
            Source::Bytes(bytes) => Ok(Outgoing::whole(bytes)),
            Source::Sealed(file) => match file.map() {
                Ok(map) => Ok(Outgoing::whole(Bytes::from_owner(map))),
                Err(_) => Err(Error::new(ErrorKind::PayloadFailed, "the buffer cannot be read")),
            },
            // An HTTP client never asks a body of length zero for bytes, so this one is checked here.
            Source::Stream(chunks) if self.length == Some(0) => empty(chunks).await.map_err(|error| {
                Error::new(ErrorKind::PayloadFailed, "the payload was said to be empty").with_source(Some(error))
            }),
            Source::Stream(chunks) => Ok(Outgoing::stream(chunks, self.length)),
            Source::File(path) => open(path).await.map_err(|error| {
                Error::new(ErrorKind::PayloadFailed, "the payload's file cannot be opened").with_source(Some(error))
            }),
        }
    }
}

async fn empty(mut chunks: Chunks) -> io::Result<Outgoing> {
    while let Some(chunk) = chunks.next().await {
        if !chunk?.is_empty() {
            return Err(io::Error::other("the payload is longer than its stated length"));
        }
    }
    Ok(Outgoing::whole(Bytes::new()))
}

async fn open(path: PathBuf) -> io::Result<Outgoing> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let chunks = ReaderStream::with_capacity(file.take(length), READ_CHUNK);
    Ok(Outgoing::stream(chunks.boxed(), Some(length)))
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        Self {
            source: Source::Bytes(bytes),
            length,
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Payload {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Bytes::copy_from_slice(text.as_bytes()).into()
    }
}

impl From<crate::Object> for Payload {
    fn from(object: crate::Object) -> Self {
        object.into_bytes().into()
    }
}

/// Prints the length, never the bytes.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("len", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_know_their_length_and_streams_do_not() {
        assert_eq!(Payload::from("äb").len(), Some(3));
        assert_eq!(Payload::from(vec![1, 2]).len(), Some(2));
        assert_eq!(Payload::from(b"abc").len(), Some(3));
        assert!(Payload::empty().is_empty());
        assert_eq!(Payload::file("/nowhere").len(), None);
        assert_eq!(Payload::reader(&b"abc"[..]).len(), None);
        assert_eq!(Payload::reader(&b"abc"[..]).with_length(3).len(), Some(3));
        assert_eq!(Payload::from("abc").with_length(9).len(), Some(3));
    }

    #[test]
    fn debug_shows_no_bytes() {
        assert_eq!(format!("{:?}", Payload::from("secret")), "Payload { len: Some(6), .. }");
    }

    #[tokio::test]
    async fn a_stream_said_to_be_empty_must_be() {
        assert!(Payload::reader(&b""[..]).with_length(0).into_body().await.is_ok());
        let error = Payload::reader(&b"a"[..])
            .with_length(0)
            .into_body()
            .await
            .err()
            .expect("one byte too many");
        assert_eq!(error.kind(), ErrorKind::PayloadFailed);
    }

    #[tokio::test]
    async fn a_missing_file_is_the_payloads_failure() {
        let error = Payload::file("/nowhere/at/all")
            .into_body()
            .await
            .err()
            .expect("no such file");
        assert_eq!(error.kind(), ErrorKind::PayloadFailed);
        assert!(!error.to_string().contains("nowhere"));
    }
}
