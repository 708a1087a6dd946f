//! A real sidecar: one process with a clean environment on a loopback address of its own.

mod api;
mod builder;

use std::{
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    address::{ADMIN, DATA, EGRESS, LOCAL, Lease, METRICS, PROFILING, SERVING, STATS, TLS},
    http::Pool,
    log::Rules,
    wait::{eventually, eventually_within},
};
pub use api::Status;
pub use builder::Builder;

/// Files in its folder that take what it writes to stderr and to stdout.
const LOG: &str = "log";
const STDOUT: &str = "stdout";

/// A running sidecar; killed when dropped, and then its log is checked.
pub struct Sidecar {
    child: Child,
    lease: Lease,
    folder: TempDir,
    command: Vec<OsString>,
    environment: Vec<(String, String)>,
    xdt: bool,
    rules: Rules,
    client: Pool,
}

impl Sidecar {
    /// A sidecar to be started from `binary`.
    #[must_use]
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder::new(binary.into())
    }

    async fn start(builder: Builder) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let lease = Lease::take();
        let environment = builder.environment(&lease, folder.path());
        let mut command: Vec<OsString> = builder.wrapper.iter().map(OsString::from).collect();
        command.push(builder.binary.into());
        let child = spawn(&command, &environment, &folder);
        let sidecar = Self {
            child,
            lease,
            folder,
            command,
            environment,
            xdt: builder.ring.is_some(),
            rules: builder.rules,
            client: Pool::default(),
        };
        sidecar.ready().await
    }

    /// Waits until every listener is there.
    async fn ready(mut self) -> Self {
        let stats = self.stats(); // bound last
        eventually("the sidecar listens", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the sidecar ended at start ({status}): {}", self.log());
            }
            tokio::net::TcpStream::connect(stats).await.ok()
        })
        .await;
        if self.xdt {
            let _answered = self.status().await;
        }
        self
    }

    /// Ends it without warning (SIGKILL).
    pub fn kill(&mut self) {
        // Fails only for a process that has ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Asks it to shut down (SIGTERM).
    ///
    /// # Panics
    /// If it has ended already.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("the sidecar runs");
    }

    /// Asks it to shut down as a terminal does (SIGINT).
    ///
    /// # Panics
    /// If it has ended already.
    pub fn interrupt(&self) {
        kill_process(self.pid(), Signal::INT).expect("the sidecar runs");
    }

    /// Stops it where it is (SIGSTOP): its sockets stay open and say nothing.
    ///
    /// # Panics
    /// If it has ended.
    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).expect("the sidecar runs");
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Panics
    /// If it has ended.
    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("the sidecar runs");
    }

    /// Starts it anew on the same address, with the same key ring file, after it has ended or been killed.
    pub async fn restart_on_same_address(mut self) -> Self {
        self.kill();
        self.child = spawn(&self.command, &self.environment, &self.folder);
        self.client = Pool::default();
        self.ready().await
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After `limit`.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        eventually_within(limit, "the end of the sidecar", async || {
            child.try_wait().ok().flatten()
        })
        .await
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Bytes of memory that it occupies now.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most bytes of memory that it has occupied so far.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(what))
            .expect("a living process");
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kilobytes * 1024
    }

    /// Descriptors that it has open.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("it runs")
            .count()
    }

    /// Names of its threads, as the kernel cuts them (15 bytes).
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// Everything it has logged (written to stderr), also before a restart.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    /// Payload bytes that it copied in memory, as it told with its last put or get of a whole object; `None` before the
    /// first, and without [`Builder::debug`].
    #[must_use]
    pub fn copied(&self) -> Option<u64> {
        let log = self.log();
        let lines = log.lines().rev().filter(|line| line.contains("copied_in_all"));
        let mut entries = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        entries.find_map(|entry| entry["copied_in_all"].as_u64())
    }

    /// Everything it has written to stdout, also before a restart. Not checked against the rules for logs.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join(STDOUT)).unwrap_or_default()
    }

    /// Waits until a line of the log holds `text`.
    pub async fn logged(&self, text: &str) {
        self.logged_times(text, 1).await;
    }

    /// Waits until `text` stands in the log so often.
    pub async fn logged_times(&self, text: &str, times: usize) {
        eventually("a line in the log", async || {
            (self.log().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    /// Replaces its key ring file with this text in one step, as `keyring add` and the kubelet do.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_ring(&self, text: &str) {
        let beside = self.folder.path().join("ring.new");
        fs::write(&beside, text).expect("a writable folder");
        fs::rename(beside, self.ring_file()).expect("the same folder");
    }

    /// Its key ring file.
    #[must_use]
    pub fn ring_file(&self) -> PathBuf {
        builder::ring_file(self.folder.path())
    }

    /// Sends requests to it over kept-alive connections.
    #[must_use]
    pub fn client(&self) -> &Pool {
        &self.client
    }

    /// The serving port.
    #[must_use]
    pub fn serving(&self) -> SocketAddr {
        self.lease.at(SERVING)
    }

    /// The serving port with TLS.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        self.lease.at(TLS)
    }

    /// The profiling port.
    #[must_use]
    pub fn profiling(&self) -> SocketAddr {
        self.lease.at(PROFILING)
    }

    /// The drain hook's port.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.lease.at(ADMIN)
    }

    /// The statistics port.
    #[must_use]
    pub fn stats(&self) -> SocketAddr {
        self.lease.at(STATS)
    }

    /// The port of request metrics.
    #[must_use]
    pub fn metrics(&self) -> SocketAddr {
        self.lease.at(METRICS)
    }

    /// The data port.
    #[must_use]
    pub fn data(&self) -> SocketAddr {
        self.lease.at(DATA)
    }

    /// The local HTTP API.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.lease.at(LOCAL)
    }

    /// The name of the local socket, without `@`.
    #[must_use]
    pub fn local_socket(&self) -> String {
        socket_name(&self.lease)
    }

    /// The egress proxy.
    #[must_use]
    pub fn egress(&self) -> SocketAddr {
        self.lease.at(EGRESS)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("log of a sidecar of the failed test:\n{}", self.log());
            return;
        }
        let faults = self.rules.faults(&self.log());
        assert!(faults.is_empty(), "faults in a sidecar's log:\n{}", faults.join("\n"));
    }
}

/// Abstract names are seen on the whole machine.
fn socket_name(lease: &Lease) -> String {
    format!("xdt.test.{}", lease.ip())
}

fn spawn(command: &[OsString], environment: &[(String, String)], folder: &TempDir) -> Child {
    let file = |name| {
        let mut options = File::options();
        let path = folder.path().join(name);
        options.create(true).append(true).open(path).expect("a writable folder")
    };
    Command::new(&command[0])
        .args(&command[1..])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(file(STDOUT))
        .stderr(file(LOG))
        .spawn()
        .expect("the sidecar's binary")
}
