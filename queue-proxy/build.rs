//! Tells the program which revision of the source it is built from, as `XDT_COMMIT`: 7 characters, `-dirty` when files
//! differ. From the variable of that name (container builds, which have no repository), else from git; neither: nothing,
//! and the program then does without.

use std::{path::Path, process::Command};

/// As long as Go's `vcs.revision` is written by Knative.
const LENGTH: usize = 7;

fn main() {
    println!("cargo:rerun-if-env-changed=XDT_COMMIT");
    println!("cargo:rerun-if-changed=src");
    let given = std::env::var("XDT_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(commit) {
        println!("cargo:rustc-env=XDT_COMMIT={commit}");
    }
}

fn commit() -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let root = git(&["rev-parse", "--show-toplevel"])?;
    // A source archive unpacked inside somebody else's repository has no revision of ours.
    if Path::new(&root).canonicalize().ok()? != workspace.canonicalize().ok()? {
        return None;
    }
    for moved in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", moved])?;
        println!(
            "cargo:rerun-if-changed={}",
            workspace.join("queue-proxy").join(path).display()
        );
    }
    let revision = git(&["rev-parse", "HEAD"])?;
    let short = revision.get(..LENGTH)?;
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    Some(if changed {
        format!("{short}-dirty")
    } else {
        short.to_owned()
    })
}

/// What git says; `None` when it is not there or does not know.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .output()
        .ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
