//! What the thesis says, to be printed beside our figures (contract, A.6). Other machine, other network, real S3: these
//! are for comparison of shapes and ratios, never of milliseconds.

/// Where all of them were measured.
pub(crate) const PLATFORM: &str = "one m5.metal (96 hardware threads, 384 GB), Knative 0.23, Istio, real S3, us-west-1";

/// One published figure of one column of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) text: &'static str,
    pub(crate) section: &'static str,
}

const KB10: u64 = 10 << 10;
const MB1: u64 = 1 << 20;
const MB10: u64 = 10 << 20;
const MB100: u64 = 100 << 20;

/// The figure for a cell, if there is one.
pub(crate) fn of(pattern: &str, backend: &str, size: u64, degree: usize) -> Option<Published> {
    let (text, section) = match (pattern, backend, size, degree) {
        ("one-to-one", "xdt-sf", KB10, _) => ("3.2x lower latency than S3", "6.6.1.1"),
        ("one-to-one", "xdt-sf", MB100, _) => ("5.6x lower latency than S3; 306 MB/s", "6.6.1.1"),
        ("one-to-one", "s3", MB100, _) => ("117 MB/s", "6.6.1.1"),
        ("one-to-one", "xdt-ct", KB10, _) => ("1.1x faster than SF; 3.6-15.7x lower latency than S3", "6.6.1.1"),
        ("one-to-one", "xdt-ct", MB1, _) => ("median 8.9x, p99 6.5x lower than S3", "6.6.2.1"),
        ("one-to-one", "xdt-ct", MB100, _) => ("855 MB/s, 2.8x faster than SF", "6.6.1.1"),
        ("one-to-one", "grpc-stream", MB100, _) => ("13 % above XDT's 855 MB/s", "6.6.1.1"),
        ("one-to-one", "inline", KB10 | 102_400, _) => ("1.9-3.8x faster than XDT", "6.6.1.1"),
        ("gather", "xdt-ct", KB10, _) => ("5.6-9.3x lower latency than S3; up to 11.8 MB/s", "6.6.2.2"),
        ("gather", "s3", KB10, _) => ("up to 2.1 MB/s", "6.6.2.2"),
        ("gather", "xdt-ct", MB10, _) => ("8.2-12.3x lower latency than S3; up to 2175 MB/s", "6.6.2.2"),
        ("gather", "s3", MB10, _) => ("up to 230 MB/s", "6.6.2.2"),
        ("scatter", "xdt-ct", KB10, _) => ("1.8-3.7x lower latency than S3; 0.5-3.6 MB/s", "6.6.2.3"),
        ("scatter", "s3", KB10, _) => ("0.1-2.1 MB/s", "6.6.2.3"),
        ("scatter", "xdt-ct", MB10, 1..=4) => ("10.9-11.6x lower latency than S3", "6.6.2.3"),
        ("scatter", "xdt-ct", MB10, 5..=16) => ("2.4-4.9x lower latency than S3", "6.6.2.3"),
        ("scatter", "xdt-ct", MB10, _) => ("as S3 (bottleneck not explained)", "6.6.2.3"),
        ("broadcast", "xdt-ct", KB10, _) => ("2.6-6.3x lower latency than S3", "6.6.2.4"),
        ("broadcast", "xdt-ct", MB10, _) => ("2.6-6.3x lower latency than S3; up to 3331 MB/s", "6.6.2.4"),
        ("broadcast", "s3", MB10, _) => ("up to 590 MB/s", "6.6.2.4"),
        _ => return None,
    };
    Some(Published { text, section })
}
