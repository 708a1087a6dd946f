//! What was measured, one line per transfer, and what a table cell makes of it.

use std::collections::BTreeSet;

use serde::Serialize;
use xdt_patterns::messages::Backend;

use crate::{object::Object, statistics::Sorted, text::megabytes_per_second};

/// Largest body of the `inline` backend: gRPC's default message limit, the published "under 4 MB".
pub(crate) const INLINE_BACKEND_LIMIT: u64 = 4 << 20;
/// Default of `XDT_INLINE_LIMIT`: up to this size, `invoke` sends the body inline by itself.
const XDT_INLINE_LIMIT: u64 = 64 << 10;

/// The path of a plain request through ingress and sidecar, by name in the table.
pub(crate) const PATH_INLINE: &str = "inline";
/// The path of an object through the data plane between two sidecars.
pub(crate) const PATH_STREAM: &str = "stream";
/// The path from process to process, without a sidecar.
pub(crate) const PATH_DIRECT: &str = "direct";

/// What tables and files call a backend.
pub(crate) const fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Inline => "inline",
        Backend::GrpcStream => "grpc-stream",
        Backend::XdtInvoke => "xdt invoke",
        Backend::XdtPutGet => "xdt put/get",
    }
}

/// The path that a transfer of `size` bytes should take with default settings.
pub(crate) const fn expected_path(backend: Backend, size: u64) -> &'static str {
    match backend {
        Backend::GrpcStream => PATH_DIRECT,
        Backend::Inline => PATH_INLINE,
        Backend::XdtInvoke if size <= XDT_INLINE_LIMIT => PATH_INLINE,
        Backend::XdtInvoke | Backend::XdtPutGet => PATH_STREAM,
    }
}

/// Whether a backend can take an object of `size` bytes.
pub(crate) const fn takes(backend: Backend, size: u64) -> bool {
    !matches!(backend, Backend::Inline) || size <= INLINE_BACKEND_LIMIT
}

/// One transfer. Times are nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Number of the object in the run.
    pub(crate) object: usize,
    /// What moved the bytes.
    pub(crate) backend: Backend,
    /// Number of the block; also chooses the bytes of a seeded object.
    pub(crate) repetition: u64,
    /// Left out of the times, though not of the check.
    pub(crate) warm_up: bool,
    /// From the start of the call in the producer's user code to the last byte in the consumer's.
    pub(crate) transfer_ns: u64,
    /// The driver's clock around the whole, less what the functions spent on preparing and hashing.
    pub(crate) e2e_ns: u64,
    /// What the sidecars' counters say.
    pub(crate) path: String,
    /// Whether length and digest at the consumer are those of the object.
    pub(crate) intact: bool,
}

/// One object by one backend.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    /// Label of the object.
    pub(crate) object: String,
    /// Its bytes.
    pub(crate) size: u64,
    /// What moved them.
    pub(crate) backend: Backend,
    /// Paths taken, warm-ups included; more than one name if they differed.
    pub(crate) path: String,
    /// Whether that is the one path that the settings imply. If not, the times do not speak for the backend.
    pub(crate) path_as_expected: bool,
    /// Transfers that the times are from.
    pub(crate) samples: usize,
    /// Median of the transfer times.
    pub(crate) median_ns: Option<u64>,
    /// 99th percentile of the transfer times, from 100 samples on.
    pub(crate) p99_ns: Option<u64>,
    /// Median of the end-to-end times.
    pub(crate) e2e_median_ns: Option<u64>,
    /// Size by median transfer time, in 10^6 bytes per second.
    pub(crate) megabytes_per_second: Option<f64>,
    /// Transfers that arrived as they should, warm-ups included.
    pub(crate) intact: usize,
    /// Transfers that were checked: all of them.
    pub(crate) checked: usize,
}

impl Cell {
    /// Sums up the samples of object `number` by `backend`; without samples, a cell that says `n/a`.
    pub(crate) fn of(number: usize, object: &Object, backend: Backend, samples: &[Sample]) -> Self {
        let own: Vec<_> = samples
            .iter()
            .filter(|s| s.object == number && s.backend == backend)
            .collect();
        let timed = |time: fn(&Sample) -> u64| {
            Sorted::new(
                own.iter()
                    .filter(|sample| !sample.warm_up)
                    .map(|sample| time(sample))
                    .collect(),
            )
        };
        let paths: BTreeSet<_> = own.iter().map(|sample| sample.path.as_str()).collect();
        let transfer = timed(|sample| sample.transfer_ns);
        let median_ns = transfer.median();
        Self {
            object: object.label.clone(),
            size: object.size,
            backend,
            path: paths.iter().copied().collect::<Vec<_>>().join(", "),
            path_as_expected: paths.iter().all(|path| *path == expected_path(backend, object.size)),
            samples: transfer.len(),
            median_ns,
            p99_ns: transfer.p99(),
            e2e_median_ns: timed(|sample| sample.e2e_ns).median(),
            megabytes_per_second: median_ns.map(|ns| megabytes_per_second(object.size, ns)),
            intact: own.iter().filter(|sample| sample.intact).count(),
            checked: own.len(),
        }
    }

    /// The cells of a run, row by row of its table.
    pub(crate) fn all(objects: &[Object], samples: &[Sample]) -> Vec<Self> {
        let rows = objects.iter().enumerate();
        rows.flat_map(|(number, object)| Backend::ALL.map(|backend| Self::of(number, object, backend, samples)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(size: u64) -> Object {
        Object {
            label: "object".into(),
            size,
            file: None,
        }
    }

    fn sample(transfer_ns: u64, path: &str) -> Sample {
        Sample {
            object: 0,
            backend: Backend::XdtInvoke,
            repetition: 0,
            warm_up: false,
            transfer_ns,
            e2e_ns: transfer_ns * 2,
            path: path.into(),
            intact: true,
        }
    }

    #[test]
    fn warm_ups_are_checked_and_not_timed() {
        let mut samples: Vec<_> = [30, 10, 20].map(|ns| sample(ns * 1000, PATH_STREAM)).into();
        samples.push(Sample {
            warm_up: true,
            intact: false,
            ..sample(9, PATH_STREAM)
        });
        samples.push(Sample {
            backend: Backend::Inline,
            ..sample(1, PATH_INLINE)
        });
        samples.push(Sample {
            object: 1,
            ..sample(1, PATH_STREAM)
        });
        let cell = Cell::of(0, &object(1 << 20), Backend::XdtInvoke, &samples);
        assert_eq!(
            (cell.samples, cell.median_ns, cell.e2e_median_ns),
            (3, Some(20_000), Some(40_000))
        );
        assert_eq!((cell.intact, cell.checked), (3, 4));
        assert!(cell.path_as_expected);
    }

    #[test]
    fn another_path_marks_the_cell() {
        let samples = [sample(1, PATH_STREAM), sample(1, "node")];
        let cell = Cell::of(0, &object(1 << 20), Backend::XdtInvoke, &samples);
        assert_eq!(cell.path, "node, stream");
        assert!(!cell.path_as_expected);
    }

    #[test]
    fn the_expected_path_follows_the_limits() {
        assert_eq!(expected_path(Backend::XdtInvoke, 64 << 10), PATH_INLINE);
        assert_eq!(expected_path(Backend::XdtInvoke, (64 << 10) + 1), PATH_STREAM);
        assert_eq!(expected_path(Backend::XdtPutGet, 1), PATH_STREAM);
        assert!(takes(Backend::Inline, 4 << 20) && !takes(Backend::Inline, (4 << 20) + 1));
        assert!(takes(Backend::GrpcStream, u64::MAX));
    }

    #[test]
    fn a_cell_without_samples_has_no_numbers() {
        let cell = Cell::of(0, &object(5 << 20), Backend::Inline, &[]);
        assert_eq!((cell.samples, cell.checked, cell.median_ns), (0, 0, None));
        assert_eq!(Cell::all(&[object(1), object(2)], &[]).len(), 8);
    }
}
