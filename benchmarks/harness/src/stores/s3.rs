//! The storage baselines: rclone's S3 server with its data in memory, and, as its control, `s3s-fs` on a memory file
//! system (contract, section E: the first is labelled experimental by its makers, so the second says whether it is slow).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use xdt_patterns::storage::Endpoint;

use super::{install, process::Server};

/// A file system in memory, on every Linux.
const MEMORY: &str = "/dev/shm";

pub(super) async fn memory_server(tools: &Path) -> Result<(Server, String, String)> {
    let rclone = install::rclone(tools).await?;
    let version = install::output(Command::new(&rclone).arg("version")).context("rclone does not run")?;
    let keys = Endpoint::local("");
    let server = Server::start(|address| {
        let mut command = Command::new(&rclone);
        command.args(["serve", "s3", ":memory:", "--config", ""]);
        command.args(["--addr", &address.to_string()]);
        command.args(["--auth-key", &format!("{},{}", keys.access_key, keys.secret_key)]);
        command
    })
    .await?;
    make_bucket(&rclone, &Endpoint::local(&format!("http://{}", server.address())))?;
    let settings = "rclone serve s3 :memory:, SigV4, unsigned payload, bucket made before the run";
    let version = version.lines().next().unwrap_or_default().to_owned();
    Ok((server, version, settings.to_owned()))
}

fn make_bucket(rclone: &Path, endpoint: &Endpoint) -> Result<()> {
    let mut command = Command::new(rclone);
    command.args(["mkdir", "--config", "", &format!("bench:{}", endpoint.bucket)]);
    for (name, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &endpoint.url),
        ("ACCESS_KEY_ID", &endpoint.access_key),
        ("SECRET_ACCESS_KEY", &endpoint.secret_key),
    ] {
        command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
    }
    install::output(&mut command)
        .context("the bucket cannot be made")
        .map(drop)
}

/// Its files lie in a folder of this process's own, removed at the end.
pub(super) async fn file_server(tools: &Path) -> Result<(Server, String, String)> {
    let program = install::s3_control(tools).await?;
    let folder = PathBuf::from(MEMORY).join(format!("xdt-bench-s3-{}", std::process::id()));
    ensure!(Path::new(MEMORY).is_dir(), "{MEMORY} does not exist");
    let keys = Endpoint::local("");
    fs::create_dir_all(folder.join(&keys.bucket)).with_context(|| folder.display().to_string())?;
    let version = install::output(Command::new(&program).arg("--version")).context("s3-control does not run")?;
    let server = Server::start(|address| {
        let mut command = Command::new(&program);
        command.args(["--listen", &address.to_string(), "--access-key", &keys.access_key]);
        command.args(["--secret-key", &keys.secret_key]).arg(&folder);
        command
    });
    let settings = format!("s3s-fs on {MEMORY}, TCP_NODELAY, SigV4, unsigned payload");
    Ok((server.await?.owning(folder), version, settings))
}
