//! The binary: signals, exit codes, the command beside the cluster.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::world::{PATIENCE, example, read, runs, sidecar, until, until_gone};

/// A cluster file in a folder of its own, with the functions' program beside it.
struct Folder {
    folder: TempDir,
}

impl Folder {
    fn new(arguments: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(example("echo-function"), folder.path().join("echo")).unwrap();
        let yaml = format!(
            "ingress: 127.0.0.1:0\naddress-base: any\nfunctions:\n  - name: echo\n    command: [./echo, {arguments}]\n"
        );
        std::fs::write(folder.path().join("cluster.yaml"), yaml).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("cluster.yaml")
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn endpoints(&self) -> PathBuf {
        self.run_dir().join("endpoints.json")
    }

    /// `xdt-cluster run` with `more` arguments.
    fn run(&self, more: &[&str]) -> Child {
        let mut command = xdt_cluster();
        command
            .arg("run")
            .arg(self.file())
            .arg("--sidecar")
            .arg(sidecar())
            .arg("--run-dir")
            .arg(self.run_dir());
        command.args(more).spawn().unwrap()
    }

    fn user_pid(&self) -> u32 {
        self.pid_of(&example("echo-function"))
    }

    /// The process of `program` that knows this folder as its own.
    fn pid_of(&self, program: &Path) -> u32 {
        let here = self.folder.path().canonicalize().unwrap();
        let program = program.canonicalize().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let link = |id: u32, name: &str| std::fs::read_link(format!("/proc/{id}/{name}")).ok();
        ids.find(|&id| link(id, "cwd").as_ref() == Some(&here) && link(id, "exe").as_ref() == Some(&program))
            .unwrap()
    }
}

fn xdt_cluster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdt-cluster"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(child: Child) -> (Output, String) {
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, told)
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

#[tokio::test]
async fn each_signal_ends_everything_with_success() {
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = Folder::new("");
        let child = folder.run(&["--grace", "200ms"]);
        until("endpoints.json", || folder.endpoints().exists()).await;
        let pids = [folder.user_pid(), folder.pid_of(&sidecar())];
        let endpoints: serde_json::Value = serde_json::from_str(&read(&folder.endpoints())).unwrap();
        let instance = &endpoints["functions"]["echo"]["instances"][0];
        let pod = instance["pod"].as_str().unwrap().to_owned();
        assert_eq!(
            instance["serving"],
            format!("{}:8012", instance["address"].as_str().unwrap())
        );
        signal(&child, kind);
        let (output, told) = output(child).await;
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(
            told.contains("is ready after") && told.contains("http://echo.default.localhost:"),
            "{told}"
        );
        assert!(!pids.iter().any(|&pid| runs(pid)));
        assert!(folder.run_dir().join(format!("{pod}.user.log")).exists());
        assert!(folder.run_dir().join(format!("{pod}.sidecar.log")).exists());
    }
}

#[tokio::test]
async fn a_second_signal_kills_at_once() {
    let folder = Folder::new("stubborn");
    let mut child = folder.run(&["--grace", "1h"]);
    until("endpoints.json", || folder.endpoints().exists()).await;
    let user = folder.user_pid();
    signal(&child, Signal::INT);
    // The ingress's block is given up last, so wait for what is seen: the line that announces the stop.
    let mut told = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("stopping") {
        line.clear();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut told, &mut line);
        assert!(
            timeout(PATIENCE, read).await.unwrap().unwrap() > 0,
            "ended without a word"
        );
    }
    signal(&child, Signal::INT);
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    until_gone(&[user]).await;
}

#[tokio::test]
async fn a_command_runs_beside_the_cluster_and_lends_its_status() {
    let folder = Folder::new("");
    let script = "echo $XDT_CLUSTER_INGRESS; cat $XDT_CLUSTER_ENDPOINTS; exit 5";
    let (output, told) = output(folder.run(&["--grace", "200ms", "--", "sh", "-c", script])).await;
    assert_eq!(output.status.code(), Some(5), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (ingress, endpoints) = said.split_once('\n').unwrap();
    let endpoints: serde_json::Value = serde_json::from_str(endpoints).unwrap();
    assert_eq!(endpoints["ingress"], ingress);
}

#[tokio::test]
async fn a_failed_start_has_another_code_and_the_log() {
    let folder = Folder::new("fail");
    let (output, told) = output(folder.run(&[])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("the function ended before it was ready") && told.contains("| complaint 30"),
        "{told}"
    );
}

#[tokio::test]
async fn check_tells_all_faults_with_their_lines() {
    let folder = Folder::new("");
    let good = xdt_cluster().arg("check").arg(folder.file()).output().await.unwrap();
    assert_eq!(good.status.code(), Some(0));
    std::fs::write(
        folder.file(),
        "ingres: x\nfunctions:\n  - name: echo\n    max-instances: 0\n",
    )
    .unwrap();
    let bad = xdt_cluster().arg("check").arg(folder.file()).output().await.unwrap();
    let told = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        told.contains("line 1: ingres: unknown field") && told.contains("line 4: functions[0].max-instances"),
        "{told}"
    );
}
