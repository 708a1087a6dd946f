//! The XDT path: four verbs, a file each, and what they stand on.
//!
//! - [`put`]: holds an object, whichever door it came by, and answers with a reference.
//! - [`get`]: reference → bytes: opens it, takes the cheapest path.
//! - `pull`: one object from a peer, cut-through, checksum verified.
//! - [`node`]: one object from a peer on the same node, as memory.
//! - [`serve`]: answers a peer's pull: ticket, claim, slices, confirmation.
//!
//! Calls only go down: doors and the two joints of `invocation` call put and get; get calls pull; serve and get read
//! through `source`; all change objects through the table, under one short lock.

mod adopt;
pub mod description;
pub mod frame;
pub mod get;
mod handover;
pub mod held;
pub mod node;
pub mod peers;
pub mod pool;
mod pull;
mod pulls;
pub mod put;
pub mod serve;
pub mod source;
mod spill;
mod store;
pub mod stream;
pub mod tally;
mod via;
pub(crate) mod watch;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;
use xdt_objects::{ClaimId, Held as HeldCount, Table};
use xdt_proto::{ByteCount, ObjectId};

use crate::{
    mutual::Mutual,
    telemetry::Telemetry,
    trust::{InstanceId, Trust},
};
pub use handover::{Handover, Parcel};
use held::Held;
use node::directory::NodeDirectory;
use peers::Peers;
use pool::Pool;
use pulls::Pulls;
use spill::Copies;
pub use spill::SpillUrl;
pub use store::{InboundShare, Stored};
use stream::Streamed;
use tally::Tally;

/// The part of the configuration that the XDT path needs; names and meanings as in `docs/config.md`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `XDT_CHUNK_SIZE`.
    pub chunk_size: ByteCount,
    /// `XDT_STREAMING`: whether chunks leave as they arrive.
    pub cut_through: bool,
    /// `XDT_INVOKE_BUFFERS`.
    pub invoke_buffers: u32,
    /// `XDT_INVOKE_BUFFER_SIZE`.
    pub invoke_buffer_size: ByteCount,
    /// `XDT_OBJECT_MEMORY`.
    pub object_memory: ByteCount,
    /// `XDT_OBJECT_TTL`; `None` = never.
    pub object_ttl: Option<Duration>,
    /// `XDT_BUFFER_WAIT`.
    pub buffer_wait: Duration,
    /// `XDT_PULL_TIMEOUT`.
    pub pull_timeout: Duration,
    /// `XDT_CLIENT_TIMEOUT`.
    pub client_timeout: Duration,
    /// `XDT_MAX_OBJECT_SIZE`.
    pub max_object_size: ByteCount,
    /// `XDT_PATHS` allows the same-instance path.
    pub instance_path: bool,
    /// `XDT_PATHS` allows the stream path.
    pub stream_path: bool,
    /// `XDT_SPILL_URL`, where `XDT_PATHS` allows that path.
    pub spill: Option<SpillUrl>,
}

/// What the XDT path works with beside its settings; each part may be absent.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// What transfers are measured and traced with.
    pub telemetry: Option<Arc<Telemetry>>,
    /// TLS to and from other queue-proxies.
    pub mutual: Option<Arc<Mutual>>,
    /// Where the same-node path runs.
    pub node: Option<Arc<NodeDirectory>>,
}

/// What the table keeps for one object.
#[derive(Clone)]
enum Content {
    Held(Arc<Held>),
    Streamed(Arc<Streamed>),
}

/// The XDT half of one queue-proxy.
pub struct Transfer {
    trust: Trust,
    settings: Settings,
    table: Mutex<Table<Content>>,
    /// Memory of put objects.
    held: Arc<Pool>,
    /// Windows of running pulls.
    inbound: Arc<Pool>,
    /// Invoke buffers, one per transfer.
    invoke_buffers: Arc<Semaphore>,
    peers: Peers,
    /// Where the same-node path runs, if it may.
    node: Option<Arc<NodeDirectory>>,
    pulls: Pulls,
    /// Copies of objects whose producers are gone.
    copies: Option<Copies>,
    tally: Tally,
    telemetry: Option<Arc<Telemetry>>,
    expiry_moved: Notify,
    left: Notify,
    draining: AtomicBool,
    /// Everything that outlives the request it began with.
    tasks: TaskTracker,
}

impl Transfer {
    /// Everything empty; [`Self::run`] must be running for objects to expire.
    #[must_use]
    pub fn new(trust: Trust, settings: Settings, surroundings: Surroundings) -> Arc<Self> {
        let transfer = Arc::new(Self {
            trust,
            table: Mutex::new(Table::new()),
            held: Pool::new(settings.object_memory),
            inbound: Pool::new(settings.object_memory),
            invoke_buffers: Arc::new(Semaphore::new(settings.invoke_buffers as usize)),
            peers: Peers::new(&settings, surroundings.mutual),
            pulls: Pulls::default(),
            node: surroundings.node,
            copies: settings.spill.clone().map(Copies::behind),
            tally: Tally::default(),
            telemetry: surroundings.telemetry,
            expiry_moved: Notify::new(),
            left: Notify::new(),
            draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            settings,
        });
        transfer.measure();
        transfer
    }

    /// Who this queue-proxy is.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.trust.identity().instance
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Frees objects whose time has come, closes idle peer connections and gives idle memory back. Never returns.
    pub async fn run(self: &Arc<Self>) {
        tokio::join!(self.expire_objects(), self.peers.close_idle(), self.held.trim());
    }

    async fn expire_objects(&self) {
        loop {
            let next = self.table().next_expiry();
            let due = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    let freed = self.table().expire(Instant::now());
                    tracing::debug!(freed, "objects expired");
                    self.left.notify_waiters();
                }
                () = self.expiry_moved.notified() => {}
            }
        }
    }

    /// Runs `work` beside the request that began it; awaited at shutdown.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Waits for everything that [`Self::spawn`] began.
    pub async fn finish_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From now on new objects are refused; held ones go on being served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Frees every object and tells how many there were; running pulls go on.
    pub fn drop_all(&self) -> usize {
        let (mut table, now) = (self.table(), Instant::now());
        let ids: Vec<ObjectId> = table.ids().collect();
        let mut dropped = 0;
        for id in ids {
            dropped += usize::from(table.delete(id, now));
        }
        drop(table);
        self.left_over("dropped", dropped);
        self.left.notify_waiters();
        dropped
    }

    /// Resolves when no object is left. Expects [`Self::drain`] to have been called.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.held().objects == 0 {
                return;
            }
            left.await;
        }
    }

    /// Objects and bytes held now.
    #[must_use]
    pub fn held(&self) -> HeldCount {
        self.table().held()
    }

    /// Counts for `GET /xdt/v1/status`; no names, no addresses.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let held = self.held();
        let (used, limit) = self.pool_levels();
        serde_json::json!({
            "objects": {
                "held": held.objects,
                "bytes": held.bytes.get(),
                "bytes_limit": self.settings.object_memory.get(),
            },
            "pool": { "used": used, "limit": limit },
            "transfers": self.tally.rows(),
            "peers": self.peers.connected(),
        })
    }

    /// Bytes of invoke buffers: in use, and in all.
    fn pool_levels(&self) -> (u64, u64) {
        let buffer = self.settings.invoke_buffer_size.get();
        let buffers = u64::from(self.settings.invoke_buffers);
        let free = self.invoke_buffers.available_permits() as u64;
        (buffers.saturating_sub(free) * buffer, buffers * buffer)
    }

    fn table(&self) -> MutexGuard<'_, Table<Content>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees an object of this instance; `false` if it was gone already.
    fn remove(&self, id: ObjectId) -> bool {
        let removed = self.table().delete(id, Instant::now());
        self.left.notify_waiters();
        removed
    }

    fn expires(&self, ttl: Option<Duration>) -> Option<Instant> {
        let ttl = match (ttl, self.settings.object_ttl) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        ttl.and_then(|ttl| Instant::now().checked_add(ttl))
    }
}

/// A retrieval in progress: given back when dropped, unless it was confirmed.
struct Claim {
    transfer: Arc<Transfer>,
    id: Option<ClaimId>,
}

impl Claim {
    /// The consumer has all of it. False if that does not count any more: a spilled copy has the retrieval now.
    fn confirm(mut self) -> bool {
        let Some(id) = self.id.take() else { return false };
        let counted = self.transfer.table().confirm(id);
        self.transfer.left.notify_waiters();
        counted
    }

    /// Chunks of a passing object are gone, so nobody can retrieve it any more.
    fn lose(mut self) {
        if let Some(id) = self.id.take() {
            self.transfer.table().lose(id);
            self.transfer.left.notify_waiters();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.transfer.table().give_back(id);
            self.transfer.left.notify_waiters();
        }
    }
}

/// Holds the server's end of a passing object: aborts it in the table unless it was written to its end.
struct Filling {
    transfer: Arc<Transfer>,
    id: Option<ObjectId>,
}

impl Filling {
    fn finished(mut self) {
        if let Some(id) = self.id.take() {
            self.transfer.table().filled(id);
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.transfer.table().abort(id);
            self.transfer.left.notify_waiters();
        }
    }
}
