//! One CPU profile: where the process spends its time, by interrupting it a hundred times a second of CPU.
//!
//! The interrupts and the walk over the stack are the crate `pprof`'s. Between profiles there is no timer and no handler;
//! after the first one its table stays allocated, because the crate keeps one ready.

use std::{io, path::Path, time::Duration};

use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::proto::{Call, Stack, encode};

/// Longest profile.
pub(super) const LONGEST: Duration = Duration::from_secs(300);
/// What no or a bad `seconds` means (as in Go).
const DEFAULT: Duration = Duration::from_secs(30);
/// Interrupts in a second of CPU time (as in Go).
const FREQUENCY: i32 = 100;
/// Where the crate may put what overflows its table when there is no folder for temporary files, as in Knative's pods.
const SHARED_MEMORY: &str = "/dev/shm";

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum CpuError {
    #[error("there is no folder for temporary files")]
    NoFolder(#[source] io::Error),
    #[error("the profiler failed")]
    Profiler(#[from] pprof::Error),
    #[error("the profile cannot be written")]
    Write(#[from] io::Error),
    #[error("the profile was interrupted")]
    Interrupted,
}

/// The time that the query asks for; `None` = too long.
pub(super) fn time(query: &str) -> Option<Duration> {
    let seconds = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds: i64 = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    match u64::try_from(seconds) {
        Err(_) | Ok(0) => Some(DEFAULT),
        Ok(seconds) => Some(Duration::from_secs(seconds)).filter(|time| *time <= LONGEST),
    }
}

/// Measures for so long; returns the profile in pprof's format, compressed. `turn` is dropped when the profiler is free
/// for the next one.
///
/// # Cancel safety
/// Dropping the future ends the measurement, at the latest when its beginning or its end, if under way, is over.
pub(super) async fn profile(time: Duration, turn: impl Send + 'static) -> Result<Vec<u8>, CpuError> {
    let running = blocking(move || Ok((start()?, turn))).await?;
    tokio::time::sleep(time).await;
    blocking(move || {
        let (guard, turn) = running;
        let profile = finish(&guard);
        drop(guard);
        drop(turn);
        profile
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CpuError> + Send + 'static,
) -> Result<T, CpuError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| CpuError::Interrupted)?
}

fn start() -> Result<ProfilerGuard<'static>, CpuError> {
    // The crate's first attempt to make a file decides for good, so it must not fail.
    if tempfile::tempfile().is_err() {
        // Refused when it was decided before.
        let _decided = tempfile::env::override_temp_dir(Path::new(SHARED_MEMORY));
        tempfile::tempfile().map_err(CpuError::NoFolder)?;
    }
    Ok(ProfilerGuardBuilder::default().frequency(FREQUENCY).build()?)
}

fn finish(guard: &ProfilerGuard<'static>) -> Result<Vec<u8>, CpuError> {
    let report = guard.report().build()?;
    let stacks = report.data.iter().map(|(frames, count)| {
        let calls = frames.frames.iter().map(|inlined| inlined.iter().map(call).collect());
        let stack = Stack {
            thread: frames.thread_name.clone(),
            calls: calls.collect(),
        };
        (stack, i64::try_from(*count).unwrap_or(i64::MAX))
    });
    Ok(encode(
        stacks,
        report.timing.start_time,
        report.timing.duration,
        FREQUENCY,
    )?)
}

fn call(symbol: &pprof::Symbol) -> Call {
    Call {
        name: symbol.name(),
        file: symbol.filename().into_owned(),
        line: symbol.lineno.map_or(0, i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_bounded_and_nonsense_means_the_default() {
        for (query, expected) in [
            ("", Some(DEFAULT)),
            ("seconds=5", Some(Duration::from_secs(5))),
            ("debug=1&seconds=300", Some(LONGEST)),
            ("seconds=0", Some(DEFAULT)),
            ("seconds=-3", Some(DEFAULT)),
            ("seconds=abc", Some(DEFAULT)),
            ("seconds=301", None),
        ] {
            assert_eq!(time(query), expected, "{query}");
        }
    }
}
