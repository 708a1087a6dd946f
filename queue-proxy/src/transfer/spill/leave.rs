//! What becomes of held objects when their instance leaves: each is written to the spill store while it is still being
//! served, and only then stops being served here, so that at every moment there is one place to retrieve it from.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use xdt_proto::ObjectId;

use super::{
    SpillError,
    copies::{Copies, unix_seconds},
};
use crate::transfer::{Content, Transfer};

/// Objects that are written at the same time.
const AT_ONCE: usize = 8;
/// What spilling is expected to take: a start, each object's requests, and its bytes at the pace of a modest store.
const START: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_millis(50);
const BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;
/// Objects are spilled for at least so long, however short the grace: what is held is worth a few seconds.
const AT_LEAST: Duration = Duration::from_secs(10);

/// Objects that wait for their readers at the same time; more of them wait to be written.
const WAITING: usize = 1024;
/// So long before the end of the grace the last pulls are cut, so that the copies can still take their objects' places.
const COMMIT: Duration = Duration::from_secs(1);

/// How an object stops being served.
enum Departure {
    /// It did by itself.
    Gone,
    /// With so many retrievals left, none of them claimed; new claims are told to come again.
    Free(u16),
    /// With so many left, some of them claimed by pulls that outlast the grace: those will not be confirmed.
    Cut(u16),
}

/// What became of the objects.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    spilled: usize,
    failed: usize,
}

impl Transfer {
    /// Serves held objects until it is time, then spills them, to be done by `deadline`. Returns when all have left or
    /// it is over; objects that could not be spilled are still held then. Expects [`Transfer::drain`] to have been called.
    pub async fn spill(self: &Arc<Self>, deadline: tokio::time::Instant) {
        let Some(copies) = &self.copies else { return };
        loop {
            let begin = deadline.checked_sub(self.estimate(deadline)).unwrap_or(deadline);
            if tokio::time::Instant::now() >= begin {
                break;
            }
            // Fewer objects are left each time, so the beginning moves later only.
            tokio::select! {
                () = tokio::time::sleep_until(begin) => {}
                () = self.emptied() => return,
            }
        }
        let now = tokio::time::Instant::now();
        let cut = deadline.checked_sub(COMMIT).unwrap_or(deadline).max(now);
        let end = deadline.max(now + AT_LEAST);
        let ids: Vec<ObjectId> = self.table().ids().collect();
        let left = stream::iter(ids)
            .map(|id| async move {
                let written = tokio::time::timeout_at(end, self.write_copy(copies, id)).await;
                (id, written.unwrap_or(Err(SpillError::TimedOut)))
            })
            .buffer_unordered(AT_ONCE)
            // What waits for its readers keeps nobody else from being written.
            .map(|(id, written)| async move {
                let spilled = match written {
                    Ok(true) => tokio::time::timeout_at(end + COMMIT, self.replace(copies, id, cut)).await,
                    other => Ok(other),
                };
                (id, spilled.unwrap_or(Err(SpillError::TimedOut)))
            })
            .buffer_unordered(WAITING)
            .fold(Left::default(), |left, (id, result)| async move {
                self.counted(left, id, result)
            })
            .await;
        self.left.notify_waiters();
        self.left_over("spilled", left.spilled);
        if left.spilled > 0 {
            tracing::info!(objects = left.spilled, "objects were spilled at shutdown");
        }
    }

    /// What spilling will take: at most the time that there is.
    fn estimate(&self, deadline: tokio::time::Instant) -> Duration {
        let held = self.held();
        let objects = u32::try_from(held.objects).unwrap_or(u32::MAX);
        let bytes = Duration::from_millis(held.bytes.get().saturating_mul(1000) / BYTES_PER_SECOND);
        let time = deadline.saturating_duration_since(tokio::time::Instant::now());
        (START + EACH.saturating_mul(objects) + bytes).min(time)
    }

    fn counted(&self, mut left: Left, id: ObjectId, result: Result<bool, SpillError>) -> Left {
        match result {
            Ok(spilled) => left.spilled += usize::from(spilled),
            Err(error) => {
                self.table().stay(id);
                if left.failed == 0 {
                    tracing::warn!(why = told(&error), "objects cannot be spilled");
                }
                tracing::debug!(%error, object = self.trust.own_digest(id), "an object was not spilled");
                left.failed += 1;
            }
        }
        left
    }

    /// Writes an object beside itself. `false`: it has left by itself, or is none that can be spilled.
    async fn write_copy(&self, copies: &Copies, id: ObjectId) -> Result<bool, SpillError> {
        let content = self.table().peek(id, Instant::now());
        let Some(Content::Held(object)) = content else {
            return Ok(false);
        };
        let expires = self.table().expires(id).map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            unix_seconds(SystemTime::now() + left)
        });
        let name = self.trust.own_copy_name(id);
        copies.write(&self.trust, &name, &object, expires).await?;
        Ok(true)
    }

    /// Has the copy take the object's place. `false`: the object has left by itself.
    async fn replace(&self, copies: &Copies, id: ObjectId, cut: tokio::time::Instant) -> Result<bool, SpillError> {
        let name = self.trust.own_copy_name(id);
        let (left, cut) = match self.depart(id, cut).await {
            Departure::Gone => {
                copies.sweep(&name).await;
                return Ok(false);
            }
            Departure::Free(left) => (left, false),
            Departure::Cut(left) => (left, true),
        };
        copies.begin(&self.trust, &name, left).await?;
        if !cut && !self.table().spill(id) {
            // Deleted or expired meanwhile.
            copies.sweep(&name).await;
            return Ok(false);
        }
        self.left.notify_waiters();
        Ok(true)
    }

    /// Lets nobody claim the object any more, and waits for those who have until `cut`.
    async fn depart(&self, id: ObjectId, cut: tokio::time::Instant) -> Departure {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            let Some(leaving) = self.table().leave(id, Instant::now()) else {
                return Departure::Gone;
            };
            if leaving.claimed == 0 {
                return Departure::Free(leaving.left);
            }
            if tokio::time::timeout_at(cut, left).await.is_err() {
                // Counted and ended under one lock: no confirmation comes between.
                let mut table = self.table();
                let leaving = table.leave(id, Instant::now());
                return match leaving.filter(|_| table.spill(id)) {
                    Some(leaving) => Departure::Cut(leaving.left),
                    None => Departure::Gone,
                };
            }
        }
    }
}

/// Why, in words that name nothing.
fn told(error: &SpillError) -> &'static str {
    match error {
        SpillError::TimedOut => "the store was too slow",
        SpillError::Store(
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. },
        ) => "the store refused the credentials",
        SpillError::Store(object_store::Error::NotFound { .. }) => "the store has no such bucket",
        SpillError::Store(_) => "the store failed, or cannot be reached",
        SpillError::None | SpillError::Corrupt | SpillError::Contended => {
            "the store holds something else in their place"
        }
        SpillError::NoRandomness(_) => "the system gave no random bytes",
    }
}
