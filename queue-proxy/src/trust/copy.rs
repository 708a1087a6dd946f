//! Seals spilled copies of objects: their names, and every part of them, bound to its copy and its place in it.
//!
//! A copy outlives its producer, so it is sealed with the ring, under a purpose of its own. Each part is one
//! XAES-256-GCM message with a random nonce; its associated data names copy, part and place, and a chunk's says
//! whether it is the last, so that parts cannot be exchanged, dropped, repeated or cut off unnoticed.

use sha2::{Digest as _, Sha256};
use xdt_proto::ObjectId;

use super::{
    Opened, Trust,
    keyring::{Key, Purpose},
    reference::{split_key_id, with_key_id},
};

/// Bytes that sealing adds to a chunk: nonce and tag.
pub(crate) const CHUNK_OVERHEAD: u64 = 24 + 16;

/// What a copy is called in the store: a hash of what only the sealed reference tells, so it tells nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyName([u8; 32]);

impl CopyName {
    /// 64 hexadecimal digits.
    pub(crate) fn text(&self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing into a String does not fail.
            let _written = write!(text, "{byte:02x}");
            text
        })
    }

    fn aad(&self, part: Part) -> Vec<u8> {
        let (kind, index, last) = match part {
            Part::Head => (1_u8, 0, false),
            Part::State(serial) => (2, serial, false),
            Part::Chunk { index, last } => (3, index, last),
        };
        let mut aad = self.0.to_vec();
        aad.push(kind);
        aad.extend_from_slice(&index.to_be_bytes());
        aad.push(u8::from(last));
        aad
    }
}

/// One part of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is known of the object.
    Head,
    /// The state of its retrievals, by serial number.
    State(u64),
    /// A piece of its bytes.
    Chunk {
        /// Its place, from 0.
        index: u64,
        /// Nothing follows it.
        last: bool,
    },
}

/// The key that one copy's chunks are sealed with.
#[derive(Clone)]
pub(crate) struct CopyKey(Key);

impl CopyKey {
    /// Head or state: the key's name goes before it.
    pub(crate) fn seal_record(&self, name: &CopyName, part: Part, plain: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        Ok(with_key_id(
            &self.0.id,
            &self.0.seal(Purpose::Copy, &name.aad(part), plain)?,
        ))
    }

    /// A chunk, without the key's name: its length is that of the plain one and [`CHUNK_OVERHEAD`].
    pub(crate) fn seal_chunk(&self, name: &CopyName, part: Part, plain: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        self.0.seal(Purpose::Copy, &name.aad(part), plain)
    }

    /// The plain chunk, if it is what it should be.
    pub(crate) fn open_chunk(&self, name: &CopyName, part: Part, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.open(Purpose::Copy, &name.aad(part), sealed)
    }
}

impl Trust {
    /// The name of a copy of the object behind `opened`.
    pub(crate) fn copy_name(&self, opened: &Opened) -> CopyName {
        name(&opened.target.instance.0, opened.target.object, &opened.target.tenant.0)
    }

    /// The name of a copy of an object of this instance.
    pub(crate) fn own_copy_name(&self, object: ObjectId) -> CopyName {
        name(&self.identity.instance.0, object, &self.identity.tenant.0)
    }

    /// What new copies are sealed with: the primary key.
    pub(crate) fn copy_key(&self) -> CopyKey {
        CopyKey(self.ring.load().primary().clone())
    }

    /// A record that any key of the ring sealed, and that key.
    pub(crate) fn open_record(&self, name: &CopyName, part: Part, sealed: &[u8]) -> Option<(Vec<u8>, CopyKey)> {
        let ring = self.ring.load();
        let (key, sealed, known) = split_key_id(&ring, sealed)?;
        let plain = key.open(Purpose::Copy, &name.aad(part), sealed)?;
        known.then(|| (plain, CopyKey(key.clone())))
    }
}

fn name(instance: &[u8; 16], object: ObjectId, tenant: &[u8; 16]) -> CopyName {
    let hash = Sha256::new()
        .chain_update(b"xdt spilled copy v1")
        .chain_update(instance)
        .chain_update(object.as_bytes())
        .chain_update(tenant);
    CopyName(hash.finalize().into())
}
