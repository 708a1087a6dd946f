//! Loopback addresses and ports: one address per instance, one port per function process.
//!
//! A cluster claims its whole block by listening on the block's first address, so two clusters never mix. Addresses go
//! upward and are not used again until the block is through, as with pods. Nothing here outlives the cluster.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use crate::error::{InstanceFault, StartError};
use crate::spec::AddressBase;
use crate::sync::locked;

/// Requests, HTTP/1.1 and h2c.
pub(crate) const SERVING_PORT: u16 = 8012;
/// Requests over TLS; open only with a certificate, which this stand-in does not mount.
pub(crate) const SERVING_TLS_PORT: u16 = 8112;
/// Queue-proxy to queue-proxy.
const DATA_PORT: u16 = 8014;
/// The local HTTP API for the function.
pub(crate) const LOCAL_PORT: u16 = 8015;
/// The egress proxy for the function.
pub(crate) const EGRESS_PORT: u16 = 8016;
/// Drain.
pub(crate) const ADMIN_PORT: u16 = 8022;
/// Autoscaler stats.
pub(crate) const STATS_PORT: u16 = 9090;

/// What a sidecar binds on its address, and what therefore must be free.
const SIDECAR_PORTS: [u16; 6] = [SERVING_PORT, DATA_PORT, LOCAL_PORT, EGRESS_PORT, ADMIN_PORT, STATS_PORT];

/// Addresses of a block that are tried before it counts as free.
const FIRST_ADDRESSES: u32 = 8;
/// Addresses in a block: the low 16 bits, without the first (the claim) and the last.
const BLOCK_LEN: u32 = 0xFFFE;
/// The blocks that `any` tries: 127.77.0.0 to 127.126.0.0.
const BLOCKS: std::ops::RangeInclusive<u8> = 77..=126;

/// Ports for function processes: below the range from which Linux takes ports for outgoing connections.
const USER_PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Each of the 50 blocks begins at its own 240 of the 12,000 ports.
const PORTS_PER_BLOCK: u16 = 240;

/// A cluster's block of addresses.
#[derive(Debug)]
pub(crate) struct AddressBlock {
    base: Ipv4Addr,
    /// Held, never accepted from: tells other clusters that the block is taken.
    _claim: TcpListener,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u32,
    numbers: HashSet<u32>,
    ports: HashSet<u16>,
    last_port: u16,
}

/// Where one instance lives; given back when dropped.
#[derive(Debug)]
pub(crate) struct Home {
    block: Arc<AddressBlock>,
    pub(crate) number: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) user_port: u16,
}

impl AddressBlock {
    /// Claims the block at `base`, or the first free one.
    pub(crate) fn claim(asked: AddressBase) -> Result<Arc<Self>, StartError> {
        let bases = match asked {
            AddressBase::At(base) => vec![base],
            AddressBase::Any => BLOCKS.map(|second| Ipv4Addr::new(127, second, 0, 0)).collect(),
        };
        let mut refused = StartError::AddressBase {
            base: Ipv4Addr::LOCALHOST,
            source: io::ErrorKind::AddrInUse.into(),
        };
        for base in bases {
            // Sidecars that a killed cluster left behind keep their addresses, though nobody claims the block any more.
            let claimed = match asked {
                AddressBase::Any => left_behind(base).map_or(Ok(()), Err),
                AddressBase::At(_) => Ok(()),
            };
            match claimed.and_then(|()| TcpListener::bind((base, SERVING_PORT))) {
                Ok(claim) => {
                    return Ok(Arc::new(Self {
                        base,
                        _claim: claim,
                        taken: Mutex::default(),
                    }));
                }
                Err(source) => refused = StartError::AddressBase { base, source },
            }
        }
        Err(refused)
    }

    /// The next address and a free port for the instance that `pod` will name after its number.
    pub(crate) fn next_home(self: &Arc<Self>, pod: impl Fn(u32) -> String) -> Result<Home, InstanceFault> {
        let mut taken = locked(&self.taken);
        let number = next_number(&taken);
        taken.last = number;
        let address = Ipv4Addr::from(u32::from(self.base) + number);
        for port in SIDECAR_PORTS {
            let address = SocketAddr::from((address, port));
            TcpListener::bind(address).map_err(|source| InstanceFault::PortTaken {
                pod: pod(number),
                address,
                source,
            })?;
        }
        let user_port = free_user_port(self.base, &taken).ok_or_else(|| InstanceFault::NoUserPort {
            pod: pod(number),
            first: USER_PORTS.start,
            last: USER_PORTS.end - 1,
        })?;
        taken.numbers.insert(number);
        taken.ports.insert(user_port);
        taken.last_port = user_port;
        Ok(Home {
            block: Arc::clone(self),
            number,
            address,
            user_port,
        })
    }
}

/// Why one of a block's first addresses cannot be used, if so.
fn left_behind(base: Ipv4Addr) -> Option<io::Error> {
    let firsts = (1..=FIRST_ADDRESSES).map(|number| Ipv4Addr::from(u32::from(base) + number));
    firsts
        .filter_map(|address| TcpListener::bind((address, SERVING_PORT)).err())
        .next()
}

/// The next number upward from the last that nobody has. Ends, as there are far fewer instances than numbers.
fn next_number(taken: &Taken) -> u32 {
    let mut number = taken.last;
    loop {
        number = number % BLOCK_LEN + 1;
        if !taken.numbers.contains(&number) {
            return number;
        }
    }
}

/// A port that is free on all addresses, as the function may listen on any of them. Each block begins elsewhere, so that
/// clusters that start at the same time do not pick the same one.
fn free_user_port(base: Ipv4Addr, taken: &Taken) -> Option<u16> {
    let count = USER_PORTS.end - USER_PORTS.start;
    let begin = match taken.last_port {
        0 => u16::from(base.octets()[1].wrapping_sub(*BLOCKS.start())) * PORTS_PER_BLOCK,
        last => last - USER_PORTS.start + 1,
    };
    let mut ports = (0..count).map(|step| USER_PORTS.start + (begin % count + step) % count);
    ports.find(|port| !taken.ports.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut taken = locked(&self.block.taken);
        taken.numbers.remove(&self.number);
        taken.ports.remove(&self.user_port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> String {
        format!("pod-{number}")
    }

    #[test]
    fn homes_go_upward_and_differ() {
        let block = AddressBlock::claim(AddressBase::Any).unwrap();
        let first = block.next_home(name).unwrap();
        assert_eq!(u32::from(first.address), u32::from(block.base) + 1);
        let first_port = first.user_port;
        drop(first);
        let (second, third) = (block.next_home(name).unwrap(), block.next_home(name).unwrap());
        assert_eq!((second.number, third.number), (2, 3));
        assert!(second.user_port != third.user_port && second.user_port != first_port);
    }

    #[test]
    fn a_block_belongs_to_one_cluster() {
        let block = AddressBlock::claim(AddressBase::Any).unwrap();
        let text = AddressBlock::claim(AddressBase::At(block.base))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(&block.base.to_string()) && text.contains("address-base"),
            "{text}"
        );
        assert_ne!(AddressBlock::claim(AddressBase::Any).unwrap().base, block.base);
    }

    #[test]
    fn a_taken_port_is_named() {
        let block = AddressBlock::claim(AddressBase::Any).unwrap();
        let address = SocketAddr::from((Ipv4Addr::from(u32::from(block.base) + 1), 9090));
        let _other = TcpListener::bind(address).unwrap();
        let text = block.next_home(name).unwrap_err().to_string();
        assert!(text.starts_with(&format!("pod-1: {address} is taken")), "{text}");
        assert_eq!(block.next_home(name).unwrap().number, 2);
    }

    #[test]
    fn numbers_come_round_without_those_in_use() {
        let taken = Taken {
            last: BLOCK_LEN,
            numbers: HashSet::from([1, 2]),
            ..Taken::default()
        };
        assert_eq!(next_number(&taken), 3);
    }
}
