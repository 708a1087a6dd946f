//! What the run sends: the user's files, the sidecar's own binary, seeded objects of the usual sizes.
//!
//! Bounded in number, in size and in sum, so that a run ends in time and fits the sidecars' object memory. A file that
//! cannot be sent is an error at the start, never a hole in the table.

mod walk;

use std::{path::PathBuf, str::FromStr};

use serde::Serialize;
use xdt_patterns::object::Source;

pub(crate) use walk::files;

/// Largest object: the default of `XDT_OBJECT_MEMORY`, which a put object must fit into.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// One object of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Object {
    /// What the table calls it.
    pub(crate) label: String,
    /// Bytes.
    pub(crate) size: u64,
    /// The file, or `None` for a seeded object.
    pub(crate) file: Option<PathBuf>,
}

impl Object {
    /// An incompressible object.
    pub(crate) fn seeded(size: Size) -> Self {
        Self {
            label: size.label,
            size: size.bytes,
            file: None,
        }
    }

    /// Where the bytes of repetition `repetition` come from. Files are the same each time, seeded objects never.
    /// Producers of one repetition have different ones.
    pub(crate) fn source(&self, seed: u64, repetition: u64, producer: u64) -> Source {
        match &self.file {
            Some(path) => Source::File { path: path.clone() },
            None => Source::Seeded {
                size: self.size,
                seed,
                repetition,
                producer,
            },
        }
    }
}

/// The size of a seeded object with the label that papers use: `10 KB` stands for 10·2^10 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Size {
    label: String,
    pub(crate) bytes: u64,
}

impl Size {
    /// 10 KB to 100 MB in steps of ten.
    pub(crate) fn usual() -> impl Iterator<Item = Self> {
        [(10, "KB"), (100, "KB"), (1, "MB"), (10, "MB"), (100, "MB")]
            .into_iter()
            .map(|(n, unit)| Self::new(n, unit))
    }

    fn new(number: u64, unit: &str) -> Self {
        let shift = if unit == "KB" { 10 } else { 20 };
        Self {
            label: format!("{number} {unit}"),
            bytes: number.saturating_mul(1 << shift),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted = || {
            format!(
                "a size is a whole number of KB or MB, from 1KB to {}MB, such as 10KB",
                MAX_BYTES >> 20
            )
        };
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = unit.trim_start();
        let number = digits.parse().map_err(|_| accepted())?;
        let size = Self::new(number, unit);
        let fits = matches!(unit, "KB" | "MB") && (1..=MAX_BYTES).contains(&size.bytes);
        if fits { Ok(size) } else { Err(accepted()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_labels_for_binary_multiples() {
        let sizes: Vec<_> = Size::usual().map(|size| (size.label, size.bytes)).collect();
        let labels: Vec<_> = sizes.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["10 KB", "100 KB", "1 MB", "10 MB", "100 MB"]);
        assert_eq!((sizes[0].1, sizes[4].1), (10_240, 104_857_600));
        assert_eq!("10KB".parse::<Size>(), Ok(Size::new(10, "KB")));
        assert_eq!("1 MB".parse::<Size>(), Ok(Size::new(1, "MB")));
    }

    #[test]
    fn other_sizes_are_refused() {
        for text in [
            "",
            "10",
            "KB",
            "0KB",
            "-1KB",
            "10kb",
            "257MB",
            "99999999999999999999KB",
            "10GB",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_repetition_of_a_seeded_object_differs_and_a_file_does_not() {
        let seeded = Object::seeded(Size::new(10, "KB"));
        assert_ne!(seeded.source(1, 1, 0), seeded.source(1, 2, 0));
        let file = Object {
            label: "f".into(),
            size: 3,
            file: Some("/f".into()),
        };
        assert_eq!(file.source(1, 1, 0), file.source(1, 2, 0));
    }
}
