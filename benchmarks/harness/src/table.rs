//! The table: one block of rows per object, one row per backend.

use comfy_table::{Cell as Field, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use xdt_patterns::messages::Backend;

use crate::{
    sample::{Cell, INLINE_BACKEND_LIMIT, name},
    text::{bytes, compared, millis, rate},
};

const HEADER: [&str; 11] = [
    "object",
    "size",
    "backend",
    "path",
    "n",
    "median ms",
    "p99 ms",
    "MB/s",
    "time vs inline",
    "time vs grpc-stream",
    "digests ok",
];
/// The columns that hold words; all others hold numbers and are set flush right.
const WORDS: [usize; 3] = [0, 2, 3];
/// Longest label of an object; of longer ones the end is shown, where paths differ.
const MAX_LABEL_CHARS: usize = 36;

/// A line under the header and nothing else.
pub(crate) const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Lays out the cells of a run, an empty line between objects.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        HEADER
            .iter()
            .enumerate()
            .map(|(column, text)| aligned(column, (*text).into())),
    );
    for (number, cell) in cells.iter().enumerate() {
        if number > 0 && is_first(cell) {
            table.add_row([""]);
        }
        table.add_row(
            row(cell, cells)
                .into_iter()
                .enumerate()
                .map(|(column, text)| aligned(column, text)),
        );
    }
    table.trim_fmt()
}

fn aligned(column: usize, text: String) -> Field {
    let is_word = WORDS.contains(&column);
    Field::new(text).set_alignment(if is_word {
        CellAlignment::Left
    } else {
        CellAlignment::Right
    })
}

/// Whether the object's block of rows begins here.
fn is_first(cell: &Cell) -> bool {
    cell.backend == Backend::ALL[0]
}

/// What the table's signs mean.
pub(crate) fn legend() -> String {
    format!(
        "transfer time from the call in the producer's code to the last byte in the consumer's; MB/s = 10^6 bytes per \
         second at the median;\np99 from 100 samples on; n/a: over the {} MiB of an inline body; !: not the path that \
         the settings imply",
        INLINE_BACKEND_LIMIT >> 20
    )
}

fn row(cell: &Cell, cells: &[Cell]) -> [String; 11] {
    let (label, size) = if is_first(cell) {
        (short(&cell.object), bytes(cell.size))
    } else {
        Default::default()
    };
    let Some(median_ns) = cell.median_ns else {
        let mut row: [String; 11] = Default::default();
        row[..4].clone_from_slice(&[label, size, name(cell.backend).into(), "n/a".into()]);
        return row;
    };
    let against = |backend| {
        let baseline = cells
            .iter()
            .find(|other| other.backend == backend && other.object == cell.object);
        let baseline = baseline
            .filter(|_| cell.backend != backend)
            .and_then(|other| other.median_ns);
        baseline.map(|ns| compared(median_ns, ns)).unwrap_or_default()
    };
    let mark = if cell.path_as_expected { "" } else { " !" };
    [
        label,
        size,
        name(cell.backend).into(),
        format!("{}{mark}", cell.path),
        cell.samples.to_string(),
        millis(median_ns),
        cell.p99_ns.map(millis).unwrap_or_default(),
        rate(cell.size, median_ns),
        against(Backend::Inline),
        against(Backend::GrpcStream),
        format!("{}/{}", cell.intact, cell.checked),
    ]
}

fn short(label: &str) -> String {
    let chars = label.chars().count();
    if chars <= MAX_LABEL_CHARS {
        return label.to_owned();
    }
    let end: String = label.chars().skip(chars - MAX_LABEL_CHARS + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        object::Object,
        sample::{PATH_DIRECT, PATH_STREAM, Sample},
    };

    fn sample(backend: Backend, transfer_ns: u64, path: &str) -> Sample {
        let (path, intact) = (path.into(), true);
        Sample {
            object: 0,
            backend,
            repetition: 0,
            warm_up: false,
            transfer_ns,
            e2e_ns: 0,
            path,
            intact,
        }
    }

    #[test]
    fn rows_compare_with_the_baselines_of_their_object() {
        let object = Object {
            label: "10 MB".into(),
            size: 10 << 20,
            file: None,
        };
        let samples = [
            sample(Backend::GrpcStream, 20_000_000, PATH_DIRECT),
            sample(Backend::XdtInvoke, 10_000_000, PATH_STREAM),
            sample(Backend::XdtPutGet, 40_000_000, "node"),
        ];
        let text = table(&Cell::all(&[object], &samples));
        let rows: Vec<_> = text.lines().filter(|line| !line.contains('─')).collect();
        assert_eq!(rows.len(), 5, "{text}");
        let has = |row: usize, words: &[&str]| words.iter().all(|word| rows[row].contains(word));
        assert!(has(1, &["10 MB", "10 485 760 B", "inline", "n/a"]), "{text}");
        assert!(has(2, &["grpc-stream", "direct", "20.000", "524", "1/1"]), "{text}");
        assert!(
            has(3, &["xdt invoke", "stream", "10.000", "1049", "2.00x faster"]),
            "{text}"
        );
        assert!(
            has(4, &["xdt put/get", "node !", "40.000", "262", "2.00x slower"]),
            "{text}"
        );
        assert_eq!(
            text.matches("x faster").count() + text.matches("x slower").count(),
            2,
            "{text}"
        );
    }

    #[test]
    fn long_labels_keep_their_end() {
        assert_eq!(short("short"), "short");
        let long = format!("{}/last.bin", "d".repeat(60));
        assert!(short(&long).starts_with('…') && short(&long).ends_with("/last.bin"));
        assert_eq!(short(&long).chars().count(), MAX_LABEL_CHARS);
    }
}
