//! Files that the user names, and files under directories that the user names.
//!
//! Links inside directories are not followed and empty files there are passed over; everything else that cannot be sent
//! is an error that names the path.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{MAX_BYTES, Object};

/// Most files of one run: each becomes a block of rows.
const MAX_FILES: usize = 64;
/// Most bytes of all files together: each of them travels several times by every backend within the time budget.
const MAX_TOTAL_BYTES: u64 = 1 << 30;
/// Most directory entries looked at, and how deep: a mistyped `/` ends at once.
const MAX_ENTRIES: usize = 10_000;
const MAX_DEPTH: usize = 32;

/// The objects that `paths` stand for, in the order given, directories by name.
///
/// # Errors
/// A path that does not exist, cannot be read, is empty, too large or no file; too many files.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<Object>> {
    let mut walk = Walk::default();
    for path in paths {
        walk.named(path).with_context(|| format!("input {}", path.display()))?;
    }
    Ok(walk.found)
}

#[derive(Default)]
struct Walk {
    found: Vec<Object>,
    bytes: u64,
    entries: usize,
}

impl Walk {
    fn named(&mut self, path: &Path) -> Result<()> {
        let path = path.canonicalize()?;
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        if !path.is_dir() {
            return self.file(&path, &parent);
        }
        let before = self.found.len();
        self.directory(&path, &parent, 0)?;
        ensure!(self.found.len() > before, "there is no file with bytes in it");
        Ok(())
    }

    fn directory(&mut self, folder: &Path, root: &Path, depth: usize) -> Result<()> {
        ensure!(
            depth < MAX_DEPTH,
            "{}: more than {MAX_DEPTH} directories deep",
            folder.display()
        );
        for path in self
            .sorted(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
        {
            let kind = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
            if kind.is_dir() {
                self.directory(&path, root, depth + 1)?;
            } else if kind.is_file() && kind.len() > 0 {
                self.file(&path, root).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn sorted(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            self.entries += 1;
            ensure!(
                self.entries <= MAX_ENTRIES,
                "more than {MAX_ENTRIES} entries; name fewer"
            );
            paths.push(entry?.path());
        }
        paths.sort();
        Ok(paths)
    }

    fn file(&mut self, path: &Path, root: &Path) -> Result<()> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            bail!("neither a file nor a directory");
        }
        File::open(path).context("cannot be read")?;
        let size = metadata.len();
        ensure!(size > 0, "the file is empty");
        ensure!(
            size <= MAX_BYTES,
            "the file has {size} bytes; the sidecars hold {MAX_BYTES} bytes of objects"
        );
        self.bytes += size;
        ensure!(
            self.bytes <= MAX_TOTAL_BYTES,
            "more than {MAX_TOTAL_BYTES} bytes in all; name fewer files"
        );
        ensure!(self.found.len() < MAX_FILES, "more than {MAX_FILES} files; name fewer");
        // Paths travel to the producer in JSON.
        path.to_str().context("the name is not UTF-8")?;
        let label = path.strip_prefix(root).unwrap_or(path).display().to_string();
        self.found.push(Object {
            label,
            size,
            file: Some(path.to_owned()),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fails(path: &Path, word: &str) {
        let error = format!("{:#}", files(&[path.to_owned()]).unwrap_err());
        assert!(
            error.contains(word) && error.contains(&path.display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn directories_are_walked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (name, text) in [("c", "3"), ("b/x", "22"), ("a", "1"), ("empty", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        let found = files(&[folder.path().to_owned()]).unwrap();
        let root = folder.path().file_name().unwrap().to_str().unwrap();
        let labels: Vec<_> = found.iter().map(|object| object.label.clone()).collect();
        assert_eq!(labels, ["a", "b/x", "c"].map(|name| format!("{root}/{name}")));
        assert_eq!(found[1].size, 2);
    }

    #[test]
    fn a_missing_path_is_named() {
        fails(Path::new("/nowhere/at/all"), "No such file");
    }

    #[test]
    fn empty_files_and_directories_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fails(folder.path(), "no file with bytes");
        let empty = folder.path().join("empty");
        fs::write(&empty, "").unwrap();
        fails(&empty, "empty");
        fails(folder.path(), "no file with bytes");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        fails(Path::new("/dev/null"), "neither a file nor a directory");
    }

    #[test]
    fn too_large_a_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
        fails(&large, "sidecars hold");
    }

    #[test]
    fn too_many_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            fs::write(folder.path().join(number.to_string()), "x").unwrap();
        }
        fails(folder.path(), "more than 64 files");
    }
}
