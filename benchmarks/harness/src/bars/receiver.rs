//! The vanilla gRPC receiver, a process of its own: this program with the hidden subcommand `bars-receiver`. It prints its
//! address, for each line of its standard input the digest of what has arrived, and ends with it.

use std::{pin::pin, process::Stdio, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use xdt_patterns::{
    clock::monotonic_ns,
    object::Digest,
    shelf::Shelf,
    vanilla::{Receiver, Sender},
};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "bars-receiver";

/// The running receiver and a connection to it; killed when dropped.
pub(super) struct Remote {
    sender: Sender,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
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
        let questions = child.stdin.take().context("a piped input")?;
        let mut answers = BufReader::new(child.stdout.take().context("a piped output")?).lines();
        let address = answers.next_line().await?.context("the receiver names no address")?;
        Ok(Self {
            sender: Sender::connect(address.parse()?).await?,
            questions,
            answers,
            _child: child,
        })
    }

    /// Nanoseconds from the call here to the last byte in the other process's memory.
    pub(super) async fn send(&mut self, bytes: Bytes) -> Result<u64> {
        let begun = monotonic_ns();
        let arrival = self.sender.send(bytes.clone()).await?;
        self.questions.write_all(b"\n").await?;
        let digest = self.answers.next_line().await?.context("the receiver has ended")?;
        ensure!(
            digest == String::from(Digest::of(&bytes)),
            "other bytes arrived than were sent"
        );
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
    let shelf = Arc::new(Shelf::default());
    let mut running = pin!(receiver.run(Arc::clone(&shelf)));
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            served = &mut running => return served,
            question = questions.next_line() => {
                if question?.is_none() {
                    return Ok(());
                }
                for arrived in shelf.verify().await? {
                    println!("{}", String::from(arrived.digest));
                }
            }
        }
    }
}
