//! `xdt-bench cost` as a user runs it, only shorter: every scenario is measured and nothing fails. No time is asserted:
//! figures of a debug build on a busy machine mean nothing.

use std::process::{Command, Output};

use serde_json::Value;

use crate::siblings::{self, BENCH};

fn cost(args: &[&str]) -> Output {
    siblings::build(&["xdt-queue-proxy"]);
    Command::new(BENCH)
        .arg("cost")
        .args(args)
        .output()
        .expect("xdt-bench runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_short_run_measures_every_scenario_with_and_without_a_key_ring() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("cost.json");
    let json_arg = json.to_str().unwrap();
    let output = cost(&["--seconds", "1", "--connections", "8", "--json", json_arg]);
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    for word in [
        "machine: ",
        "http/1.1 one by one",
        "http/1.1 loaded",
        "h2c loaded",
        "1 MB up",
        "64 MB down",
        "xdt-queue-proxy + key ring",
        "not measured here",
    ] {
        assert!(printed.contains(word), "no {word:?} in\n{printed}\n{errors}");
    }
    let results: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let (loads, slices) = (list(&results["summary"]["loads"]), list(&results["slices"]));
    let processes = list(&results["summary"]["processes"]);
    assert_eq!((loads.len(), slices.len(), processes.len()), (2 * 8, 2 * 8, 2));
    let positive = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
    for load in &loads {
        assert!(
            positive(&load["requests"]) && positive(&load["cpu_us_per_request"]),
            "{load}"
        );
        assert!(
            positive(&load["through"]["median_us"]) && positive(&load["direct"]["median_us"]),
            "{load}"
        );
        assert_eq!(
            positive(&load["cpu_ms_per_gb"]),
            load["scenario"].as_str().unwrap().contains("MB"),
            "{load}"
        );
    }
    for process in &processes {
        assert!(
            positive(&process["start_median_ms"]) && positive(&process["rss_mib"][2]),
            "{process}"
        );
    }
}

#[test]
fn what_cannot_be_measured_is_named() {
    for (args, words) in [
        (["--binary", "/no/such/queue"], ["/no/such/queue", "no such file"]),
        (["--binary", "/bin/false"], ["false", "does not serve requests"]),
        (["--scenario", "telepathy"], ["telepathy", "h2c loaded"]),
    ] {
        let output = cost(&args);
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(words.iter().all(|word| errors.contains(word)), "{errors}");
    }
}
