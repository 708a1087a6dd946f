//! The parts of a spilled copy that are no payload, as they are sealed.

use prost::Message as _;
use xdt_objects::{Copy, Lease};
use xdt_proto::v1;

use crate::transfer::description::Description;

/// What is known of the object.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) description: Description,
    /// Bytes.
    pub(super) size: u64,
    /// Seconds since 1970 after which nobody may retrieve it.
    pub(super) expires: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeadRecord {
    #[prost(message, optional, tag = "1")]
    description: Option<v1::Description>,
    #[prost(uint64, optional, tag = "2")]
    expires: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StateRecord {
    #[prost(uint32, tag = "1")]
    left: u32,
    #[prost(bool, tag = "2")]
    deleted: bool,
    #[prost(message, repeated, tag = "3")]
    leases: Vec<LeaseRecord>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    confirmed: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseRecord {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    until: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let record = HeadRecord {
            description: Some(self.description.to_wire()),
            expires: self.expires,
        };
        record.encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = HeadRecord::decode(bytes).ok()?;
        let description = Description::from_wire(&record.description?)?;
        Some(Self {
            size: description.size?.get(),
            description,
            expires: record.expires,
        })
    }
}

pub(super) fn encode_state(copy: &Copy) -> Vec<u8> {
    let record = StateRecord {
        left: copy.left().into(),
        deleted: copy.is_deleted(),
        leases: copy
            .leases()
            .iter()
            .map(|lease| LeaseRecord {
                id: lease.id.to_vec(),
                until: lease.until,
            })
            .collect(),
        confirmed: copy.confirmed().iter().map(|id| id.to_vec()).collect(),
    };
    record.encode_to_vec()
}

pub(super) fn decode_state(bytes: &[u8]) -> Option<Copy> {
    let record = StateRecord::decode(bytes).ok()?;
    let leases = record.leases.into_iter().map(|lease| {
        Some(Lease {
            id: lease.id.try_into().ok()?,
            until: lease.until,
        })
    });
    let confirmed = record.confirmed.into_iter().map(|id| id.try_into().ok());
    Copy::restored(
        record.left.try_into().ok()?,
        record.deleted,
        leases.collect::<Option<Vec<_>>>()?,
        confirmed.collect::<Option<Vec<_>>>()?,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut copy = Copy::new(3);
        for id in [1, 2] {
            copy.claim(Lease { id: [id; 16], until: 5 }, 0).expect("free");
        }
        assert!(copy.confirm([1; 16]));
        assert_eq!(decode_state(&encode_state(&copy)), Some(copy));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _state = decode_state(&bytes);
            let _head = Head::decode(&bytes);
        }
    }
}
