//! Loopback addresses that no other running test uses: one for each sidecar, out of `127.64.0.0/10`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// First address, and how many there are.
const FIRST: u32 = 0x7F40_0000;
const COUNT: u32 = 1 << 22;
/// Spreads processes over the addresses, so that two seldom begin near each other.
const STRIDE: u32 = 7919;
/// Held open on the address as long as the lease lives: keeps other tests off.
const LEASE_PORT: u16 = 7999;
/// Addresses tried before giving up.
const TRIES: u32 = 10_000;

/// Ports of a sidecar: serving, admin, statistics, request metrics, data, local API, egress, TLS, profiling.
pub const PORTS: [u16; 9] = [SERVING, ADMIN, STATS, METRICS, DATA, LOCAL, EGRESS, TLS, PROFILING];
/// `QUEUE_SERVING_PORT`.
pub const SERVING: u16 = 8012;
/// `QUEUE_SERVING_TLS_PORT`.
pub const TLS: u16 = 8112;
/// Profiles.
pub const PROFILING: u16 = 8008;
/// The drain hook.
pub const ADMIN: u16 = 8022;
/// The autoscaler's statistics.
pub const STATS: u16 = 9090;
/// Request metrics for Prometheus.
pub const METRICS: u16 = 9091;
/// `XDT_DATA_PORT`.
pub const DATA: u16 = 8014;
/// The local HTTP API.
pub const LOCAL: u16 = 8015;
/// The egress proxy.
pub const EGRESS: u16 = 8016;

/// One address, for one sidecar, until dropped.
#[derive(Debug)]
pub struct Lease {
    ip: Ipv4Addr,
    _held: TcpListener,
}

impl Lease {
    /// Takes an address on which all [`PORTS`] are free.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..TRIES {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed);
            let offset = process::id().wrapping_mul(STRIDE).wrapping_add(turn) % COUNT;
            let ip = Ipv4Addr::from_bits(FIRST + offset);
            if let Ok(held) = TcpListener::bind((ip, LEASE_PORT))
                && PORTS.iter().all(|port| TcpListener::bind((ip, *port)).is_ok())
            {
                return Self { ip, _held: held };
            }
        }
        panic!("no free address in {TRIES} of 127.64.0.0/10");
    }

    /// The address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip.into()
    }

    /// One of its ports.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }
}
