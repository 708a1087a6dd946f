//! Lines on their way to stdout, which may be slow: requests leave them here, one thread writes them.
//!
//! Bounded by [`MOST`] bytes. What finds no room is lost, counted, and told in a warning; no request ever waits for
//! stdout. Lines come out whole and in the order in which they were left.

use std::{
    io::{self, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Bytes that wait for a stdout that does not take them. Some 10,000 lines.
const MOST: usize = 4 << 20;
/// What the buffers may keep once they are empty.
const KEEP: usize = 64 * 1024;

/// Where lines are left.
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write, or the end has come.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// Lines that found no room or could not be written, not told yet.
    lost: u64,
    /// A first warning is out.
    warned: bool,
    /// The thread is writing what it has taken.
    writing: bool,
    ended: bool,
}

impl Lines {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        Self::into_writer(|bytes| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        })
    }

    fn into_writer(write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = shared.clone();
        // It ends by itself when the log is dropped; the process does not wait for a stdout that is stuck.
        let _detached = thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(move || writer.run(write))?;
        Ok(Self(shared))
    }

    /// Leaves a line, with its newline.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if !waiting.bytes.is_empty() && waiting.bytes.len() + line.len() > MOST {
            waiting.lost += 1;
            let first = !std::mem::replace(&mut waiting.warned, true);
            drop(waiting);
            if first {
                tracing::warn!("request log lines are lost: stdout does not take them");
            }
            return;
        }
        let was_empty = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        drop(waiting);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all lines are written, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut waiting = self.0.lock();
        while !waiting.bytes.is_empty() || waiting.writing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.written.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.filled.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whatever has gathered, until the log is dropped and all is written.
    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        let mut taken = Vec::new();
        loop {
            let lines = {
                let waiting = self.lock();
                let filled = self
                    .filled
                    .wait_while(waiting, |waiting| waiting.bytes.is_empty() && !waiting.ended);
                let mut waiting = filled.unwrap_or_else(PoisonError::into_inner);
                if waiting.bytes.is_empty() {
                    return;
                }
                waiting.writing = true;
                std::mem::swap(&mut waiting.bytes, &mut taken);
                std::mem::take(&mut waiting.lines)
            };
            let result = write(&taken);
            taken.clear();
            taken.shrink_to(KEEP);
            self.wrote(lines, &result);
        }
    }

    fn wrote(&self, lines: u64, result: &io::Result<()>) {
        let mut waiting = self.lock();
        waiting.writing = false;
        if result.is_err() {
            waiting.lost += lines;
        }
        // A stdout that is closed for good is told once.
        let told = waiting.warned && result.is_err();
        let lost = if told { 0 } else { std::mem::take(&mut waiting.lost) };
        waiting.warned = result.is_err();
        drop(waiting);
        self.written.notify_all();
        match result {
            _ if lost == 0 => {}
            Ok(()) => tracing::warn!(lines = lost, "request log lines were lost: stdout did not take them"),
            Err(error) => {
                let error = error.kind();
                tracing::warn!(lines = lost, %error, "request log lines were lost: stdout cannot be written");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Lines whose writer says what it was given, and goes on when it is let go.
    fn lines() -> (Lines, Receiver<Vec<u8>>, SyncSender<io::Result<()>>) {
        let (said, given) = sync_channel(16);
        let (go, may_go) = sync_channel(16);
        let lines = Lines::into_writer(move |bytes| {
            said.send(bytes.to_vec()).expect("the test listens");
            may_go.recv().expect("the test answers")
        });
        (lines.expect("a thread"), given, go)
    }

    #[test]
    fn what_gathers_while_one_is_written_goes_out_at_once_and_in_order() {
        let (lines, given, go) = lines();
        lines.push(b"1\n");
        assert_eq!(given.recv_timeout(LONG).expect("the first"), b"1\n");
        lines.push(b"2\n");
        lines.push(b"3\n");
        lines.flush(Duration::ZERO); // does not wait for ever
        go.send(Ok(())).expect("a writer");
        assert_eq!(given.recv_timeout(LONG).expect("the others"), b"2\n3\n");
        go.send(Ok(())).expect("a writer");
        lines.flush(LONG);
        assert!(lines.0.lock().bytes.is_empty());
    }

    #[test]
    fn a_stuck_stdout_costs_lines_and_not_requests() {
        let (lines, given, go) = lines();
        lines.push(b"1\n");
        given.recv_timeout(LONG).expect("the first");
        let line = vec![b'x'; MOST / 4 + 1];
        for _ in 0..5 {
            lines.push(&line);
        }
        assert_eq!(lines.0.lock().lost, 2);
        go.send(Ok(())).expect("a writer");
        let held = given.recv_timeout(LONG).expect("what had room").len();
        assert_eq!(held, 3 * line.len());
        assert_eq!(lines.0.lock().lost, 0, "told");
        go.send(Err(io::ErrorKind::BrokenPipe.into())).expect("a writer");
        lines.push(b"4\n");
        assert_eq!(given.recv_timeout(LONG).expect("goes on after an error"), b"4\n");
        go.send(Ok(())).expect("a writer");
        lines.flush(LONG);
        assert_eq!(lines.0.lock().lost, 0);
    }

    #[test]
    fn a_line_longer_than_all_room_passes_alone() {
        let (lines, given, go) = lines();
        lines.push(&vec![b'x'; MOST + 1]);
        assert_eq!(given.recv_timeout(LONG).expect("it").len(), MOST + 1);
        go.send(Ok(())).expect("a writer");
        lines.flush(LONG);
    }
}
