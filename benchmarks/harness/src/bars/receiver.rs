//! The vanilla gRPC receiver, a process of its own: this program with the hidden subcommand `bars-receiver`. It prints its
//! address and ends with its standard input.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};
use xdt_patterns::{
    clock::monotonic_ns,
    vanilla::{Receiver, Sender},
};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "bars-receiver";

/// The running receiver and a connection to it; killed when dropped.
pub(super) struct Remote {
    sender: Sender,
    _child: Child,
}

impl Remote {
    pub(super) async fn start() -> Result<Self> {
        let own = std::env::current_exe().context("where is this executable?")?;
        let mut command = Command::new(own);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .context("the receiver does not start")?;
        let output = child.stdout.take().context("a piped output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse().context("the receiver names no address")?;
        Ok(Self {
            sender: Sender::connect(address).await?,
            _child: child,
        })
    }

    /// Nanoseconds from the call here to the last byte in the other process's memory.
    pub(super) async fn send(&mut self, bytes: Bytes) -> Result<u64> {
        let (length, begun) = (bytes.len() as u64, monotonic_ns());
        let arrival = self.sender.send(bytes).await?;
        ensure!(arrival.length == length, "{} of {length} bytes arrived", arrival.length);
        Ok(arrival.arrived_ns.saturating_sub(begun))
    }
}

/// Serves until standard input ends.
///
/// # Errors
/// If the listener breaks.
pub(crate) async fn serve() -> Result<()> {
    let receiver = Receiver::bind()?;
    println!("{}", receiver.address());
    let mut end = Vec::new();
    let mut input = tokio::io::stdin();
    tokio::select! {
        served = receiver.run() => served,
        _ended = input.read_to_end(&mut end) => Ok(()),
    }
}
