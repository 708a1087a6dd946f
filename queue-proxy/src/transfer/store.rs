//! Store-and-forward: a whole object in the consumer's memory before its first byte goes on (thesis 6.4.2.1).

use bytes::Bytes;
use tokio::time::Instant;
use xdt_proto::ByteCount;

use super::{
    Transfer,
    get::{Delivery, GetError},
    pool::{Permit, ReserveError},
};

/// Part of the inbound budget (`XDT_OBJECT_MEMORY`) that stored bytes need; returned when dropped.
#[derive(Default)]
pub struct InboundShare {
    permit: Option<Permit>,
}

impl InboundShare {
    /// Adds memory for more bytes.
    pub(super) fn add(&mut self, permit: Permit) {
        match &mut self.permit {
            Some(all) => all.absorb(permit),
            None => self.permit = Some(permit),
        }
    }
}

/// A whole object in memory, verified; its retrieval is confirmed when the last chunk is taken.
pub struct Stored {
    /// All chunks but the last.
    pub chunks: Vec<Bytes>,
    /// Hands out the last chunk.
    pub last: Delivery,
    /// Held as long as the chunks are.
    pub share: InboundShare,
}

impl Stored {
    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        let chunks = self.chunks.iter().map(Bytes::len);
        chunks.chain([self.last.last_len()]).map(|length| length as u64).sum()
    }
}

impl Transfer {
    /// Reads all of `delivery` into memory, and leaves the last chunk in it.
    ///
    /// # Errors
    /// [`GetError::NoBuffer`] or [`GetError::TooLarge`] if the inbound budget does not hold it; those of the delivery.
    pub async fn store(&self, mut delivery: Delivery) -> Result<Stored, GetError> {
        if delivery
            .length()
            .is_some_and(|length| length > self.inbound.limit().get())
        {
            return Err(GetError::TooLarge);
        }
        let (mut chunks, mut share) = (Vec::new(), InboundShare::default());
        let (mut stored, mut covered) = (0, delivery.covered());
        while let Some(chunk) = delivery.next_but_last().await? {
            stored += chunk.len() as u64;
            if stored > covered {
                share.add(self.reserve_inbound(stored - covered).await?);
                covered = stored;
            }
            chunks.push(chunk);
        }
        Ok(Stored {
            chunks,
            last: delivery,
            share,
        })
    }

    pub(super) async fn reserve_inbound(&self, bytes: u64) -> Result<Permit, GetError> {
        let deadline = Instant::now() + self.settings.buffer_wait;
        self.waiting(self.inbound.reserve(ByteCount::new(bytes), deadline))
            .await
            .map_err(|error| match error {
                ReserveError::TooLarge { .. } => GetError::TooLarge,
                ReserveError::Busy { .. } => GetError::NoBuffer,
            })
    }
}
