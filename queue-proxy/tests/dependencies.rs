//! Dependencies point one way, and the sidecar stays light: asserted over `cargo metadata`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Crates that the sidecar does without, and why.
const TOO_HEAVY: [(&str, &str); 5] = [
    ("tonic", "copies each message twice; bulk data is framed by hand"),
    ("axum", "a router for functions, not for a proxy"),
    ("reqwest", "hyper is there already"),
    ("openssl", "TLS is rustls"),
    ("regex", "nothing here is matched by patterns"),
];

/// Names of the crates that each crate uses in its product (no tests, no build scripts).
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    // Of this platform only: what others need was not downloaded to build this.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &platform])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let used = graph.entry(names[node["id"].as_str().unwrap()].to_owned()).or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                used.insert(names[dependency["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    graph
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way_and_the_sidecar_stays_light() {
    let graph = graph();
    let ours = |from: &str| -> Vec<String> {
        reachable(&graph, from)
            .into_iter()
            .filter(|name| name == "xdt" || name.starts_with("xdt-"))
            .collect()
    };
    assert_eq!(ours("xdt-proto"), [""; 0]);
    assert_eq!(ours("xdt-objects"), ["xdt-proto"]);
    assert_eq!(ours("xdt-gotemplate"), [""; 0]);
    assert_eq!(
        ours("xdt-queue-proxy"),
        ["xdt-gotemplate", "xdt-objects", "xdt-proto", "xdt-shm"]
    );
    assert_eq!(ours("xdt-shm"), ["xdt-proto"]);
    assert_eq!(ours("xdt"), ["xdt-proto", "xdt-shm"]);
    assert_eq!(ours("xdt-python"), ["xdt", "xdt-proto", "xdt-shm"]);
    let sidecar = reachable(&graph, "xdt-queue-proxy");
    for (name, reason) in TOO_HEAVY {
        assert!(!sidecar.contains(name), "{name} has come into the sidecar; {reason}");
    }
    assert!(
        !reachable(&graph, "xdt-objects").contains("tokio"),
        "the pure core knows no runtime"
    );
}
