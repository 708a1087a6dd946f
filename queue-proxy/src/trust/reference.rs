//! What is sealed inside a reference, in a fixed layout, so that all references of one key have one length.

use std::fmt;

use xdt_proto::{ByteCount, ObjectId, Reference, Retrievals};

use super::{
    InstanceId, NameTag,
    keyring::{Key, KeyId, KeyRing, Purpose},
};

/// Format version: first byte of the sealed text.
const VERSION: u8 = 1;
/// The size field of an object whose size is not known yet.
const UNKNOWN_SIZE: u64 = u64::MAX;
/// Room for the longest `[IPv6]:port`; host names may use it too.
const ADDRESS_ROOM: usize = 47;
/// version, instance, object, size, retrievals, tenant, node, address length, address.
const PLAIN_LEN: usize = 1 + 16 + ObjectId::LEN + 8 + 2 + 16 + 16 + 1 + ADDRESS_ROOM;

/// `host:port` of a producer's data port: 1 to 47 characters. Topology, so it is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetAddress(String);

impl TargetAddress {
    /// Checks form and length.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let good = !host.is_empty()
            && text.len() <= ADDRESS_ROOM
            && port.parse::<u16>().is_ok_and(|port| port != 0)
            && text.parse::<http::uri::Authority>().is_ok()
            && !text.contains('@');
        good.then(|| Self(text.to_owned()))
    }

    /// For dialling.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetAddress(…)")
    }
}

/// Where an object is and what its producer said of it when it made the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The producer's data port.
    pub address: TargetAddress,
    /// The run of the producer that holds it.
    pub instance: InstanceId,
    /// Its key there.
    pub object: ObjectId,
    /// Its size; `None` while it is being streamed in.
    pub size: Option<ByteCount>,
    /// How often it may be retrieved in all.
    pub retrievals: Retrievals,
    /// The trust domain it was made in.
    pub tenant: NameTag,
    /// The producer's node.
    pub node: NameTag,
}

pub(super) fn seal(ring: &KeyRing, target: &Target) -> Result<Reference, getrandom::Error> {
    let key = ring.primary();
    let sealed = key.seal(Purpose::Reference, key.id.as_str().as_bytes(), &encode(target))?;
    #[allow(clippy::expect_used)]
    Ok(Reference::from_sealed(&with_key_id(&key.id, &sealed))
        .expect("1 + 16 + 24 + 123 + 16 bytes are 180 at most, and 188 fit"))
}

pub(super) fn open(ring: &KeyRing, reference: &Reference) -> Option<(Target, KeyId)> {
    let bytes = reference.to_sealed();
    let (key, sealed, known) = split_key_id(ring, &bytes)?;
    // With an unknown key id the primary is tried in vain, so that both cases take the same time.
    let plain = key.open(Purpose::Reference, key.id.as_str().as_bytes(), sealed)?;
    known
        .then(|| decode(&plain))
        .flatten()
        .map(|target| (target, key.id.clone()))
}

/// Length-prefixed key id, then the sealed bytes: references and tickets alike.
pub(super) fn with_key_id(id: &KeyId, sealed: &[u8]) -> Vec<u8> {
    let name = id.as_str().as_bytes();
    #[allow(clippy::cast_possible_truncation)] // a key id has 16 characters at most
    let mut bytes = vec![name.len() as u8];
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(sealed);
    bytes
}

/// The key that `bytes` name, or the primary with `false`, and the sealed rest.
pub(super) fn split_key_id<'r, 'b>(ring: &'r KeyRing, bytes: &'b [u8]) -> Option<(&'r Key, &'b [u8], bool)> {
    let (&length, rest) = bytes.split_first()?;
    let (name, sealed) = rest.split_at_checked(usize::from(length))?;
    let id = std::str::from_utf8(name).ok().and_then(KeyId::parse)?;
    match ring.find(&id) {
        Some(key) => Some((key, sealed, true)),
        None => Some((ring.primary(), sealed, false)),
    }
}

fn encode(target: &Target) -> Vec<u8> {
    let mut plain = Vec::with_capacity(PLAIN_LEN);
    plain.push(VERSION);
    plain.extend_from_slice(&target.instance.0);
    plain.extend_from_slice(target.object.as_bytes());
    plain.extend_from_slice(&target.size.map_or(UNKNOWN_SIZE, ByteCount::get).to_be_bytes());
    plain.extend_from_slice(&target.retrievals.get().to_be_bytes());
    plain.extend_from_slice(&target.tenant.0);
    plain.extend_from_slice(&target.node.0);
    let address = target.address.as_str().as_bytes();
    #[allow(clippy::cast_possible_truncation)] // an address has 47 characters at most
    plain.push(address.len() as u8);
    plain.extend_from_slice(address);
    plain.resize(PLAIN_LEN, 0);
    plain
}

fn decode(plain: &[u8]) -> Option<Target> {
    let (version, rest) = plain.split_first_chunk::<1>()?;
    let (instance, rest) = rest.split_first_chunk::<16>()?;
    let (object, rest) = rest.split_first_chunk::<{ ObjectId::LEN }>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (retrievals, rest) = rest.split_first_chunk::<2>()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (node, rest) = rest.split_first_chunk::<16>()?;
    let (length, room) = rest.split_first_chunk::<1>()?;
    if version[0] != VERSION || room.len() != ADDRESS_ROOM {
        return None;
    }
    let address = std::str::from_utf8(room.get(..usize::from(length[0]))?).ok()?;
    let size = u64::from_be_bytes(*size);
    Some(Target {
        address: TargetAddress::parse(address)?,
        instance: InstanceId(*instance),
        object: ObjectId::from_bytes(*object),
        size: (size != UNKNOWN_SIZE).then_some(ByteCount::new(size)),
        retrievals: Retrievals::new(u16::from_be_bytes(*retrievals))?,
        tenant: NameTag(*tenant),
        node: NameTag(*node),
    })
}
