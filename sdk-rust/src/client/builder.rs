//! A client's settings: given in code, else in the environment, else by default.
//!
//! Used once, at start. Every value is checked before a client exists; all faults are told together, each with the name
//! of the setting and what is accepted. Values of addresses are not repeated, since errors never show any.

use std::{
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use xdt_proto::ByteCount;

use super::{Client, Shared};
use crate::{
    Error, Result,
    transport::{
        HttpTransport, SocketTransport, Transport,
        dial::{self, Dialer},
    },
};

/// Defaults of the sidecar's own listeners (contract, section 2).
const LOCAL_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8015);
const EGRESS_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8016);
const INLINE_LIMIT: ByteCount = ByteCount::kib(64);
/// The default of `XDT_MAX_OBJECT_SIZE`: larger objects do not exist.
const MEMORY_LIMIT: ByteCount = ByteCount::gib(16);
/// Knative's default timeout of a request: no call inside a handler can usefully take longer.
const TIMEOUT: Duration = Duration::from_secs(300);
/// No transfer takes a day; a longer timeout is a slip of units.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// A function's usual concurrency; more calls at once work, their connections are just not kept.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// Settings of a [`Client`].
///
/// ```no_run
/// use std::time::Duration;
/// use xdt::{ByteCount, Client};
///
/// # fn example() -> xdt::Result<()> {
/// let client = Client::builder().inline_limit(ByteCount::kib(16)).timeout(Duration::from_secs(30)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing before build()"]
pub struct ClientBuilder {
    local_address: Option<SocketAddr>,
    egress_address: Option<SocketAddr>,
    local_socket: Option<LocalSocket>,
    inline_limit: Option<ByteCount>,
    memory_limit: Option<ByteCount>,
    timeout: Option<Duration>,
    max_idle_connections: Option<usize>,
}

impl ClientBuilder {
    /// Where the sidecar's local HTTP API listens. Default: `XDT_LOCAL_ADDRESS`, else `127.0.0.1:8015`.
    pub fn local_address(mut self, address: SocketAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// The name of the sidecar's local socket, an abstract unix socket written with a leading `@`. Default:
    /// `XDT_LOCAL_SOCKET`, else `@xdt.v1`; but no socket where only the address of the HTTP API was given, or where
    /// `XDT_TRANSPORT` is `http`.
    pub fn local_socket(mut self, name: impl Into<String>) -> Self {
        self.local_socket = Some(LocalSocket::Named(name.into()));
        self
    }

    /// Uses the local HTTP API only.
    pub fn without_local_socket(mut self) -> Self {
        self.local_socket = Some(LocalSocket::None);
        self
    }

    /// Where the sidecar's egress proxy listens. Default: `XDT_EGRESS_ADDRESS`, else `127.0.0.1:8016`.
    pub fn egress_address(mut self, address: SocketAddr) -> Self {
        self.egress_address = Some(address);
        self
    }

    /// Payloads of an invoke up to this many bytes go straight to the callee, larger ones by reference. Any size.
    /// Default: `XDT_INLINE_LIMIT`, else 64 KiB.
    pub fn inline_limit(mut self, limit: ByteCount) -> Self {
        self.inline_limit = Some(limit);
        self
    }

    /// Most bytes that one get or one answer's body may hold in memory; over it the call fails with
    /// [`TooLarge`](crate::ErrorKind::TooLarge), and streaming is the way. Any size. Default: 16 GiB, the largest object
    /// that a sidecar takes by default.
    pub fn memory_limit(mut self, limit: ByteCount) -> Self {
        self.memory_limit = Some(limit);
        self
    }

    /// How long one call may take, and how long a sender may then be silent while a [`Reader`](crate::Reader) waits.
    /// 1 ms to 24 h; default 300 s, Knative's own default for a request.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Connections kept open while no call uses them, per destination; they close after 30 s. 0 keeps none. Default 16.
    pub fn max_idle_connections(mut self, count: usize) -> Self {
        self.max_idle_connections = Some(count);
        self
    }

    /// The client; opens no connection.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), naming every setting that is out of bounds.
    pub fn build(self) -> Result<Client> {
        self.build_from(|name| std::env::var(name).ok())
    }

    fn build_from(self, variable: impl Fn(&str) -> Option<String>) -> Result<Client> {
        let mut environment = Environment {
            variable,
            faults: Vec::new(),
        };
        let socket = environment.socket(self.local_socket, self.local_address.is_some());
        let local = environment.or_read(self.local_address, "XDT_LOCAL_ADDRESS", LOCAL_ADDRESS, ADDRESS_FORM);
        let egress = environment.or_read(self.egress_address, "XDT_EGRESS_ADDRESS", EGRESS_ADDRESS, ADDRESS_FORM);
        let inline_limit = environment.or_read(self.inline_limit, "XDT_INLINE_LIMIT", INLINE_LIMIT, SIZE_FORM);
        let mut faults = environment.faults;
        let timeout = checked_timeout(self.timeout.unwrap_or(TIMEOUT)).unwrap_or_else(|error| {
            faults.push(error.detail().to_owned());
            TIMEOUT
        });
        if !faults.is_empty() {
            return Err(Error::invalid(faults.join("; ")));
        }
        let max_idle = self.max_idle_connections.unwrap_or(MAX_IDLE_CONNECTIONS);
        let shared = Shared {
            transport: Transport {
                socket: socket.map(|name| SocketTransport::new(name, max_idle)),
                http: HttpTransport::new(local, max_idle),
            },
            direct: dial::client(dial::direct_connector(), max_idle),
            egress: dial::client(Dialer::proxy(egress), max_idle),
            inline_limit,
            memory_limit: self.memory_limit.unwrap_or(MEMORY_LIMIT),
        };
        Ok(Client::new(shared, timeout))
    }
}

/// Which local socket, if any.
#[derive(Debug, Clone)]
enum LocalSocket {
    Named(String),
    None,
}

/// The sidecar's default (contract, section 2).
const LOCAL_SOCKET: &str = "@xdt.v1";
/// Bytes of the longest name (`sun_path` of unix(7), without its leading zero).
const LONGEST_SOCKET_NAME: usize = 107;
const SOCKET_FORM: &str = "@ and a name of at most 107 bytes";
const ADDRESS_FORM: &str = "an IP address and a port, such as 127.0.0.1:8015";
const SIZE_FORM: &str = "a number of bytes, or one followed by KiB, MiB or GiB";

/// `limit`, if it is within the bounds of [`ClientBuilder::timeout`].
pub(crate) fn checked_timeout(limit: Duration) -> Result<Duration> {
    if (Duration::from_millis(1)..=LONGEST_TIMEOUT).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::invalid("timeout: must be from 1 ms to 24 h"))
}

struct Environment<V> {
    variable: V,
    faults: Vec<String>,
}

impl<V: Fn(&str) -> Option<String>> Environment<V> {
    fn read(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|text| !text.is_empty())
    }

    /// The name of the local socket without its `@`; `None` for the HTTP API only.
    fn socket(&mut self, given: Option<LocalSocket>, address_given: bool) -> Option<String> {
        match self.read("XDT_TRANSPORT").as_deref() {
            None | Some("socket") => {}
            Some("http") => return None,
            Some(_) => self.faults.push("XDT_TRANSPORT: must be socket or http".to_owned()),
        }
        let text = match given {
            Some(LocalSocket::None) => return None,
            Some(LocalSocket::Named(name)) => name,
            // Whoever names only an address means the sidecar there, which need not be the one behind the default name.
            None => match self.read("XDT_LOCAL_SOCKET") {
                _ if address_given => return None,
                Some(name) => name,
                None if self.read("XDT_LOCAL_ADDRESS").is_some() => return None,
                None => LOCAL_SOCKET.to_owned(),
            },
        };
        let name = text
            .strip_prefix('@')
            .filter(|name| (1..=LONGEST_SOCKET_NAME).contains(&name.len()));
        if name.is_none() {
            self.faults.push(format!("XDT_LOCAL_SOCKET: must be {SOCKET_FORM}"));
        }
        name.map(str::to_owned)
    }

    /// What was given, else what the variable says, else the default; an unset and an empty variable are the same.
    fn or_read<T: FromStr>(&mut self, given: Option<T>, name: &str, default: T, form: &str) -> T {
        if let Some(given) = given {
            return given;
        }
        let Some(text) = self.read(name) else {
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            self.faults.push(format!("{name}: must be {form}"));
            default
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_is_given_wins_over_the_environment() {
        let environment = |name: &str| (name == "XDT_INLINE_LIMIT").then(|| "1KiB".to_owned());
        let limit = |builder: ClientBuilder| {
            let client = builder.build_from(environment).expect("all valid");
            client.shared().inline_limit
        };
        assert_eq!(limit(ClientBuilder::default()), ByteCount::kib(1));
        assert_eq!(limit(Client::builder().inline_limit(ByteCount::ZERO)), ByteCount::ZERO);
    }

    #[test]
    fn empty_variables_mean_the_defaults() {
        let client = ClientBuilder::default()
            .build_from(|_| Some(String::new()))
            .expect("defaults are valid");
        assert_eq!(client.shared().inline_limit, ByteCount::kib(64));
        assert_eq!(client.timeout(), Duration::from_secs(300));
    }

    #[test]
    fn all_faults_are_told_together_without_values() {
        let builder = Client::builder().timeout(Duration::ZERO);
        let error = builder
            .build_from(|_| Some("10.1.2.3".to_owned()))
            .expect_err("four faults");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let text = error.to_string();
        for name in ["XDT_LOCAL_ADDRESS", "XDT_EGRESS_ADDRESS", "XDT_INLINE_LIMIT", "timeout"] {
            assert!(text.contains(name), "{text}");
        }
        assert!(!text.contains("10.1.2.3"), "{text}");
    }
}
