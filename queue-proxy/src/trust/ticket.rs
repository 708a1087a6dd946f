//! Pull tickets: a fresh proof that a call comes from a queue-proxy of the same tenant, bound to one object and one verb.

use std::time::{SystemTime, UNIX_EPOCH};

use xdt_proto::ObjectId;

use super::{
    InstanceId, NameTag,
    keyring::{Key, KeyId, KeyRing, Purpose},
    random,
    reference::{Target, split_key_id, with_key_id},
};

/// How long a ticket is accepted after it was issued, in seconds (contract, section 6).
pub(super) const VALID_SECONDS: u64 = 60;
/// How far two nodes' clocks may differ, in seconds: a ticket from further in the future is refused.
pub(super) const CLOCK_SKEW_SECONDS: u64 = 30;
/// Format version: first byte of the sealed text.
const VERSION: u8 = 1;

/// Random name of one ticket.
pub(super) type TicketId = [u8; 16];

/// What a ticket allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `Transfer/Pull`.
    Pull,
    /// `Transfer/Stat`.
    Stat,
    /// `Transfer/Delete`.
    Delete,
}

impl Verb {
    const fn code(self) -> u8 {
        match self {
            Self::Pull => 1,
            Self::Stat => 2,
            Self::Delete => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Pull, Self::Stat, Self::Delete]
            .into_iter()
            .find(|verb| verb.code() == code)
    }
}

/// Why a ticket is refused. The caller learns UNAUTHENTICATED, whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Malformed, tampered with, of another ring, verb or tenant.
    #[error("the ticket is not valid")]
    Invalid,
    /// Older than a minute, or from the future.
    #[error("the ticket is not of this minute")]
    Stale,
    /// Used before.
    #[error("the ticket was used before")]
    Replayed,
    /// More tickets in this minute than the replay guard remembers.
    #[error("too many tickets in this minute")]
    Flooded,
    /// No random bytes for a new one.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl From<getrandom::Error> for TicketError {
    fn from(_: getrandom::Error) -> Self {
        Self::NoRandomness
    }
}

/// An opened ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(super) id: TicketId,
    pub(super) issued: u64,
    pub(super) verb: Verb,
    pub(super) instance: InstanceId,
    pub(super) object: ObjectId,
    pub(super) tenant: NameTag,
}

impl Ticket {
    pub(super) fn new(target: &Target, verb: Verb) -> Result<Self, TicketError> {
        Ok(Self {
            id: random()?,
            issued: unix_seconds(),
            verb,
            instance: target.instance,
            object: target.object,
            tenant: target.tenant,
        })
    }
}

/// Seconds since 1970: tickets cross machines, so they carry wall-clock time.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(super) fn seal(key: &Key, ticket: &Ticket) -> Result<Vec<u8>, TicketError> {
    let mut plain = vec![VERSION, ticket.verb.code()];
    plain.extend_from_slice(&ticket.id);
    plain.extend_from_slice(&ticket.issued.to_be_bytes());
    plain.extend_from_slice(&ticket.instance.0);
    plain.extend_from_slice(ticket.object.as_bytes());
    plain.extend_from_slice(&ticket.tenant.0);
    let sealed = key.seal(Purpose::Ticket, key.id.as_str().as_bytes(), &plain)?;
    Ok(with_key_id(&key.id, &sealed))
}

pub(super) fn open(ring: &KeyRing, bytes: &[u8]) -> Option<(Ticket, KeyId)> {
    let (key, sealed, known) = split_key_id(ring, bytes)?;
    let plain = key.open(Purpose::Ticket, key.id.as_str().as_bytes(), sealed)?;
    known
        .then(|| decode(&plain))
        .flatten()
        .map(|ticket| (ticket, key.id.clone()))
}

fn decode(plain: &[u8]) -> Option<Ticket> {
    let (head, rest) = plain.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (issued, rest) = rest.split_first_chunk::<8>()?;
    let (instance, rest) = rest.split_first_chunk::<16>()?;
    let (object, rest) = rest.split_first_chunk::<{ ObjectId::LEN }>()?;
    let tenant: &[u8; 16] = rest.try_into().ok()?;
    if head[0] != VERSION {
        return None;
    }
    Some(Ticket {
        id: *id,
        issued: u64::from_be_bytes(*issued),
        verb: Verb::from_code(head[1])?,
        instance: InstanceId(*instance),
        object: ObjectId::from_bytes(*object),
        tenant: NameTag(*tenant),
    })
}

/// The producer's proof: nothing sealed, ticket and answer authenticated.
pub(super) fn prove(key: &Key, id: &TicketId, answer: &[u8]) -> Result<Vec<u8>, TicketError> {
    Ok(key.seal(Purpose::Answer, &[id, answer].concat(), b"")?)
}

pub(super) fn verify(key: &Key, id: &TicketId, answer: &[u8], proof: &[u8]) -> bool {
    key.open(Purpose::Answer, &[id, answer].concat(), proof).is_some()
}
