//! The programs that a benchmark starts: they lie in the folder of `xdt-bench` itself (`CARGO_BIN_EXE_…` knows only the own
//! package's binaries); what is missing there is built first, with the same profile.

use std::{env, path::Path, process::Command, sync::Mutex};

pub(crate) const BENCH: &str = env!("CARGO_BIN_EXE_xdt-bench");

/// Builds those of `packages` whose programs are not beside `xdt-bench`; one caller at a time.
pub(crate) fn build(packages: &[&str]) {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _turn = BUILDING.lock().expect("no panic");
    let folder = Path::new(BENCH).parent().expect("a file lies in a folder");
    let missing = packages.iter().filter(|name| !folder.join(name).is_file());
    let missing: Vec<_> = missing.flat_map(|name| ["-p", name]).collect();
    if missing.is_empty() {
        return;
    }
    let profile = folder
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a profile's name");
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--profile", profile]).args(missing);
    assert!(
        build.status().expect("cargo runs").success(),
        "the siblings cannot be built"
    );
}
