//! One queue-proxy process with the environment that Knative's controller would give it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::Target;
use crate::usage;

/// `QUEUE_SERVING_PORT`, and Knative's fixed ports of every queue-proxy.
const SERVING: u16 = 8012;
const FIXED: [u16; 2] = [8022, 9090];
/// Ports of the XDT half.
const DATA: u16 = 8014;
const LOCAL: u16 = 8015;
const EGRESS: u16 = 8016;
/// How long it may take to serve, and how often it is asked: well below what is measured.
const START_LIMIT: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_micros(100);
/// Addresses tried before giving up: 127.48.0.0/16 and up, which nothing else of ours uses.
const TRIES: u32 = 1000;
const FIRST_ADDRESS: u32 = 0x7F30_0000;
const ADDRESSES: u32 = 1 << 20;

/// A running queue-proxy; killed when dropped.
#[derive(Debug)]
pub(crate) struct QueueProxy {
    child: Child,
    address: SocketAddr,
    /// From before the start of the process to the end of the first request with status 200.
    pub(crate) start: Duration,
}

/// Has `binary` make a key ring; `None` if it does not know how, as other queue-proxies.
///
/// # Errors
/// If it cannot be started at all.
pub(crate) fn make_key_ring(binary: &Path, folder: &Path, number: usize) -> Result<Option<PathBuf>> {
    let file = folder.join(format!("ring-{number}"));
    let status = Command::new(binary)
        .args(["keyring", "new"])
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.with_context(|| format!("{} cannot be started", binary.display()))?;
    Ok(file.is_file().then_some(file))
}

impl QueueProxy {
    /// Starts `target` and waits until it has served a request of the user container on `user_port`.
    ///
    /// # Errors
    /// If it does not; the end of its log is told.
    pub(crate) async fn start(target: &Target, user_port: u16, folder: &Path) -> Result<Self> {
        let (target, log) = (target.clone(), folder.join("log"));
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(&target, user_port, &log));
        started.await?
    }

    fn start_blocking(target: &Target, user_port: u16, log: &Path) -> Result<Self> {
        let ip = free_address()?;
        let output = File::create(log)?;
        let mut command = Command::new(&target.binary);
        command.env_clear().envs(environment(ip, user_port));
        if let Some(ring) = &target.keyring {
            command.env("XDT_KEYRING_FILE", ring);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", target.binary.display()))?;
        let mut started = Self {
            child,
            address: SocketAddr::from((ip, SERVING)),
            start: Duration::ZERO,
        };
        loop {
            let served = first_request(started.address);
            started.start = begun.elapsed();
            match served {
                Ok(true) => return Ok(started),
                Ok(false) | Err(_) => pause(),
            }
            let ended = started.child.try_wait()?;
            if ended.is_some() || started.start > START_LIMIT {
                let log = fs::read_to_string(log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("without a word");
                bail!("{} does not serve requests: {last}", target.label);
            }
        }
    }

    /// Its serving port.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time so far.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.child.id())
    }

    /// Memory now.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn memory(&self) -> Result<usage::Memory> {
        usage::memory(self.child.id())
    }
}

impl Drop for QueueProxy {
    fn drop(&mut self) {
        // Fails only for a process that has ended already. Its ports are free when it has been waited for.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Between two questions, which [`START_LIMIT`] bounds; an asynchronous timer is too coarse.
#[allow(clippy::disallowed_methods)]
fn pause() {
    thread::sleep(ASK_EVERY);
}

/// One request over a new connection: whether it was answered with 200.
fn first_request(address: SocketAddr) -> io::Result<bool> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(START_LIMIT))?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: cost.bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// A loopback address whose ports are free. A queue-proxy that binds all addresses can be reached there too.
fn free_address() -> Result<Ipv4Addr> {
    for number in 0..TRIES {
        let ip = Ipv4Addr::from_bits(FIRST_ADDRESS + (std::process::id() * TRIES + number) % ADDRESSES);
        let mut ports = [SERVING, DATA, LOCAL, EGRESS].into_iter().chain(FIXED);
        if ports.all(|port| TcpListener::bind((ip, port)).is_ok()) {
            return Ok(ip);
        }
    }
    bail!(
        "ports 8012, 8014 to 8016, 8022 and 9090 are taken on all addresses that were tried; is a queue-proxy running?"
    );
}

fn environment(ip: Ipv4Addr, user_port: u16) -> impl Iterator<Item = (&'static str, String)> {
    let at = |port| SocketAddr::from((ip, port)).to_string();
    let probe = format!(r#"{{"tcpSocket":{{"port":{user_port},"host":"127.0.0.1"}},"successThreshold":1}}"#);
    [
        ("CONTAINER_CONCURRENCY", "0".to_owned()),
        ("QUEUE_SERVING_PORT", SERVING.to_string()),
        ("QUEUE_SERVING_TLS_PORT", "8112".to_owned()),
        ("USER_PORT", user_port.to_string()),
        ("REVISION_TIMEOUT_SECONDS", "300".to_owned()),
        ("SERVING_READINESS_PROBE", probe),
        ("SERVING_LOGGING_CONFIG", String::new()),
        ("SERVING_LOGGING_LEVEL", String::new()),
        ("SERVING_NAMESPACE", "default".to_owned()),
        ("SERVING_SERVICE", "cost".to_owned()),
        ("SERVING_CONFIGURATION", "cost".to_owned()),
        ("SERVING_REVISION", "cost-00001".to_owned()),
        ("SERVING_POD", "cost-00001-deployment-0".to_owned()),
        ("SERVING_POD_IP", ip.to_string()),
        ("XDT_BIND_ADDRESS", ip.to_string()),
        ("XDT_DATA_PORT", DATA.to_string()),
        ("XDT_LOCAL_ADDRESS", at(LOCAL)),
        ("XDT_EGRESS_ADDRESS", at(EGRESS)),
        ("XDT_LOCAL_SOCKET", format!("@xdt.cost.{ip}")),
    ]
    .into_iter()
}
