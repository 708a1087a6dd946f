//! The demo as a user runs it: the built binary, real functions, real sidecars; only smaller.

use std::process::{Command, Output};

use serde_json::Value;

use crate::siblings::{self, BENCH};

fn demo(args: &[&str]) -> Output {
    siblings::build(&["xdt-queue-proxy", "xdt-patterns"]);
    Command::new(BENCH)
        .arg("demo")
        .args(args)
        .output()
        .expect("xdt-bench runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_small_demo_measures_every_backend_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("demo.json");
    let output = demo(&[
        "--sizes",
        "10KB,1MB",
        "--repetitions",
        "3",
        "--seconds",
        "60",
        "--json",
        json.to_str().unwrap(),
    ]);
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    for word in [
        "machine: ",
        "inline",
        "grpc-stream",
        "xdt invoke",
        "xdt put/get",
        "10 KB",
        "1 MB",
        "stream",
        "8/8",
    ] {
        assert!(printed.contains(word), "no {word:?} in\n{printed}\n{errors}");
    }
    assert!(printed.contains("bytes: xdt1."), "{printed}");
    assert!(printed.contains("held bytes returned to zero"), "{printed}");
    assert!(!printed.contains(" ! "), "another path than expected:\n{printed}");

    let results: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let (cells, samples) = (
        results["summary"].as_array().unwrap(),
        results["samples"].as_array().unwrap(),
    );
    assert_eq!((cells.len(), samples.len()), (8, 2 * 4 * 8));
    assert!(
        samples
            .iter()
            .all(|sample| sample["intact"] == true && sample["transfer_ns"].as_u64() > Some(0))
    );
    assert!(
        cells
            .iter()
            .all(|cell| cell["samples"] == 3 && cell["path_as_expected"] == true),
        "{cells:#?}"
    );
    assert_eq!(results["left"]["bytes"], 0);
}

#[test]
fn the_users_files_travel() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "short").unwrap();
    std::fs::write(folder.path().join("large.bin"), vec![3; 5 << 20]).unwrap();
    let output = demo(&["--repetitions", "1", "--input", folder.path().to_str().unwrap()]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", text(&output.stderr));
    for word in ["/notes.txt", "/large.bin", "n/a"] {
        assert!(printed.contains(word), "no {word:?} in\n{printed}");
    }
}

#[test]
fn an_input_that_cannot_be_sent_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&["--input", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains(folder.path().to_str().unwrap()) && errors.contains("no file with bytes"),
        "{errors}"
    );
}
