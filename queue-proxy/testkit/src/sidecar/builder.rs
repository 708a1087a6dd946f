//! What a sidecar is started with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::Sidecar;
use crate::{
    address::{DATA, EGRESS, LOCAL, Lease, SERVING, TLS},
    link::Link,
    log::Rules,
    node::Node,
    ring::Ring,
    tls::Mount,
};

/// A sidecar to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) binary: PathBuf,
    pub(super) ring: Option<String>,
    pub(super) rules: Rules,
    pub(super) wrapper: Vec<String>,
    user_port: u16,
    extra: Vec<(String, String)>,
    removed: Vec<String>,
}

pub(super) fn ring_file(folder: &Path) -> PathBuf {
    folder.join("ring.json")
}

impl Builder {
    pub(super) fn new(binary: PathBuf) -> Self {
        let ring = Ring::standard();
        Self {
            binary,
            rules: Rules {
                secrets: ring.secrets(),
                ..Rules::default()
            },
            ring: Some(ring.json()),
            user_port: 1, // nobody listens there
            extra: Vec::new(),
            removed: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// With this key ring.
    #[must_use]
    pub fn ring(mut self, ring: &Ring) -> Self {
        self.rules.secrets.extend(ring.secrets());
        self.ring_text(&ring.json())
    }

    /// With this text as its key ring file.
    #[must_use]
    pub fn ring_text(mut self, text: &str) -> Self {
        self.ring = Some(text.to_owned());
        self
    }

    /// Without a key ring: XDT is off.
    #[must_use]
    pub fn without_ring(mut self) -> Self {
        self.ring = None;
        self
    }

    /// In this tenant.
    #[must_use]
    pub fn tenant(self, tenant: &str) -> Self {
        self.env("XDT_TENANT", tenant)
    }

    /// On this node, with its directory mounted.
    #[must_use]
    pub fn on(self, node: &Node) -> Self {
        self.env("XDT_NODE_DIR", &node.path().display().to_string())
            .env("XDT_NODE_NAME", node.name())
    }

    /// With a log from level debug.
    #[must_use]
    pub fn debug(self) -> Self {
        self.env("SERVING_LOGGING_LEVEL", "debug")
    }

    /// In front of the user container on this port.
    #[must_use]
    pub fn user_port(mut self, port: u16) -> Self {
        self.user_port = port;
        self
    }

    /// With one more variable, which beats the kit's own.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Reached by its peers over `link`, which the caller leads to [`Sidecar::data`] once it has started.
    #[must_use]
    pub fn behind(self, link: &Link) -> Self {
        self.env("XDT_ADVERTISE_ADDRESS", &link.address().to_string())
    }

    /// With this mounted certificate on its TLS port.
    #[must_use]
    pub fn certificate(self, mount: &Mount) -> Self {
        self.env("XDT_SERVING_CERTS_DIR", &mount.path().display().to_string())
    }

    /// With this mounted certificate, key and authority between it and its peers.
    #[must_use]
    pub fn mutual_tls(self, mount: &Mount) -> Self {
        let at = |name| mount.path().join(name).display().to_string();
        self.env("XDT_TLS_CERT_FILE", &at("tls.crt"))
            .env("XDT_TLS_KEY_FILE", &at("tls.key"))
            .env("XDT_TLS_CA_FILE", &at("ca.crt"))
    }

    /// Without this variable of the kit's own.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.removed.push(name.to_owned());
        self
    }

    /// Started by this command, which must become the sidecar (as `setpriv` does).
    #[must_use]
    pub fn through(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Its log may hold anything, in any form.
    #[must_use]
    pub fn any_log(mut self) -> Self {
        self.rules.unchecked = true;
        self
    }

    /// Warnings and errors whose line holds `part` are expected.
    #[must_use]
    pub fn allow(mut self, part: &str) -> Self {
        self.rules.allowed.push(part.to_owned());
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Sidecar {
        Sidecar::start(self).await
    }

    /// Runs it to its end, for a start that must fail.
    ///
    /// # Panics
    /// If there is no such binary.
    #[must_use]
    pub fn run(self) -> Output {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let lease = Lease::take();
        Command::new("timeout")
            .args(["-s", "KILL", "20"])
            .args(&self.wrapper)
            .arg(&self.binary)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment(&lease, folder.path()))
            .stdin(Stdio::null())
            .output()
            .expect("the sidecar's binary")
    }

    /// Writes the key ring file and names every variable.
    pub(super) fn environment(&self, lease: &Lease, folder: &Path) -> Vec<(String, String)> {
        let ip = lease.ip();
        let mut variables: Vec<(String, String)> = [
            ("CONTAINER_CONCURRENCY", "0".to_owned()),
            ("QUEUE_SERVING_PORT", SERVING.to_string()),
            ("QUEUE_SERVING_TLS_PORT", TLS.to_string()),
            ("USER_PORT", self.user_port.to_string()),
            ("REVISION_TIMEOUT_SECONDS", "60".to_owned()),
            ("SERVING_LOGGING_CONFIG", String::new()),
            ("SERVING_LOGGING_LEVEL", String::new()),
            ("SERVING_NAMESPACE", "default".to_owned()),
            ("SERVING_CONFIGURATION", "configuration".to_owned()),
            ("SERVING_REVISION", "revision".to_owned()),
            ("SERVING_POD", "pod".to_owned()),
            ("SERVING_POD_IP", ip.to_string()),
            ("XDT_BIND_ADDRESS", ip.to_string()),
            ("XDT_DATA_PORT", DATA.to_string()),
            ("XDT_LOCAL_ADDRESS", format!("{ip}:{LOCAL}")),
            ("XDT_EGRESS_ADDRESS", format!("{ip}:{EGRESS}")),
            ("XDT_LOCAL_SOCKET", format!("@{}", super::socket_name(lease))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(ring) = &self.ring {
            let file = ring_file(folder);
            fs::write(&file, ring).expect("a writable folder");
            variables.push(("XDT_KEYRING_FILE".to_owned(), file.display().to_string()));
        }
        variables.extend(self.extra.iter().cloned());
        variables.retain(|(name, _)| !self.removed.contains(name));
        variables
    }
}
