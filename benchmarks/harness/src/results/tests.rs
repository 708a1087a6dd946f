//! A result folder written, read, taken up.

use super::*;
use fixtures::{facts, run, sample};

#[test]
fn headers_are_those_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = Results::open(folder.path(), run()).unwrap();
    let transfer = Transfer {
        run_id: "r1".into(),
        trace_id: String::new(),
        reference_digest: "d".into(),
        bytes: 1,
        retrieval: 0,
        path: "stream".into(),
        queued_ns: 1,
        started_ns: 2,
        first_byte_ns: None,
        done_ns: 3,
        outcome: OK.into(),
    };
    let samples = vec![sample("xdt-ct", 0, 1_000_000, false)];
    results.add(vec![facts("xdt-ct")], samples, vec![transfer]).unwrap();
    let header = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        header(SAMPLES),
        "run_id,experiment,pattern,backend,size_bytes,degree,chain,burst_id,rep,warmup,cold,scheduled_ns,sent_ns,\
         received_ns,e2e_ns,transfer_ns,put_ns,get_ns,bytes,path,outcome"
    );
    assert_eq!(
        header(SUMMARY),
        "run_id,experiment,pattern,backend,size_bytes,degree,chain,n,errors,mean_ms,sd_ms,min_ms,p50_ms,p90_ms,\
         p99_ms,max_ms,ci_lo_ms,ci_hi_ms,tmr,mr,tr,bw_mean_mbs,bw_median_mbs,cpu_user_s,cpu_sidecar_s,rss_sidecar_mb,\
         published,published_section"
    );
    assert_eq!(
        header(TRANSFERS),
        "run_id,trace_id,reference_digest,bytes,retrieval,path,queued_ns,started_ns,first_byte_ns,done_ns,outcome"
    );
}

#[test]
fn a_folder_reads_back_and_its_cells_are_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = Results::open(folder.path(), run()).unwrap();
    let samples = (0..4)
        .map(|rep| sample("xdt-ct", rep, (rep + 1) * 1_000_000, rep == 0))
        .collect();
    results.add(vec![facts("xdt-ct")], samples, Vec::new()).unwrap();
    let again = Results::open(folder.path(), run()).unwrap();
    assert!(again.finished().contains("microbenchmark/one-to-one/1 MB/1"));
    assert_eq!(again.samples, results.samples);
    let summary = &again.summaries()[0];
    assert_eq!((summary.n, summary.errors, summary.p50_ms), (3, 0, Some(3.0)));
    assert_eq!((summary.mean_ms, summary.p99_ms), (Some(3.0), None));
    assert_eq!(summary.bw_mean_mbs, Some(349.5253));
    let other = Run { seed: 2, ..run() };
    assert!(Results::open(folder.path(), other).is_err());
}

#[test]
fn warm_ups_and_wrong_bytes_are_not_timed() {
    let bad = Sample {
        outcome: WRONG.into(),
        ..sample("xdt-ct", 1, 9_000_000, false)
    };
    let (warm, good) = (
        sample("xdt-ct", 0, 5_000_000, true),
        sample("xdt-ct", 2, 1_000_000, false),
    );
    let summary = Summary::of("r1", &facts("xdt-ct"), &[&warm, &bad, &good]);
    assert_eq!((summary.n, summary.errors, summary.max_ms), (1, 1, Some(1.0)));
}
