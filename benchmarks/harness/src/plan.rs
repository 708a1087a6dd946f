//! Which cells a run measures, and how often: the published sweep, the quick profile, or what the command line says.

use anyhow::{Result, ensure};
use xdt_patterns::messages::{Pattern, Variant};

use crate::{
    cell::{Cell, MAX_REPETITION_BYTES},
    column::{Column, Settings, Standard, paper},
    object::{Object, Size},
    schedule::Target,
};

/// The experiment that the four patterns belong to.
pub(crate) const MICROBENCHMARK: &str = "microbenchmark";
/// Degrees of the published sweep (thesis, figures 6.6 to 6.8).
pub(crate) const DEGREES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// How often cells are repeated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Repetitions {
    /// Instead of the number by size.
    pub(crate) measured: Option<u64>,
    /// Instead of five.
    pub(crate) warm_up: Option<u64>,
}

impl Repetitions {
    /// As stated in the contract, A.4.
    pub(crate) fn target(self, pattern: Pattern, size: u64) -> Target {
        let usual = match (pattern, size) {
            (Pattern::OneToOne, ..=102_400) => 500,
            (Pattern::OneToOne, ..=1_048_576) => 300,
            (Pattern::OneToOne, ..=10_485_760) => 60,
            (Pattern::OneToOne, _) => 20,
            (_, ..=102_400) => 100,
            (_, ..=1_048_576) => 30,
            _ => 10,
        };
        Target {
            warm_up: self.warm_up.unwrap_or(5),
            measured: self.measured.unwrap_or(usual),
        }
    }
}

/// One pattern over objects and degrees. Cells that would move more than the bound in one repetition are left out.
pub(crate) fn sweep(
    pattern: Pattern,
    variant: Variant,
    objects: &[Object],
    degrees: &[usize],
    columns: &[Column],
    repetitions: Repetitions,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &degree in degrees {
        for object in objects {
            let mut takers = columns.to_vec();
            takers.retain(|column| column.takes(pattern, object.size, degree));
            let fits = object.size * degree as u64 <= MAX_REPETITION_BYTES;
            if fits && !takers.is_empty() {
                cells.push(Cell {
                    experiment: MICROBENCHMARK.to_owned(),
                    pattern,
                    variant,
                    object: object.clone(),
                    degree,
                    target: repetitions.target(pattern, object.size),
                    columns: takers,
                });
            }
        }
    }
    cells
}

/// The published sweep: figures 6.3 and 6.5 to 6.8, with 1 MB added to the patterns.
pub(crate) fn published(columns: &[Column], repetitions: Repetitions) -> Vec<Cell> {
    let usual: Vec<_> = Size::usual().map(Object::seeded).collect();
    let patterns: Vec<_> = usual
        .iter()
        .filter(|object| PATTERN_SIZES.contains(&object.size))
        .cloned()
        .collect();
    let mut cells = sweep(Pattern::OneToOne, Variant::Invoke, &usual, &[1], columns, repetitions);
    let by_reference: Vec<_> = columns
        .iter()
        .filter(|column| column.sidecar.is_some())
        .cloned()
        .collect();
    cells.extend(sweep(
        Pattern::OneToOne,
        Variant::PutGet,
        &usual,
        &[1],
        &by_reference,
        repetitions,
    ));
    for pattern in [Pattern::Gather, Pattern::Scatter, Pattern::Broadcast] {
        cells.extend(sweep(
            pattern,
            variant_of(pattern),
            &patterns,
            &DEGREES,
            columns,
            repetitions,
        ));
    }
    cells
}

/// 10 KB, 1 MB and 10 MB.
const PATTERN_SIZES: [u64; 3] = [10 << 10, 1 << 20, 10 << 20];

/// The quick profile: every pattern, two sizes, two degrees (contract, A.4).
pub(crate) fn quick(columns: &[Column], repetitions: Repetitions) -> Vec<Cell> {
    let repetitions = Repetitions {
        measured: repetitions.measured.or(Some(10)),
        warm_up: repetitions.warm_up.or(Some(2)),
    };
    let sizes: Vec<_> = Size::usual()
        .map(Object::seeded)
        .filter(|object| [10 << 10, 1 << 20].contains(&object.size))
        .collect();
    let mut cells = sweep(Pattern::OneToOne, Variant::Invoke, &sizes, &[1], columns, repetitions);
    for pattern in [Pattern::Gather, Pattern::Scatter, Pattern::Broadcast] {
        cells.extend(sweep(
            pattern,
            variant_of(pattern),
            &sizes,
            &[1, 4],
            columns,
            repetitions,
        ));
    }
    cells
}

/// The variant of a pattern as published.
pub(crate) const fn variant_of(pattern: Pattern) -> Variant {
    match pattern {
        Pattern::OneToOne | Pattern::Scatter => Variant::Invoke,
        Pattern::Gather | Pattern::Broadcast => Variant::PutGet,
    }
}

/// The sensitivity studies (contract, A.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Study {
    /// Store-and-forward against cut-through (figure 6.3).
    Streaming,
    /// `XDT_INVOKE_BUFFER_SIZE` from 64 KiB to 4 MiB (figure 6.4).
    Buffers,
    /// `XDT_CHUNK_SIZE` from 16 KiB to 1 MiB.
    Chunks,
    /// Inline against reference, 1 KB to 1 MB: where `XDT_INLINE_LIMIT` should lie.
    InlineLimit,
    /// Number of buffers against scatter degree.
    BufferCount,
    /// Path `stream` against path `node`.
    Path,
}

impl Study {
    /// Its name in files.
    pub(crate) const fn experiment(self) -> &'static str {
        match self {
            Self::Streaming => "sensitivity-streaming",
            Self::Buffers => "sensitivity-buffers",
            Self::Chunks => "sensitivity-chunks",
            Self::InlineLimit => "sensitivity-inline-limit",
            Self::BufferCount => "sensitivity-buffer-count",
            Self::Path => "sensitivity-path",
        }
    }

    /// Its cells. `node_dir` is the folder of the same-node path.
    ///
    /// # Errors
    /// If there is nothing to compare.
    pub(crate) fn cells(self, repetitions: Repetitions, node_dir: &str) -> Result<Vec<Cell>> {
        let objects = |labels: &[&str]| -> Result<Vec<Object>> {
            let parse = |label: &&str| label.parse::<Size>().map(Object::seeded).map_err(anyhow::Error::msg);
            labels.iter().map(parse).collect()
        };
        let large = objects(&["1MB", "10MB", "100MB"])?;
        let (pattern, degrees, objects, columns) = match self {
            Self::Streaming => {
                let columns = [Standard::XdtSf, Standard::XdtCt].map(Standard::column).to_vec();
                (
                    Pattern::OneToOne,
                    vec![1],
                    Size::usual().map(Object::seeded).collect(),
                    columns,
                )
            }
            Self::Buffers => {
                let sizes = ["64KiB", "128KiB", "256KiB", "512KiB", "1MiB", "2MiB", "4MiB"];
                (
                    Pattern::OneToOne,
                    vec![1],
                    large,
                    variants("XDT_INVOKE_BUFFER_SIZE", &sizes),
                )
            }
            Self::Chunks => {
                let sizes = ["16KiB", "32KiB", "64KiB", "128KiB", "256KiB", "512KiB", "1MiB"];
                (Pattern::OneToOne, vec![1], large, variants("XDT_CHUNK_SIZE", &sizes))
            }
            Self::InlineLimit => {
                let columns = [Standard::Inline, Standard::XdtCt].map(Standard::column).to_vec();
                let sizes = objects(&[
                    "1KB", "2KB", "4KB", "8KB", "16KB", "32KB", "64KB", "128KB", "256KB", "512KB", "1MB",
                ])?;
                (Pattern::OneToOne, vec![1], sizes, columns)
            }
            Self::BufferCount => {
                let counts = ["4", "8", "16", "32", "64"];
                (
                    Pattern::Scatter,
                    vec![1, 4, 16],
                    objects(&["1MB"])?,
                    variants("XDT_INVOKE_BUFFERS", &counts),
                )
            }
            Self::Path => {
                let columns = vec![
                    by_path("stream", "stream", node_dir),
                    by_path("node", "node,stream", node_dir),
                ];
                (
                    Pattern::OneToOne,
                    vec![1],
                    Size::usual().map(Object::seeded).collect(),
                    columns,
                )
            }
        };
        let variant = if self == Self::Path {
            Variant::PutGet
        } else {
            variant_of(pattern)
        };
        let mut cells = sweep(pattern, variant, &objects, &degrees, &columns, repetitions);
        for cell in &mut cells {
            self.experiment().clone_into(&mut cell.experiment);
        }
        ensure!(!cells.is_empty(), "the study has no cells");
        Ok(cells)
    }
}

/// The paper's cut-through settings, once for each value of one variable.
fn variants(variable: &str, values: &[&str]) -> Vec<Column> {
    let name = variable
        .trim_start_matches("XDT_")
        .to_ascii_lowercase()
        .replace('_', "-");
    let column = |value: &&str| {
        let mut settings = paper("cut-through");
        settings.insert(variable.to_owned(), (*value).to_owned());
        Column {
            id: format!("xdt-ct {name}={value}"),
            sidecar: Some(settings),
            ..Standard::XdtCt.column()
        }
    };
    values.iter().map(column).collect()
}

fn by_path(id: &str, paths: &str, node_dir: &str) -> Column {
    let mut settings: Settings = paper("cut-through");
    settings.insert("XDT_PATHS".to_owned(), paths.to_owned());
    settings.insert("XDT_NODE_DIR".to_owned(), node_dir.to_owned());
    Column {
        id: format!("xdt-ct path={id}"),
        sidecar: Some(settings),
        ..Standard::XdtCt.column()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        Standard::ALL.map(Standard::column).to_vec()
    }

    #[test]
    fn the_published_sweep_has_its_cells_and_no_cell_twice() {
        let cells = published(&columns(), Repetitions::default());
        let count = |pattern| cells.iter().filter(|cell| cell.pattern == pattern).count();
        assert_eq!(
            (
                count(Pattern::OneToOne),
                count(Pattern::Gather),
                count(Pattern::Broadcast)
            ),
            (10, 18, 18)
        );
        let ids: std::collections::BTreeSet<_> = cells.iter().map(Cell::id).collect();
        assert_eq!(ids.len(), cells.len());
        assert!(cells.iter().all(|cell| cell.bytes() <= MAX_REPETITION_BYTES));
    }

    #[test]
    fn repetitions_are_those_of_the_contract() {
        let of = |pattern, size| Repetitions::default().target(pattern, size).measured;
        let one: Vec<_> = Size::usual().map(|size| of(Pattern::OneToOne, size.bytes)).collect();
        assert_eq!(one, [500, 500, 300, 60, 20]);
        assert_eq!(PATTERN_SIZES.map(|size| of(Pattern::Gather, size)), [100, 30, 10]);
    }

    #[test]
    fn studies_vary_one_setting() {
        let cells = Study::Buffers.cells(Repetitions::default(), "/n").unwrap();
        assert_eq!((cells.len(), cells[0].columns.len()), (3, 7));
        let sizes: Vec<_> = cells[0]
            .columns
            .iter()
            .map(|column| column.sidecar.clone().unwrap())
            .collect();
        assert_eq!(sizes[0]["XDT_INVOKE_BUFFER_SIZE"], "64KiB");
        assert_eq!(sizes[0]["XDT_STREAMING"], "cut-through");
        let path = Study::Path.cells(Repetitions::default(), "/n").unwrap();
        assert_eq!(
            path[0].columns[1].may_take(path[0].variant, path[0].pattern, 1),
            ["node"]
        );
    }
}
