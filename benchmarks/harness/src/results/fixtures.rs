//! A small run for tests of whatever reads results.

use super::{CellFacts, LAYOUT, OK, Run, Sample};
use crate::calibrate::Calibration;

pub(crate) fn run() -> Run {
    Run {
        layout: LAYOUT,
        run_id: "r1".into(),
        profile: "quick".into(),
        command: vec!["xdt-bench".into()],
        seed: 1,
        commit: "c".into(),
        versions: Default::default(),
        machine: crate::machine::Machine::read(),
        load_average: "0 0 0".into(),
        stores: Vec::new(),
        left_out: Vec::new(),
        sidecars: Default::default(),
        started: "2026-01-01T00:00:00Z".into(),
        ended: String::new(),
        complete: false,
        overhead: None,
        calibrations: vec![Calibration { hash_ns: 1, copy_ns: 1 }],
        drifted: Vec::new(),
        cells: Vec::new(),
    }
}

pub(crate) fn facts(backend: &str) -> CellFacts {
    CellFacts {
        cell: "microbenchmark/one-to-one/1 MB/1".into(),
        experiment: "microbenchmark".into(),
        pattern: "one-to-one".into(),
        backend: backend.into(),
        object: "1 MB".into(),
        size_bytes: 1 << 20,
        degree: 1,
        paths: vec!["stream".into()],
        ..CellFacts::default()
    }
}

pub(crate) fn sample(backend: &str, rep: u64, e2e_ns: u64, warmup: bool) -> Sample {
    Sample {
        run_id: "r1".into(),
        experiment: "microbenchmark".into(),
        pattern: "one-to-one".into(),
        backend: backend.into(),
        size_bytes: 1 << 20,
        degree: 1,
        chain: 1,
        burst_id: 0,
        rep,
        warmup,
        cold: false,
        scheduled_ns: 5,
        sent_ns: 5,
        received_ns: 5 + e2e_ns,
        e2e_ns,
        transfer_ns: e2e_ns / 2,
        put_ns: 0,
        get_ns: 0,
        bytes: 1 << 20,
        path: "stream".into(),
        outcome: OK.into(),
    }
}
