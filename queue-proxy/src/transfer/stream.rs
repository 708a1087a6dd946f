//! An object that passes through: the producer writes into a ring while one consumer reads from it.
//!
//! Invoke bodies and large answers take this way (thesis 6.4.2.1, cut-through). Memory is one ring of
//! `XDT_INVOKE_BUFFER_SIZE` bytes per transfer, taken from a pool of `XDT_INVOKE_BUFFERS`; chunks are freed as they are
//! dispatched, and a full ring stops the writer, which stops the producer's request.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use xdt_proto::ByteCount;

use super::description::Description;

/// What each chunk costs in the ring beside its bytes, so that crumbs cannot pile up bookkeeping.
const CHUNK_OVERHEAD: usize = 256;

/// One chunk in the ring; its share of the ring returns when it is dispatched.
struct Chunk {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

enum Item {
    Chunk(Chunk),
    /// All has been written. A channel that closes without it means that the producer gave up.
    End,
}

/// The reading half's place in the table.
pub struct Streamed {
    /// What is known of the object.
    pub description: Description,
    reader: Mutex<Option<StreamReader>>,
}

impl Streamed {
    /// Takes the reader out, for the one claim that there can be.
    pub(super) fn take_reader(&self) -> Option<StreamReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts an untouched reader back, when its claim is given back.
    pub(super) fn return_reader(&self, reader: StreamReader) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }
}

/// Reads chunks in order.
pub(super) struct StreamReader {
    items: mpsc::Receiver<Item>,
    dispatched: bool,
    /// The pool's buffer is free again when neither half needs it.
    _buffer: Arc<OwnedSemaphorePermit>,
}

/// The producer stopped before the end of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the producer stopped before the end of its object")]
pub struct StreamBroken;

impl StreamReader {
    /// The next chunk; `None` after the last.
    ///
    /// # Errors
    /// [`StreamBroken`] if the writer was dropped before it finished.
    /// # Cancel safety
    /// Dropping the future loses no chunk.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StreamBroken> {
        match self.items.recv().await {
            Some(Item::Chunk(chunk)) => {
                self.dispatched = true;
                Ok(Some(chunk.bytes))
            }
            Some(Item::End) => Ok(None),
            None => Err(StreamBroken),
        }
    }

    /// The next chunk, if it is there already.
    pub(super) fn next_ready(&mut self) -> Option<Bytes> {
        // The end must stay for `next`, so it is only looked at.
        if self.items.len() < 2 {
            return None;
        }
        match self.items.try_recv() {
            Ok(Item::Chunk(chunk)) => Some(chunk.bytes),
            Ok(Item::End) | Err(_) => None,
        }
    }

    /// Whether a chunk has left the ring: then the object cannot be read from its start again.
    pub(super) fn dispatched(&self) -> bool {
        self.dispatched
    }
}

/// The reader is gone: the object was deleted, expired, or its consumer vanished after the first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the object any more")]
pub struct ReaderGone;

/// Writes chunks; dropping it before [`Self::finish`] breaks the object.
pub struct StreamWriter {
    items: mpsc::Sender<Item>,
    ring: Arc<Semaphore>,
    chunk_size: usize,
    _buffer: Arc<OwnedSemaphorePermit>,
}

impl StreamWriter {
    /// Writes all of `bytes`, waiting while the ring is full.
    ///
    /// # Errors
    /// [`ReaderGone`].
    /// # Cancel safety
    /// Not cancel-safe: part of `bytes` may have been written.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ReaderGone> {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(self.chunk_size));
            let cost = u32::try_from(part.len() + CHUNK_OVERHEAD).unwrap_or(u32::MAX);
            let share = tokio::select! {
                share = self.ring.clone().acquire_many_owned(cost) => share.map_err(|_| ReaderGone)?,
                () = self.items.closed() => return Err(ReaderGone),
            };
            self.items
                .send(Item::Chunk(Chunk {
                    bytes: part,
                    _share: share,
                }))
                .await
                .map_err(|_| ReaderGone)?;
        }
        Ok(())
    }

    /// Marks the end. The object is complete.
    ///
    /// # Errors
    /// [`ReaderGone`].
    pub async fn finish(self) -> Result<(), ReaderGone> {
        self.items.send(Item::End).await.map_err(|_| ReaderGone)
    }

    /// Resolves when nobody can read any more.
    pub async fn reader_gone(&self) {
        self.items.closed().await;
    }
}

/// Makes both halves. `buffer` is one permit of the invoke pool.
pub(super) fn stream(
    description: Description,
    ring: ByteCount,
    chunk: ByteCount,
    buffer: OwnedSemaphorePermit,
) -> (Streamed, StreamWriter) {
    let ring_size = ring.as_usize().clamp(2 * CHUNK_OVERHEAD, u32::MAX as usize >> 1);
    // Every item in the channel but the end holds at least CHUNK_OVERHEAD of the ring.
    let slots = ring_size / CHUNK_OVERHEAD + 1;
    let (items, reader) = mpsc::channel(slots);
    let buffer = Arc::new(buffer);
    let reader = StreamReader {
        items: reader,
        dispatched: false,
        _buffer: buffer.clone(),
    };
    let writer = StreamWriter {
        items,
        ring: Arc::new(Semaphore::new(ring_size)),
        chunk_size: chunk.as_usize().min(ring_size - CHUNK_OVERHEAD).max(1),
        _buffer: buffer,
    };
    (
        Streamed {
            description,
            reader: Mutex::new(Some(reader)),
        },
        writer,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(ring: u64) -> (StreamReader, StreamWriter, Arc<Semaphore>) {
        let buffers = Arc::new(Semaphore::new(1));
        let permit = buffers.clone().acquire_owned().await.expect("open");
        let (streamed, writer) = stream(Description::default(), ByteCount::kib(ring), ByteCount::kib(1), permit);
        (streamed.take_reader().expect("first"), writer, buffers)
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_the_buffer_returns() {
        let (mut reader, mut writer, buffers) = pair(64).await;
        writer.write(Bytes::from(vec![1; 5000])).await.expect("reader lives");
        writer.finish().await.expect("reader lives");
        let mut total = 0;
        while let Some(chunk) = reader.next().await.expect("finished") {
            assert!(chunk.len() <= 1024);
            total += chunk.len();
        }
        assert_eq!((total, buffers.available_permits()), (5000, 0));
        drop(reader);
        assert_eq!(buffers.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_full_ring_stops_the_writer() {
        let (mut reader, mut writer, _buffers) = pair(4).await;
        let writing = tokio::spawn(async move {
            writer.write(Bytes::from(vec![1; 100_000])).await.expect("reader lives");
            writer.finish().await
        });
        // Three chunks of 1 KiB and their overhead fit 4 KiB; the writer then waits for the reader.
        while reader.items.len() < 3 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(reader.items.len(), 3);
        let mut total = 0;
        while let Some(chunk) = reader.next().await.expect("finished") {
            total += chunk.len();
        }
        writing.await.expect("no panic").expect("reader lives");
        assert_eq!(total, 100_000);
    }

    #[tokio::test]
    async fn a_dropped_writer_is_never_a_clean_end() {
        let (mut reader, mut writer, _buffers) = pair(64).await;
        writer.write(Bytes::from_static(b"half")).await.expect("reader lives");
        drop(writer);
        assert_eq!(reader.next().await, Ok(Some(Bytes::from_static(b"half"))));
        assert_eq!(reader.next().await, Err(StreamBroken));
    }

    #[tokio::test]
    async fn a_dropped_reader_stops_the_writer() {
        let (reader, mut writer, _buffers) = pair(4).await;
        let writing = tokio::spawn(async move { writer.write(Bytes::from(vec![1; 100_000])).await });
        drop(reader);
        assert_eq!(writing.await.expect("no panic"), Err(ReaderGone));
    }
}
