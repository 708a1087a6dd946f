//! Put of a memory file that the pod's own function filled: mapped as it is, or copied where its sender could still
//! change it. Called by `door/socket`; nothing about the descriptor is trusted (contract, section 7).

use std::sync::Arc;

use bytes::Bytes;
use xdt_proto::ByteCount;
use xdt_shm::{Received, ShmError};

use super::{
    Transfer,
    description::Description,
    held::{Held, HeldWriter},
    pool::{BLOCK, Permit, Pool},
    put::{Put, PutError, PutTerms, charge},
};

/// Up to this many bytes, mapping and summing up takes less time than waking another thread.
pub(super) const AT_ONCE: u64 = 256 * 1024;

impl Transfer {
    /// Holds the object that lies in `file`, and makes a reference to it.
    ///
    /// # Errors
    /// [`PutError`]; nothing is kept then.
    /// # Cancel safety
    /// Dropping the future gives all memory back.
    pub async fn put_file(self: &Arc<Self>, file: Received, terms: PutTerms) -> Result<Put, PutError> {
        if self.is_draining() {
            return Err(PutError::Draining);
        }
        self.putting(self.adopt(file, terms)).await
    }

    async fn adopt(self: &Arc<Self>, file: Received, terms: PutTerms) -> Result<Put, PutError> {
        let size = file.size();
        let limit = self.settings.max_object_size.min(self.held.limit());
        if size > limit {
            return Err(PutError::TooLarge { limit });
        }
        let charge = charge(&terms.description);
        let granted = self.reserve(size.max(charge)).await?;
        let (transfer, description) = (self.clone(), terms.description);
        let adopt = move || transfer.adopted(file, granted, description, charge);
        let held = if size.get() <= AT_ONCE {
            adopt()
        } else {
            // Ends early only when the runtime shuts down.
            tokio::task::spawn_blocking(adopt)
                .await
                .map_err(|_| PutError::Draining)?
        };
        self.keep(held.map_err(PutError::UnreadableFile)?, terms.retrievals, terms.ttl)
    }

    fn adopted(
        &self,
        file: Received,
        granted: Permit,
        description: Description,
        charge: ByteCount,
    ) -> Result<Held, ShmError> {
        match file.seal() {
            Ok(sealed) => {
                let map = sealed.map()?;
                Ok(Held::in_file(sealed, map, granted, description))
            }
            Err((changeable, why)) => {
                tracing::debug!(%why, "a memory file is copied, not mapped");
                self.tally.add_copied(changeable.size().as_usize());
                let writer = self.writer(granted, Some(changeable.size()));
                copied(writer, &self.held, &changeable, description, charge)
            }
        }
    }
}

fn copied(
    mut writer: HeldWriter,
    pool: &Pool,
    file: &Received,
    description: Description,
    charge: ByteCount,
) -> Result<Held, ShmError> {
    let mut block = vec![0; BLOCK];
    while writer.size() < file.size().get() {
        let count = file.copy_into(writer.size(), &mut block)?;
        if count == 0 {
            return Err(ShmError::Short);
        }
        let mut bytes = Bytes::copy_from_slice(block.get(..count).unwrap_or_default());
        writer.write(pool, &mut bytes)?;
    }
    writer.finish(description, charge)
}
