//! What the demo says: the table, one reference, the memory that came back; and the same as JSON.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    Args,
    measure::{Left, Measured},
};
use crate::{
    machine::Machine,
    object::Object,
    sample::{Cell, Sample},
    table::{legend, table},
};

/// Prints what people read.
pub(crate) fn print(objects: &[Object], measured: &Measured) {
    println!("{}\n{}", table(&Cell::all(objects, &measured.samples)), legend());
    match &measured.reference {
        Some(reference) => println!("one reference that travelled in place of its bytes: {reference}"),
        None => println!("no reference travelled"),
    }
    let Left { held, bytes } = measured.left;
    if held == 0 && bytes == 0 {
        println!("held bytes returned to zero: both sidecars hold 0 objects, 0 bytes");
    } else {
        println!("held bytes did not return to zero: the sidecars hold {held} objects, {bytes} bytes");
    }
}

/// The JSON file: enough to make the table again, and to make another one.
#[derive(Debug, Serialize)]
struct Results<'a> {
    /// Unix time, in seconds.
    ended_at: u64,
    version: &'static str,
    machine: &'a Machine,
    seed: u64,
    seconds: u64,
    objects: &'a [Object],
    summary: Vec<Cell>,
    left: Left,
    samples: &'a [Sample],
}

/// Writes every sample and the summary to `path`.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(
    path: &Path,
    machine: &Machine,
    args: &Args,
    objects: &[Object],
    measured: &Measured,
) -> Result<()> {
    let results = Results {
        ended_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs()),
        version: env!("CARGO_PKG_VERSION"),
        machine,
        seed: args.seed,
        seconds: args.seconds,
        objects,
        summary: Cell::all(objects, &measured.samples),
        left: measured.left,
        samples: &measured.samples,
    };
    let cannot = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(cannot)?);
    serde_json::to_writer_pretty(&mut file, &results).with_context(cannot)?;
    file.flush().with_context(cannot)
}
