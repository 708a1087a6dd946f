//! Everything that can keep a cluster, or one instance of it, from starting, and what can be asked of one in vain.
//!
//! Texts are for the person at the terminal: unlike a sidecar's answers they name paths, addresses and pods.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::instance::Instance;
use crate::spec::Faults;

/// Why a cluster did not start. Whatever had been started is gone again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spec breaks its rules.
    #[error("the cluster description is wrong:\n{0}")]
    Spec(#[from] Faults),
    /// Another process listens where the ingress should.
    #[error("the ingress address {address} cannot be used; choose another, or port 0 for any free one")]
    Ingress {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Another cluster holds the block of loopback addresses.
    #[error(
        "the addresses from {base} on are taken, probably by another cluster; set `address-base` to another, or `any`"
    )]
    AddressBase {
        /// First address of the block.
        base: Ipv4Addr,
        /// Why.
        source: std::io::Error,
    },
    /// A function's program does not exist.
    #[error(
        "function {function}: command `{command}` not found, or not executable; looked for {}",
        Paths(looked)
    )]
    CommandNotFound {
        /// Name of the function.
        function: String,
        /// The program as the spec names it.
        command: String,
        /// The files that would have been it.
        looked: Vec<PathBuf>,
    },
    /// There is no sidecar binary.
    #[error(
        "the sidecar `xdt-queue-proxy` was not found; looked for {}; build it, or name it with --sidecar",
        Paths(looked)
    )]
    SidecarNotFound {
        /// The files that would have been it.
        looked: Vec<PathBuf>,
    },
    /// The run folder cannot be written.
    #[error("cannot write {}", path.display())]
    RunDir {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// The caller wanted no cluster after all; everything is stopped again.
    #[error("cancelled while starting")]
    Cancelled,
    /// An instance did not come up.
    #[error(transparent)]
    Instance(#[from] InstanceFault),
}

/// Why one instance did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum InstanceFault {
    /// A port on the instance's own address is in use.
    #[error("{pod}: {address} is taken by another process; stop it, or set `address-base` to other addresses")]
    PortTaken {
        /// The instance.
        pod: String,
        /// What is taken.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No port was free for the function.
    #[error("{pod}: no port from {first} to {last} is free for the function")]
    NoUserPort {
        /// The instance.
        pod: String,
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
    /// The system refused to start a process, or to open its log.
    #[error("{pod}: cannot start the {role} {}", program.display())]
    Spawn {
        /// The instance.
        pod: String,
        /// Which of the two processes.
        role: Role,
        /// Its program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process ended before the instance was ready.
    #[error("{pod}: the {role} ended before it was ready ({status}); {log}")]
    Crashed {
        /// The instance.
        pod: String,
        /// Which of the two processes.
        role: Role,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last lines.
        log: LogTail,
    },
    /// The deadline passed.
    #[error("{pod}: not ready within {after:?} ({last}); {user}\n{sidecar}")]
    NeverReady {
        /// The instance.
        pod: String,
        /// The deadline.
        after: Duration,
        /// What the last readiness probe saw.
        last: String,
        /// The function's last lines.
        user: Box<LogTail>,
        /// The sidecar's last lines.
        sidecar: Box<LogTail>,
    },
}

/// The cluster has no such function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no function `{name}`; there are {}", known.join(", "))]
pub struct UnknownFunction {
    /// The name asked for.
    pub name: String,
    /// The names that exist.
    pub known: Vec<String>,
}

/// Why a wait for instances ended without success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// There is no such function.
    #[error(transparent)]
    Unknown(#[from] UnknownFunction),
    /// The deadline passed.
    #[error("after {waited:?} the instances are still {instances:?}")]
    Late {
        /// How long the wait was.
        waited: Duration,
        /// The instances at its end.
        instances: Vec<Instance>,
    },
}

/// Why an instance could not be killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such instance, or it is ending already.
    #[error("there is no instance `{pod}`, or it is ending already")]
    Unknown {
        /// The instance asked for.
        pod: String,
    },
    /// The system did not end the process in time.
    #[error("`{pod}` still runs after {waited:?}")]
    Late {
        /// The instance asked for.
        pod: String,
        /// How long the wait was.
        waited: Duration,
    },
}

/// One of an instance's two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The function.
    User,
    /// The queue-proxy.
    Sidecar,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "function",
            Self::Sidecar => "sidecar",
        })
    }
}

/// The end of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// The file.
    pub path: PathBuf,
    /// At most its last 20 lines.
    pub lines: Vec<String>,
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return write!(f, "nothing in {}", self.path.display());
        }
        write!(f, "the end of {}:", self.path.display())?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it in an empty PATH");
        }
        for (number, path) in self.0.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, path.display())?;
        }
        Ok(())
    }
}
