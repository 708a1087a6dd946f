//! Waiting for conditions under deadlines, in place of sleeping.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for anything that should happen soon. Generous, because test machines are slow; a test that passes
/// never gets near it.
pub const SOON: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `check` gives a value.
///
/// # Panics
/// After [`SOON`], naming `what` was waited for.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(SOON, what, check).await
}

/// As [`eventually`], with another deadline.
///
/// # Panics
/// After `limit`.
pub async fn eventually_within<T>(limit: Duration, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Awaits `work`, but no longer than [`SOON`].
///
/// # Panics
/// When the time is over, naming `what` was waited for.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work)
        .await
        .unwrap_or_else(|_| panic!("took longer than {SOON:?}: {what}"))
}
