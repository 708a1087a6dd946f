//! The log files of the processes: opened for them, and read back when one fails.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::LogTail;

/// How many lines a failure shows.
const TAIL_LINES: usize = 20;
/// How far back they are searched: 20 lines of a usual stack trace fit many times.
const TAIL_BYTES: u64 = 64 * 1024;

/// Opens a log for one process; a process that is restarted goes on where the last one ended.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The last lines of a log; none if it cannot be read.
pub(crate) fn tail(path: &Path) -> LogTail {
    LogTail {
        path: path.to_owned(),
        lines: last_lines(path).unwrap_or_default(),
    }
}

fn last_lines(path: &Path) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[first..].iter().map(|&line| line.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_twenty_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        std::fs::write(file.path(), text).unwrap();
        let lines = tail(file.path()).lines;
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[19].as_str()),
            (20, "line 11", "line 30")
        );
    }

    #[test]
    fn the_tail_of_a_huge_line_and_of_nothing_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(tail(file.path()).lines[0].len(), 64 * 1024);
        assert_eq!(tail(Path::new("/no/such/log")).lines, Vec::<String>::new());
    }
}
