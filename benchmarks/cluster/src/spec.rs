//! What to run: the typed form of the cluster file, buildable in code as well.
//!
//! `spec/yaml.rs` reads the file, `spec/check.rs` holds the rules of both ways in, `spec/line.rs` finds the line of a
//! fault. All faults are told together. Nothing here touches a process or a socket.

mod check;
mod line;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use line::Place;

/// A whole cluster: its functions, their sidecars' settings and the ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Kubernetes namespace of every function, and by default the tenant of its objects. Default `default`.
    pub namespace: String,
    /// Where the ingress listens; port 0 = any free one. Default `127.0.0.1:8080` in a file, port 0 in code.
    pub ingress: SocketAddr,
    /// Where the instances' loopback addresses begin. Default `127.77.0.0` in a file, any free one in code.
    pub address_base: AddressBase,
    /// All instances share one node: their sidecars pass objects to each other as memory (`XDT_NODE_DIR`). Default: each
    /// instance is a node of its own, as far as objects are concerned.
    pub same_node: bool,
    /// Variables for every sidecar, on top of (and stronger than) what the cluster sets.
    pub sidecar_env: BTreeMap<String, String>,
    /// The functions, 1 to 200, with different names.
    pub functions: Vec<FunctionSpec>,
    /// Working directory of the functions, and where relative commands begin: the folder of the file. Default `.`.
    pub folder: PathBuf,
}

/// Which block of loopback addresses the cluster takes; instance n listens on base + n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBase {
    /// This address; one cluster at a time can hold it.
    At(Ipv4Addr),
    /// The first of `127.77.0.0`, `127.78.0.0`, … that no other cluster holds.
    Any,
}

/// One function: its command, and how many instances run of it. Fields follow Knative's Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Name of the Knative Service: a DNS label of at most 57 characters.
    pub name: String,
    /// Program and arguments. A program with a `/` is relative to [`Spec::folder`], any other is searched in `PATH`.
    pub command: Vec<String>,
    /// The function's own variables, on top of what the cluster sets.
    pub env: BTreeMap<String, String>,
    /// Instances that always run, 0 to `max_instances`. Default 1.
    pub min_instances: usize,
    /// Most instances at once, 1 to 200. Default: the larger of 1 and `min_instances`.
    pub max_instances: usize,
    /// Requests at once in one instance, 0 = unlimited. Default 0.
    pub container_concurrency: u32,
    /// Longest request, longest wait for an instance, and termination grace; whole seconds, at least 1 s. Default 300 s.
    pub timeout: Duration,
    /// How the sidecar finds out that the function accepts requests. Default: a TCP connection.
    pub readiness_probe: ReadinessProbe,
    /// How long more instances than needed must have run before the surplus is stopped. Default 30 s.
    pub scale_down_after: Duration,
}

/// The user container's readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadinessProbe {
    /// Ready when the port accepts a connection.
    TcpSocket,
    /// Ready when `GET path` answers 200 to 399.
    HttpGet {
        /// Path with its leading slash.
        path: String,
    },
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            namespace: "default".into(),
            ingress: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            address_base: AddressBase::Any,
            same_node: false,
            sidecar_env: BTreeMap::new(),
            functions: Vec::new(),
            folder: PathBuf::from("."),
        }
    }
}

impl Spec {
    /// Reads and checks a cluster file.
    /// # Errors
    /// [`SpecError::Unreadable`]; [`SpecError::Faults`] with every fault and its line.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = std::fs::read_to_string(path).map_err(|source| SpecError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        Ok(Self::from_yaml(&text, folder)?)
    }

    /// Reads and checks the text of a cluster file that lies in `folder`.
    /// # Errors
    /// [`Faults`]: all of them, each with its line.
    pub fn from_yaml(text: &str, folder: &Path) -> Result<Self, Faults> {
        yaml::read(text, folder)
    }

    /// Puts all instances on one node.
    #[must_use]
    pub fn on_one_node(mut self) -> Self {
        self.same_node = true;
        self
    }

    /// Adds a function.
    #[must_use]
    pub fn function(mut self, function: FunctionSpec) -> Self {
        self.functions.push(function);
        self
    }

    /// Adds a variable for every sidecar.
    #[must_use]
    pub fn sidecar_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.sidecar_env.insert(name.into(), value.into());
        self
    }

    /// Checks the rules that a file and code must both keep. `Cluster::start` does this by itself.
    /// # Errors
    /// [`Faults`]: all of them, without lines.
    pub fn check(&self) -> Result<(), Faults> {
        let faults: Vec<_> = check::faults(self)
            .into_iter()
            .map(|(place, message)| Fault::new(&place, message))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }
}

impl FunctionSpec {
    /// A function with the defaults of every other field.
    pub fn new(name: impl Into<String>, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            min_instances: 1,
            max_instances: 1,
            container_concurrency: 0,
            timeout: Duration::from_secs(300),
            readiness_probe: ReadinessProbe::TcpSocket,
            scale_down_after: Duration::from_secs(30),
        }
    }

    /// Sets a variable of the function.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets how many instances run at least and at most.
    #[must_use]
    pub fn instances(mut self, min: usize, max: usize) -> Self {
        (self.min_instances, self.max_instances) = (min, max);
        self
    }

    /// Sets how many requests one instance takes at once; 0 = unlimited.
    #[must_use]
    pub fn container_concurrency(mut self, requests: u32) -> Self {
        self.container_concurrency = requests;
        self
    }

    /// Sets the longest request, in whole seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Probes readiness with `GET path`.
    #[must_use]
    pub fn http_probe(mut self, path: impl Into<String>) -> Self {
        self.readiness_probe = ReadinessProbe::HttpGet { path: path.into() };
        self
    }

    /// Sets how long a surplus must have lasted before it is stopped.
    #[must_use]
    pub fn scale_down_after(mut self, idle: Duration) -> Self {
        self.scale_down_after = idle;
        self
    }
}

/// Why there is no [`Spec`].
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could be read and is wrong.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Every fault of one spec, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

/// One fault of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line in the file, from 1; none for a spec built in code.
    pub line: Option<usize>,
    /// The field, such as `functions[0].min-instances`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and what is accepted.
    pub message: String,
}

impl Fault {
    fn new(place: &Place, message: String) -> Self {
        Self {
            line: None,
            field: place.to_string(),
            message,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}
