//! The only holder of keys: seals and opens references, pull tickets and the producer's answer to a ticket.
//!
//! Called by `transfer/`; knows nothing of connections or objects. Contract, section 6.

mod copy;
mod keyring;
pub mod reference;
mod replay;
pub mod ticket;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use xdt_proto::{ByteCount, ObjectId, Reference, Retrievals};

pub(crate) use copy::{CHUNK_OVERHEAD, CopyKey, CopyName, Part};
pub use keyring::{KeyId, KeyRing, KeyRingError, KeyRingFile};
pub use reference::{Target, TargetAddress};
use replay::ReplayGuard;
pub use ticket::{Ticket, TicketError, Verb};

/// Characters of a digest: enough to tell the objects of one incident apart.
const DIGEST_LEN: usize = 8;

/// Random name of one run of one queue-proxy: a producer that restarted on the same address is another instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub(crate) [u8; 16]);

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceId(…)")
    }
}

/// What a name (tenant, node) is sealed as: the first 16 bytes of its SHA-256, so that every reference has one length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameTag(pub(crate) [u8; 16]);

impl NameTag {
    /// The tag of `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = Sha256::digest(name.as_bytes());
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash[..16]);
        Self(tag)
    }
}

impl fmt::Debug for NameTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameTag(…)")
    }
}

/// Why a reference does not lead to an object of this tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Malformed, tampered with, or made under a key that the ring does not list; always the same text.
    #[error("the reference is not valid")]
    Invalid,
    /// Authentic, but made for another tenant.
    #[error("the reference belongs to another tenant")]
    WrongTenant,
}

/// A reference that this tenant's ring opened, with the key that sealed it.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Where the object is and what is known of it.
    pub target: Target,
    key: KeyId,
}

impl Opened {
    /// What logs and traces show of the object: the first characters of its entity tag.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(self.target.instance, self.target.object)
    }

    /// A strong entity tag: it stands for this object (equal objects differ) and tells nothing about it.
    #[must_use]
    pub fn entity_tag(&self) -> String {
        format!("\"{}\"", tag(self.target.instance, self.target.object))
    }
}

fn tag(instance: InstanceId, object: ObjectId) -> String {
    let hash = Sha256::new()
        .chain_update(b"xdt entity tag v1")
        .chain_update(instance.0)
        .chain_update(object.as_bytes())
        .finalize();
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

fn digest(instance: InstanceId, object: ObjectId) -> String {
    let mut tag = tag(instance, object);
    tag.truncate(DIGEST_LEN);
    tag
}

/// Who this queue-proxy is, to itself and inside the references that it makes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This run.
    pub instance: InstanceId,
    /// Trust domain.
    pub tenant: NameTag,
    /// Which instances share a node.
    pub node: NameTag,
    /// Where peers reach the data port.
    pub address: TargetAddress,
}

impl Identity {
    /// A fresh identity with a random instance id.
    ///
    /// # Errors
    /// Fails when the system's random source does.
    pub fn new(tenant: &str, node: &str, address: TargetAddress) -> Result<Self, getrandom::Error> {
        Ok(Self {
            instance: InstanceId(random()?),
            tenant: NameTag::of(tenant),
            node: NameTag::of(node),
            address,
        })
    }
}

/// Seals and opens for one identity, under a key ring that may be replaced while running.
pub struct Trust {
    identity: Identity,
    ring: Arc<ArcSwap<KeyRing>>,
    seen: ReplayGuard,
}

impl Trust {
    /// Trusts `ring` and nothing else.
    #[must_use]
    pub fn new(identity: Identity, ring: Arc<ArcSwap<KeyRing>>) -> Self {
        Self {
            identity,
            ring,
            seen: ReplayGuard::default(),
        }
    }

    /// Who this queue-proxy is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// [`Opened::digest`] of an object of this instance.
    #[must_use]
    pub fn own_digest(&self, object: ObjectId) -> String {
        digest(self.identity.instance, object)
    }

    /// Makes a reference to an object of this instance under the primary key.
    ///
    /// # Errors
    /// Fails when the system's random source does.
    pub fn refer(
        &self,
        object: ObjectId,
        size: Option<ByteCount>,
        retrievals: Retrievals,
    ) -> Result<Reference, getrandom::Error> {
        let target = Target {
            address: self.identity.address.clone(),
            instance: self.identity.instance,
            object,
            size,
            retrievals,
            tenant: self.identity.tenant,
            node: self.identity.node,
        };
        reference::seal(&self.ring.load(), &target)
    }

    /// Opens a reference that came from outside.
    ///
    /// # Errors
    /// [`OpenError`]; its text never depends on what exactly was wrong.
    pub fn open(&self, text: &str) -> Result<Opened, OpenError> {
        let reference: Reference = text.parse().map_err(|_| OpenError::Invalid)?;
        let (target, key) = reference::open(&self.ring.load(), &reference).ok_or(OpenError::Invalid)?;
        if target.tenant != self.identity.tenant {
            return Err(OpenError::WrongTenant);
        }
        Ok(Opened { target, key })
    }

    /// Makes a fresh ticket for one call of `verb` on the object behind `opened`, sealed under the reference's own key,
    /// which the producer is known to have.
    ///
    /// # Errors
    /// [`TicketError::Invalid`] if that key has left the ring in between; [`TicketError::NoRandomness`].
    pub fn issue(&self, opened: &Opened, verb: Verb) -> Result<IssuedTicket, TicketError> {
        let ring = self.ring.load();
        let key = ring.find(&opened.key).ok_or(TicketError::Invalid)?;
        let ticket = Ticket::new(&opened.target, verb)?;
        let sealed = ticket::seal(key, &ticket)?;
        Ok(IssuedTicket {
            sealed,
            id: ticket.id,
            key: opened.key.clone(),
        })
    }

    /// Checks a ticket that a peer presented for `verb` and uses it up.
    ///
    /// # Errors
    /// [`TicketError`]: all of them mean UNAUTHENTICATED to the caller.
    pub fn admit(&self, sealed: &[u8], verb: Verb) -> Result<AdmittedTicket, TicketError> {
        let ring = self.ring.load();
        let (ticket, key) = ticket::open(&ring, sealed).ok_or(TicketError::Invalid)?;
        if ticket.verb != verb || ticket.tenant != self.identity.tenant {
            return Err(TicketError::Invalid);
        }
        self.seen.admit(&ticket)?;
        let own = ticket.instance == self.identity.instance;
        Ok(AdmittedTicket {
            object: own.then_some(ticket.object),
            id: ticket.id,
            key,
        })
    }

    /// Proof that this queue-proxy holds the ring, over the ticket and the answer to it.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn prove(&self, ticket: &AdmittedTicket, answer: &[u8]) -> Result<Vec<u8>, TicketError> {
        let ring = self.ring.load();
        let key = ring.find(&ticket.key).ok_or(TicketError::Invalid)?;
        ticket::prove(key, &ticket.id, answer)
    }

    /// Whether `proof` was made by a holder of the ring for this ticket and this answer.
    #[must_use]
    pub fn verify(&self, ticket: &IssuedTicket, answer: &[u8], proof: &[u8]) -> bool {
        let ring = self.ring.load();
        ring.find(&ticket.key)
            .is_some_and(|key| ticket::verify(key, &ticket.id, answer, proof))
    }
}

/// A ticket on its way to a producer.
#[derive(Clone)]
pub struct IssuedTicket {
    /// What travels.
    pub sealed: Vec<u8>,
    id: ticket::TicketId,
    key: KeyId,
}

/// A ticket that was accepted, once.
pub struct AdmittedTicket {
    /// The object it was issued for; `None` if it was held by an earlier instance at this address.
    pub object: Option<ObjectId>,
    id: ticket::TicketId,
    key: KeyId,
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A random object id.
pub(crate) fn new_object_id() -> Result<ObjectId, getrandom::Error> {
    random().map(ObjectId::from_bytes)
}

#[cfg(test)]
mod tests;
