//! A TCP link that a test holds in its hand: it passes bytes on, cuts connections after so many of them, slows them down.
//!
//! Stands between two sidecars as the producer's advertised address. Buffers at most one piece each way.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// Most bytes read before they are passed on.
const PIECE: usize = 16 * 1024;

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ends see a reset.
    Reset,
    /// Both ends see an orderly end.
    Close,
}

#[derive(Default)]
struct Plan {
    target: Option<SocketAddr>,
    /// For the next connections, one each.
    cuts: VecDeque<(u64, Cut)>,
    /// The byte of the next connection that arrives changed.
    corrupted: Option<u64>,
    /// Bytes a second towards the client.
    rate: Option<u64>,
    connections: usize,
    passed: u64,
}

/// The link; all its connections end when it is dropped.
pub struct Link {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    cut: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Listens on a free port of `127.0.0.1`. Connections are closed at once until [`Self::lead_to`] names a target.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let plan = Arc::<Mutex<Plan>>::default();
        let cut = Arc::<Notify>::default();
        let server = tokio::spawn(serve(listener, plan.clone(), cut.clone()));
        Self {
            address,
            plan,
            cut,
            server,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections go from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        lock(&self.plan).target = Some(target);
    }

    /// Cuts one of the next connections, the first that has no cut planned yet, after so many bytes towards its client.
    pub fn cut_after(&self, bytes: u64, cut: Cut) {
        lock(&self.plan).cuts.push_back((bytes, cut));
    }

    /// Closes every connection there is.
    pub fn cut_now(&self) {
        self.cut.notify_waiters();
    }

    /// Changes a bit of this byte, counted from 0, of the next connection's way towards its client.
    pub fn corrupt(&self, at: u64) {
        lock(&self.plan).corrupted = Some(at);
    }

    /// From now on no connection passes more than so many bytes a second towards its client.
    pub fn slow_down(&self, bytes_per_second: u64) {
        lock(&self.plan).rate = Some(bytes_per_second);
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.plan).connections
    }

    /// Bytes passed towards clients so far.
    #[must_use]
    pub fn passed(&self) -> u64 {
        lock(&self.plan).passed
    }

    /// Cuts that were planned and have not come about.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        lock(&self.plan).cuts.len()
    }
}

async fn serve(listener: TcpListener, plan: Arc<Mutex<Plan>>, cut: Arc<Notify>) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, fate) = {
            let mut plan = lock(&plan);
            plan.connections += 1;
            let fate = Fate {
                cut: plan.cuts.pop_front(),
                corrupted: plan.corrupted.take(),
            };
            (plan.target, fate)
        };
        let Some(target) = target else { continue };
        let (plan, cut) = (plan.clone(), cut.clone());
        connections.spawn(async move {
            tokio::select! {
                () = pass(client, target, fate, plan) => {}
                () = cut.notified() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What happens to one connection.
struct Fate {
    cut: Option<(u64, Cut)>,
    corrupted: Option<u64>,
}

async fn pass(client: TcpStream, target: SocketAddr, fate: Fate, plan: Arc<Mutex<Plan>>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    for socket in [&client, &server] {
        let _delay_is_a_detail = socket.set_nodelay(true);
        if matches!(fate.cut, Some((_, Cut::Reset))) {
            let _closed_in_order_otherwise = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // Whichever ends first ends both: the four halves are dropped together.
    tokio::select! {
        _ended = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = towards_client(from_server, to_client, &fate, &plan) => {}
    }
}

async fn towards_client(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fate: &Fate, plan: &Mutex<Plan>) {
    let (begun, mut passed, mut piece) = (Instant::now(), 0_u64, vec![0; PIECE]);
    loop {
        let left = fate.cut.map_or(u64::MAX, |(most, _)| most - passed);
        if left == 0 {
            return;
        }
        let room = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        let Ok(count @ 1..) = from.read(&mut piece[..room]).await else {
            return;
        };
        let corrupted = fate.corrupted.and_then(|at| at.checked_sub(passed));
        if let Some(at) = corrupted
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at < count)
        {
            piece[at] ^= 1;
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
        passed += count as u64;
        let rate = {
            let mut plan = lock(plan);
            plan.passed += count as u64;
            plan.rate
        };
        if let Some(rate) = rate {
            // The pace is the script, not a wait for something to happen.
            let due = Duration::from_micros(passed.saturating_mul(1_000_000) / rate.max(1));
            tokio::time::sleep_until(begun + due).await;
        }
    }
}
