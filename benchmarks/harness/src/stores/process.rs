//! A server process on a free port of the loopback address, killed when dropped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long a server may take to accept connections.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is tried.
const STEP: Duration = Duration::from_millis(20);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    /// Its data, removed with it.
    folder: Option<PathBuf>,
}

impl Server {
    /// Starts what `command` makes for an address, and waits until it accepts connections.
    ///
    /// # Errors
    /// If it ends before, or does not accept in time.
    pub(super) async fn start(command: impl FnOnce(SocketAddr) -> Command) -> Result<Self> {
        let address = free_port()?;
        let mut command = command(address);
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        let mut server = Self {
            child,
            address,
            folder: None,
        };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect_timeout(&address, STEP).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended at once ({status})");
            }
            if Instant::now() > deadline {
                bail!("{name} does not accept connections after {} s", START_TIMEOUT.as_secs());
            }
            tokio::time::sleep(STEP).await;
        }
        Ok(server)
    }

    /// Has `folder` removed when the server has ended.
    pub(super) fn owning(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The only failure is a process that has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if let Some(folder) = &self.folder
            && let Err(error) = fs::remove_dir_all(folder)
        {
            eprintln!("{} stays behind: {error}", folder.display());
        }
    }
}

/// A port that nobody held a moment ago. Another process may take it meanwhile; then the server ends and says so.
fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
