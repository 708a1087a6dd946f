//! Get for the pod's own function: a whole object, small ones as bytes, others as a memory file that can be passed on.
//!
//! Called by `door/socket`. An object of this instance or of this node that lies in a memory file already is passed as it
//! is, without a copy; any other is written into a fresh file as it arrives. Bound: the inbound budget (`XDT_OBJECT_MEMORY`) for all
//! files that are being written.

use std::sync::Arc;

use bytes::Bytes;
use xdt_proto::ByteCount;
use xdt_shm::{Sealed, Writer};

use super::{
    InboundShare, Transfer,
    description::Description,
    get::{Delivery, GetError},
    source::Span,
    tally::Path,
};

/// Up to this many bytes an object travels inside the message: a memory file pays only above that.
pub(super) const SMALL: u64 = 32 * 1024;

/// A whole object, verified.
pub struct Handover {
    /// What is known of it; `size` is always present.
    pub description: Description,
    /// The path its bytes took.
    pub path: Path,
    /// Its bytes.
    pub parcel: Parcel,
    /// What counts as a retrieval only once the client has it.
    delivery: Option<Delivery>,
    /// Held until the file is the client's.
    _share: Option<InboundShare>,
}

/// The bytes of a [`Handover`].
pub enum Parcel {
    /// In memory.
    Small(Bytes),
    /// In a file that nobody can change.
    File(Sealed),
}

impl Handover {
    /// The client has it: the retrieval counts, where it did not count when the last byte came.
    pub fn done(self) {
        if let Some(delivery) = self.delivery {
            delivery.handed_over();
        }
    }
}

impl Transfer {
    /// The whole object behind `reference`, if it has at most `most` bytes; uses up a retrieval.
    ///
    /// # Errors
    /// [`GetError`]; no retrieval is used up then.
    /// # Cancel safety
    /// Dropping the future gives the retrieval back.
    pub async fn get_whole(self: &Arc<Self>, reference: &str, most: u64) -> Result<Handover, GetError> {
        let handover = self.handover(reference, most).await?;
        let (path, copied_in_all) = (handover.path.as_str(), self.tally.copied());
        tracing::debug!(path, copied_in_all, "an object passes to the function");
        Ok(handover)
    }

    async fn handover(self: &Arc<Self>, reference: &str, most: u64) -> Result<Handover, GetError> {
        let delivery = self.get(reference, Span::default(), true).await?;
        if delivery.length().is_some_and(|length| length > most) {
            return Err(GetError::OverLimit);
        }
        let (description, path) = (delivery.description().clone(), delivery.path());
        if let Some(file) = delivery.file().filter(|file| file.size().get() > SMALL) {
            let parcel = Parcel::File(file.clone());
            return Ok(Handover {
                description,
                path,
                parcel,
                delivery: Some(delivery.received().await?),
                _share: None,
            });
        }
        let (parcel, share) = match delivery.length() {
            Some(length) if length <= SMALL => (Parcel::Small(self.small(delivery).await?), None),
            _ => {
                let (file, share) = self.written(delivery, most).await?;
                (Parcel::File(file), Some(share))
            }
        };
        let size = match &parcel {
            Parcel::Small(bytes) => ByteCount::from(bytes.len()),
            Parcel::File(file) => file.size(),
        };
        Ok(Handover {
            description: Description {
                size: Some(size),
                ..description
            },
            path,
            parcel,
            delivery: None,
            _share: share,
        })
    }

    /// Writes a delivery into a memory file as it arrives; its last chunk comes only after the whole was verified.
    async fn written(&self, mut delivery: Delivery, most: u64) -> Result<(Sealed, InboundShare), GetError> {
        let (mut covered, mut written) = (delivery.covered(), 0);
        let mut share = InboundShare::default();
        if let Some(length) = delivery.length().filter(|length| *length > covered) {
            share.add(self.reserve_inbound(length - covered).await?);
            covered = length;
        }
        let mut file = Writer::new().map_err(|_| GetError::NoBuffer)?;
        while let Some(chunk) = delivery.next().await? {
            written += chunk.len() as u64;
            if written > most {
                return Err(GetError::OverLimit);
            }
            if written > covered {
                share.add(self.reserve_inbound(written - covered).await?);
                covered = written;
            }
            self.tally.add_copied(chunk.len());
            file.write(&chunk).map_err(|_| GetError::NoBuffer)?;
        }
        Ok((file.seal().map_err(|_| GetError::NoBuffer)?, share))
    }

    async fn small(&self, mut delivery: Delivery) -> Result<Bytes, GetError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = delivery.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        self.tally.add_copied(bytes.len());
        Ok(bytes.into())
    }
}
