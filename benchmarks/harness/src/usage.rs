//! What the system says a process has used: CPU time and resident memory, from `/proc`.

use std::{fs, io, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    /// All of it, the program's own pages included.
    pub(crate) rss: u64,
    /// What belongs to this process alone: heap and stacks.
    pub(crate) anon: u64,
}

/// Memory of the process `pid`.
///
/// # Errors
/// If it has ended.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the queue-proxy has ended")?;
    Ok(Memory {
        rss: kibibytes(&status, "VmRSS:").context("/proc does not tell VmRSS")?,
        anon: kibibytes(&status, "RssAnon:").context("/proc does not tell RssAnon")?,
    })
}

/// Most memory that `pid` has held since [`reset_peak`], in bytes; 0 if it has ended.
pub(crate) fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kibibytes(&status, "VmHWM:").unwrap_or_default()
}

/// Begins the peak anew. Where the system does not let us, the peak stays that of the process's whole life.
pub(crate) fn reset_peak(pid: u32) {
    let _kept = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// CPU time of several processes together; those that have ended count nothing.
pub(crate) fn cpu_of(pids: &[u32]) -> Duration {
    pids.iter().filter_map(|&pid| cpu(pid).ok()).sum()
}

/// Bytes received on the loopback device so far, by whomever; 0 where the system does not tell.
pub(crate) fn loopback_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// CPU time of all threads of `pid` so far, in nanoseconds (`schedstat`), which a few hundred requests show: `stat`
/// counts in steps of 10 ms. A thread that has ended no longer counts; queue-proxies keep theirs.
///
/// # Errors
/// If it has ended.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the queue-proxy has ended")? {
        match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(text) => total += nanoseconds(&text).context("/proc does not tell CPU times")?,
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).context("/proc does not tell CPU times"),
        }
    }
    Ok(Duration::from_nanos(total))
}

/// A thread that ended between the two reads.
fn is_gone(error: &io::Error) -> bool {
    const NO_SUCH_PROCESS: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

fn nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_kernel_writes_them() {
        let status = "VmPeak:\t  900 kB\nVmRSS:\t    8192 kB\nRssAnon:\t     1024 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(8 << 20));
        assert_eq!(kibibytes(status, "RssAnon:"), Some(1 << 20));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
        assert_eq!(nanoseconds("123456789 55 7\n"), Some(123_456_789));
    }

    #[test]
    fn this_process_uses_both() {
        let own = std::process::id();
        let memory = memory(own).unwrap();
        assert!(memory.rss > memory.anon && memory.anon > 0);
        assert!(cpu(own).unwrap() > Duration::ZERO);
        assert!(cpu(u32::MAX).is_err());
    }
}
