//! The measuring subcommands as a user runs them: the built binary, real functions, real sidecars; only smaller.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::siblings::{self, BENCH};

/// Backends that every machine has; stores are tested where they can be installed.
const OWN: &str = "inline,xdt-sf,xdt-ct,xdt-auto,grpc-stream,tcp";

fn bench(args: &[&str]) -> Output {
    siblings::build(&["xdt-queue-proxy", "xdt-patterns"]);
    Command::new(BENCH).args(args).output().expect("xdt-bench runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run_json(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap()
}

fn rows(folder: &Path, name: &str) -> usize {
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    text.lines().count() - 1
}

#[test]
fn a_small_demo_measures_every_backend_and_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out_arg = out.to_str().unwrap();
    let args = [
        "demo",
        "--sizes",
        "10KB,1MB",
        "--repetitions",
        "3",
        "--warm-ups",
        "1",
        "--backends",
        OWN,
        "--out",
        out_arg,
    ];
    let output = bench(&args);
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    for word in [
        "machine: ",
        "inline",
        "grpc-stream",
        "xdt-sf",
        "xdt-auto",
        "10 KB",
        "1 MB",
        "stream",
        "direct",
        "4/4",
        "report.html",
    ] {
        assert!(printed.contains(word), "no {word:?} in\n{printed}\n{errors}");
    }
    let run = run_json(&out);
    let cells = run["cells"].as_array().unwrap();
    assert_eq!(
        (cells.len(), rows(&out, "samples.csv"), rows(&out, "summary.csv")),
        (12, 2 * 6 * 4, 12)
    );
    assert!(
        cells
            .iter()
            .all(|cell| cell["invalid"].is_null() && cell["intact"] == 4),
        "{cells:#?}"
    );
    assert_eq!(run["complete"], true);
    for size in [10_240, 1_048_576] {
        let of = cells.iter().filter(|cell| cell["size_bytes"] == size);
        let digests: std::collections::BTreeSet<_> = of.map(|cell| cell["digest"].to_string()).collect();
        assert_eq!(digests.len(), 1, "all backends delivered the same bytes");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("fig-6-3-a") && page.contains("xdt-auto"));

    let samples = std::fs::read(out.join("samples.csv")).unwrap();
    assert!(bench(&args).status.success());
    assert_eq!(
        std::fs::read(out.join("samples.csv")).unwrap(),
        samples,
        "finished cells are not measured twice"
    );
    let other = bench(&[
        "demo",
        "--sizes",
        "10KB",
        "--seed",
        "7",
        "--backends",
        "inline",
        "--out",
        out_arg,
    ]);
    assert!(!other.status.success() && text(&other.stderr).contains("another run"));
}

#[test]
fn patterns_move_every_object_to_its_consumer() {
    let folder = tempfile::tempdir().unwrap();
    for pattern in ["gather", "scatter", "broadcast"] {
        let out = folder.path().join(pattern);
        let output = bench(&[
            pattern,
            "--sizes",
            "10KB",
            "--degrees",
            "3",
            "--repetitions",
            "2",
            "--warm-ups",
            "1",
            "--backends",
            "inline,xdt-ct",
            "--out",
            out.to_str().unwrap(),
        ]);
        assert!(
            output.status.success(),
            "{pattern}\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let run = run_json(&out);
        let cells = run["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 2);
        assert_eq!(cells[0]["digest"], cells[1]["digest"], "{cells:#?}");
        let gone = cells[1]["gone"].as_u64().unwrap();
        assert_eq!(gone, if pattern == "broadcast" { 3 } else { 0 });
        assert_eq!(
            rows(&out, "transfers.csv"),
            2 * 3,
            "each retrieval that counts has its row"
        );
    }
}

#[test]
fn the_users_files_travel() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::create_dir(&input).unwrap();
    std::fs::write(input.join("notes.txt"), "short").unwrap();
    std::fs::write(input.join("large.bin"), vec![3; 5 << 20]).unwrap();
    let out = folder.path().join("run");
    let output = bench(&[
        "demo",
        "--repetitions",
        "1",
        "--backends",
        "inline,xdt-auto,tcp",
        "--input",
        input.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", text(&output.stderr));
    for word in ["notes.txt", "large.bin"] {
        assert!(printed.contains(word), "no {word:?} in\n{printed}");
    }
    assert_eq!(
        run_json(&out)["cells"].as_array().unwrap().len(),
        3 + 2,
        "five MiB do not go inline"
    );
}

#[test]
fn what_cannot_be_measured_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    for (args, word) in [
        (vec!["demo", "--input", empty], "no file with bytes"),
        (vec!["demo", "--backends", "carrier-pigeon"], "xdt-auto"),
        (vec!["gather", "--degrees", "0"], "1 to 64"),
        (vec!["one-to-one", "--degrees", "2"], "the degree is 1"),
        (vec!["report", empty], "run.json"),
    ] {
        let output = bench(&args);
        assert!(!output.status.success());
        let errors = text(&output.stderr);
        assert!(errors.contains(word), "{args:?}: {errors}");
    }
}
