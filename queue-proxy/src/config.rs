//! Configuration: raw values (variables and flags) in, one typed and immutable [`Config`] out.
//!
//! Read once at start; every fault is told together, each with name, value and what is accepted. The table of settings
//! ([`settings`]) is the one source of names, defaults and help: `--help` and `docs/config.md` are made from it.

pub mod ambient;
pub mod cli;
pub mod go_json;
pub mod observability;
mod parse;
pub mod settings;
pub mod telemetry;

use std::{net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use xdt_proto::{ByteCount, parse_duration};

use crate::{
    invocation::probe::ReadinessProbe,
    mutual::Files,
    profiling,
    server::tls::settings::{Settings as Tls, Texts},
    transfer::{Settings, SpillUrl},
    trust::TargetAddress,
};
use ambient::Ambient;
use observability::Observability;
pub use parse::{Content, Faults, Raw};
use telemetry::Telemetry;

/// What the Knative controller sets (contract of the queue-proxy, section 1.2).
#[derive(Debug, Clone)]
pub struct Knative {
    /// `CONTAINER_CONCURRENCY`; 0 = no breaker. At most [`MAX_CONCURRENCY`].
    pub container_concurrency: usize,
    /// `QUEUE_SERVING_PORT`.
    pub serving_port: u16,
    /// `USER_PORT`.
    pub user_port: u16,
    /// `REVISION_TIMEOUT_SECONDS`.
    pub timeout: Duration,
    /// `REVISION_RESPONSE_START_TIMEOUT_SECONDS`; `None` = off.
    pub response_start_timeout: Option<Duration>,
    /// `REVISION_IDLE_TIMEOUT_SECONDS`; `None` = off.
    pub idle_timeout: Option<Duration>,
    /// `SERVING_READINESS_PROBE`.
    pub readiness_probe: Option<ReadinessProbe>,
    /// `ENABLE_HTTP2_AUTO_DETECTION`: the readiness probe tries HTTP/2 first.
    pub http2_detection: bool,
    /// `ENABLE_HTTP_FULL_DUPLEX`: HTTP/1.1 responses may begin before the request's body has ended.
    pub full_duplex: bool,
    /// `QUEUE_SERVING_TLS_PORT`; `None` = no port number, which only matters where a certificate is mounted.
    pub tls_port: Option<u16>,
    /// `QUEUE_PROXY_TLS_*`, and where the certificate is mounted.
    pub tls: Tls,
    /// `PROFILING_PORT`, where profiling is on.
    pub profiling_port: Option<u16>,
    /// `SERVING_NAMESPACE`.
    pub namespace: String,
    /// `SERVING_SERVICE`; empty for a bare configuration or route.
    pub service: String,
    /// `SERVING_CONFIGURATION`.
    pub configuration: String,
    /// `SERVING_REVISION`.
    pub revision: String,
    /// `SERVING_POD`.
    pub pod: String,
    /// `SERVING_POD_IP`, where it is an address.
    pub pod_ip: Option<IpAddr>,
    /// `SERVING_POD_IP`, as given.
    pub pod_ip_text: String,
    /// `OBSERVABILITY_CONFIG`, or what older controllers send in its place.
    pub observability: Observability,
}

/// The XDT half (contract, section 2).
#[derive(Debug, Clone)]
pub struct Xdt {
    /// `XDT_KEYRING_FILE`; `None` = XDT is off.
    pub keyring_file: Option<PathBuf>,
    /// `XDT_TENANT`.
    pub tenant: String,
    /// `XDT_NODE_NAME`.
    pub node: String,
    /// `XDT_NODE_DIR`, where it is set and `XDT_PATHS` allows the same-node path.
    pub node_dir: Option<PathBuf>,
    /// `XDT_DATA_PORT`.
    pub data_port: u16,
    /// `XDT_ADVERTISE_ADDRESS`.
    pub advertise: TargetAddress,
    /// `XDT_LOCAL_ADDRESS`.
    pub local_address: SocketAddr,
    /// `XDT_LOCAL_SOCKET`, without its `@`.
    pub local_socket: String,
    /// `XDT_EGRESS_ADDRESS`.
    pub egress_address: SocketAddr,
    /// `XDT_EGRESS_HOSTS`.
    pub egress_hosts: Vec<String>,
    /// `XDT_INLINE_LIMIT`.
    pub inline_limit: ByteCount,
    /// `XDT_DRAIN_GRACE`.
    pub drain_grace: Duration,
    /// `XDT_TLS_*`; `None` = no TLS between queue-proxies.
    pub tls: Option<Files>,
    /// What the transfer path needs.
    pub transfer: Settings,
}

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Knative half.
    pub knative: Knative,
    /// The XDT half.
    pub xdt: Xdt,
    /// `XDT_BIND_ADDRESS`; `None` = all addresses.
    pub bind_address: Option<IpAddr>,
    /// What is measured and traced, and where it goes.
    pub telemetry: Telemetry,
    /// `GOMAXPROCS`, as given: number of worker threads.
    pub gomaxprocs: Option<String>,
    /// Names of `XDT_*` variables that nobody knows, for a warning.
    pub unknown: Vec<String>,
    /// Wishes that were understood but cannot be granted, a sentence each, for a warning.
    pub notices: Vec<String>,
}

/// More requests at once than any container can have: a larger `CONTAINER_CONCURRENCY` means no more than this.
pub const MAX_CONCURRENCY: usize = 100_000_000;

impl Config {
    /// Checks all raw values.
    ///
    /// # Errors
    /// [`Faults`] with every fault found.
    pub fn parse(raw: &Raw) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut notices = Vec::new();
        let knative = knative(raw, &mut faults, &mut notices);
        let xdt = xdt(raw, &mut faults);
        let telemetry = knative.as_ref().and_then(|knative| {
            let parsed = Telemetry::parse(&knative.observability, raw.ambient());
            let variable = parsed.as_ref().err().map(|error| error.variable.clone());
            faults.checked(&variable.unwrap_or_default(), parsed)
        });
        let bind_address = faults.optional(raw, "XDT_BIND_ADDRESS", "an IP address", |text| text.parse().ok());
        faults.settled(|| {
            Some(Self {
                knative: knative?,
                xdt: xdt?,
                bind_address,
                telemetry: telemetry?,
                gomaxprocs: raw.get("GOMAXPROCS").map(str::to_owned),
                unknown: raw.unknown(),
                notices,
            })
        })
    }
}

fn knative(raw: &Raw, faults: &mut Faults, notices: &mut Vec<String>) -> Option<Knative> {
    let concurrency = faults.go_int(raw, "CONTAINER_CONCURRENCY");
    let port = |faults: &mut Faults, name| faults.required_as(raw, name, "a port number", |text| text.parse().ok());
    let serving_port = port(faults, "QUEUE_SERVING_PORT");
    let tls_port = faults.required(raw, "QUEUE_SERVING_TLS_PORT");
    let user_port = port(faults, "USER_PORT");
    let timeout = faults.seconds(raw, "REVISION_TIMEOUT_SECONDS");
    let response_start_timeout = faults.optional_seconds(raw, "REVISION_RESPONSE_START_TIMEOUT_SECONDS");
    let idle_timeout = faults.optional_seconds(raw, "REVISION_IDLE_TIMEOUT_SECONDS");
    let full_duplex = faults.go_bool(raw, "ENABLE_HTTP_FULL_DUPLEX");
    let multi_container_probes = faults.go_bool(raw, "ENABLE_MULTI_CONTAINER_PROBES");
    let http2_detection = faults.go_bool(raw, "ENABLE_HTTP2_AUTO_DETECTION");
    let text = |name| raw.get(name).unwrap_or_default().to_owned();
    let namespace = faults.required(raw, "SERVING_NAMESPACE");
    let configuration = faults.required(raw, "SERVING_CONFIGURATION");
    let revision = faults.required(raw, "SERVING_REVISION");
    let pod = faults.required(raw, "SERVING_POD");
    let pod_ip = faults.required(raw, "SERVING_POD_IP");
    // Read by the log before this configuration exists.
    let [_config, _level] = ["SERVING_LOGGING_CONFIG", "SERVING_LOGGING_LEVEL"].map(|name| faults.required(raw, name));
    let probe = raw.get("SERVING_READINESS_PROBE").unwrap_or_default();
    let readiness_probe = multi_container_probes
        .map(|array| ReadinessProbe::parse(probe, array))
        .and_then(|parsed| faults.checked("SERVING_READINESS_PROBE", parsed));
    let observability = match raw.get("OBSERVABILITY_CONFIG") {
        Some(config) => faults.checked("OBSERVABILITY_CONFIG", Observability::parse(config)),
        None => observability::legacy::read(raw, faults, notices),
    };
    let tls = tls(raw, faults);
    let profiling_port = match &observability {
        Some(observability) if observability.runtime.profiling == observability::Profiling::Enabled => {
            Some(profiling_port(raw, faults))
        }
        _ => None,
    };
    Some(Knative {
        container_concurrency: usize::try_from(concurrency?.max(0)).ok()?.min(MAX_CONCURRENCY),
        serving_port: serving_port?,
        user_port: user_port?,
        timeout: timeout?,
        response_start_timeout: response_start_timeout?,
        idle_timeout: idle_timeout?,
        readiness_probe: readiness_probe?,
        http2_detection: http2_detection?,
        full_duplex: full_duplex?,
        tls_port: tls_port?.parse().ok(),
        tls: tls?,
        profiling_port,
        namespace: namespace?,
        service: text("SERVING_SERVICE"),
        configuration: configuration?,
        revision: revision?,
        pod: pod?,
        pod_ip: pod_ip.as_deref()?.parse().ok(),
        pod_ip_text: pod_ip?,
        observability: observability?,
    })
}

/// As Go: a variable that is set to nothing is not set.
fn profiling_port(raw: &Raw, faults: &mut Faults) -> u16 {
    let port = |text: &str| {
        if text.is_empty() {
            Some(profiling::PORT)
        } else {
            text.parse().ok()
        }
    };
    let port = faults.optional(raw, "PROFILING_PORT", "a port number", port);
    port.unwrap_or(profiling::PORT)
}

fn tls(raw: &Raw, faults: &mut Faults) -> Option<Tls> {
    let text = |name| raw.get(name).unwrap_or_default();
    let texts = Texts {
        min_version: text("QUEUE_PROXY_TLS_MIN_VERSION"),
        max_version: text("QUEUE_PROXY_TLS_MAX_VERSION"),
        cipher_suites: text("QUEUE_PROXY_TLS_CIPHER_SUITES"),
        curve_preferences: text("QUEUE_PROXY_TLS_CURVE_PREFERENCES"),
    };
    match Tls::parse(&texts, text("XDT_SERVING_CERTS_DIR")) {
        Ok(tls) => Some(tls),
        Err((name, error)) => faults.checked(name, Err(error)),
    }
}

fn xdt(raw: &Raw, faults: &mut Faults) -> Option<Xdt> {
    let data_port = faults.required_as(raw, "XDT_DATA_PORT", "a port number", |text| text.parse::<u16>().ok());
    let socket = "an IP address with a port, such as 127.0.0.1:8015";
    let local_address = faults.required_as(raw, "XDT_LOCAL_ADDRESS", socket, |text| text.parse().ok());
    let egress_address = faults.required_as(raw, "XDT_EGRESS_ADDRESS", socket, |text| text.parse().ok());
    let name = "@ and the name of an abstract unix socket, at most 107 bytes, such as @xdt.v1";
    let local_socket = faults.required_as(raw, "XDT_LOCAL_SOCKET", name, abstract_name);
    let advertise = advertise(raw, faults, data_port);
    let inline_limit = faults.size(raw, "XDT_INLINE_LIMIT");
    let egress_hosts = faults.required_as(raw, "XDT_EGRESS_HOSTS", "host suffixes, separated by commas", hosts);
    let timeout = raw.get("REVISION_TIMEOUT_SECONDS").and_then(parse::go_int);
    let timeout = parse::seconds(timeout.unwrap_or(0));
    let drain_grace = match raw.get("XDT_DRAIN_GRACE") {
        Some(_) => faults.duration(raw, "XDT_DRAIN_GRACE"),
        None => Some(timeout),
    };
    let transfer = transfer(raw, faults);
    let tls = mutual(raw, faults);
    Some(Xdt {
        keyring_file: raw
            .get("XDT_KEYRING_FILE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        tenant: raw
            .get("XDT_TENANT")
            .or_else(|| raw.get("SERVING_NAMESPACE"))
            .unwrap_or_default()
            .to_owned(),
        node: raw
            .get("XDT_NODE_NAME")
            .or_else(|| raw.get("HOST_IP"))
            .unwrap_or_default()
            .to_owned(),
        node_dir: node_dir(raw),
        data_port: data_port?,
        advertise: advertise?,
        local_address: local_address?,
        local_socket: local_socket?,
        egress_address: egress_address?,
        egress_hosts: egress_hosts?,
        inline_limit: inline_limit?,
        drain_grace: drain_grace?,
        tls: tls?,
        transfer: transfer?,
    })
}

/// `XDT_PATHS` is checked by [`transfer`].
fn node_dir(raw: &Raw) -> Option<PathBuf> {
    let allowed = raw.get("XDT_PATHS").and_then(paths)?.contains(&"node");
    let path = raw.get("XDT_NODE_DIR").filter(|path| allowed && !path.is_empty());
    path.map(PathBuf::from)
}

fn advertise(raw: &Raw, faults: &mut Faults, data_port: Option<u16>) -> Option<TargetAddress> {
    let form = "HOST:PORT of at most 47 characters";
    if raw.get("XDT_ADVERTISE_ADDRESS").is_some() {
        return faults.required_as(raw, "XDT_ADVERTISE_ADDRESS", form, TargetAddress::parse);
    }
    let (ip, port) = (raw.get("SERVING_POD_IP")?, data_port?);
    let text = if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    };
    // An empty or odd pod IP is legal in Knative; it only matters where references are made.
    TargetAddress::parse(&text).or_else(|| {
        if raw.get("XDT_KEYRING_FILE").is_some() {
            faults.refuse(
                "SERVING_POD_IP",
                ip,
                "the pod's IP address, or XDT_ADVERTISE_ADDRESS beside it",
            );
            None
        } else {
            TargetAddress::parse(&format!("127.0.0.1:{port}"))
        }
    })
}

/// Bytes of the longest name (`sun_path` of unix(7), without its leading zero).
const LONGEST_SOCKET_NAME: usize = 107;

fn abstract_name(text: &str) -> Option<String> {
    let name = text.strip_prefix('@')?;
    (1..=LONGEST_SOCKET_NAME).contains(&name.len()).then(|| name.to_owned())
}

fn hosts(text: &str) -> Option<Vec<String>> {
    let suffixes: Vec<String> = text.split(',').map(|host| host.trim().to_ascii_lowercase()).collect();
    let good = |host: &String| {
        host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) && !host.trim_matches('.').is_empty()
    };
    (text.trim().is_empty() || suffixes.iter().all(good))
        .then(|| suffixes.into_iter().filter(|host| !host.is_empty()).collect())
}

fn transfer(raw: &Raw, faults: &mut Faults) -> Option<Settings> {
    let at_least = |faults: &mut Faults, name, least: u64| {
        let accepted = format!("a size of at least {}, such as 64KiB", ByteCount::new(least));
        faults.required_as(raw, name, &accepted, |text| {
            text.parse().ok().filter(|size: &ByteCount| size.get() >= least)
        })
    };
    let chunk_size = at_least(faults, "XDT_CHUNK_SIZE", 1024);
    let invoke_buffer_size = at_least(faults, "XDT_INVOKE_BUFFER_SIZE", 4096);
    let object_memory = at_least(faults, "XDT_OBJECT_MEMORY", 4096);
    let max_object_size = at_least(faults, "XDT_MAX_OBJECT_SIZE", 1);
    let buffers = "a whole number from 1 to 65536";
    let invoke_buffers = faults.required_as(raw, "XDT_INVOKE_BUFFERS", buffers, |text| {
        text.parse().ok().filter(|count| (1..=65536).contains(count))
    });
    let streaming = "cut-through or store-and-forward";
    let cut_through = faults.required_as(raw, "XDT_STREAMING", streaming, |text| match text {
        "cut-through" => Some(true),
        "store-and-forward" => Some(false),
        _ => None,
    });
    let paths = faults.required_as(
        raw,
        "XDT_PATHS",
        "any of instance,node,stream,spill, separated by commas",
        paths,
    );
    let ttl = faults.duration(raw, "XDT_OBJECT_TTL");
    let buffer_wait = faults.duration(raw, "XDT_BUFFER_WAIT");
    let pull_timeout = faults.duration(raw, "XDT_PULL_TIMEOUT");
    let patience = "a duration of at least 1s, such as 30s or 5m";
    let client_timeout = faults.required_as(raw, "XDT_CLIENT_TIMEOUT", patience, |text| {
        parse_duration(text)
            .ok()
            .filter(|timeout| *timeout >= Duration::from_secs(1))
    });
    let spill = spill(raw, faults);
    let paths = paths?;
    Some(Settings {
        chunk_size: chunk_size?,
        cut_through: cut_through?,
        invoke_buffers: invoke_buffers?,
        invoke_buffer_size: invoke_buffer_size?,
        object_memory: object_memory?,
        object_ttl: Some(ttl?).filter(|ttl| !ttl.is_zero()),
        buffer_wait: buffer_wait?,
        pull_timeout: pull_timeout?,
        client_timeout: client_timeout?,
        max_object_size: max_object_size?,
        instance_path: paths.contains(&"instance"),
        stream_path: paths.contains(&"stream"),
        spill: spill?.filter(|_| paths.contains(&"spill")),
    })
}

fn paths(text: &str) -> Option<Vec<&'static str>> {
    const ALL: [&str; 4] = ["instance", "node", "stream", "spill"];
    text.split(',')
        .map(|path| ALL.into_iter().find(|known| *known == path.trim()))
        .collect()
}

/// All three of `XDT_TLS_*`, or none. The outer `None`: a fault.
#[allow(clippy::option_option)]
fn mutual(raw: &Raw, faults: &mut Faults) -> Option<Option<Files>> {
    let names = ["XDT_TLS_CERT_FILE", "XDT_TLS_KEY_FILE", "XDT_TLS_CA_FILE"];
    let [certificate, key, authority] = names.map(|name| raw.get(name).filter(|path| !path.is_empty()));
    let missing: Vec<_> = names
        .into_iter()
        .zip([certificate, key, authority])
        .filter(|(_, path)| path.is_none())
        .map(|(name, _)| name)
        .collect();
    match (certificate, key, authority) {
        (None, None, None) => Some(None),
        (Some(certificate), Some(key), Some(authority)) => Some(Some(Files {
            certificate: certificate.into(),
            key: key.into(),
            authority: authority.into(),
        })),
        _ => {
            for name in missing {
                faults.refuse(
                    name,
                    "",
                    "the name of a file: XDT_TLS_CERT_FILE, XDT_TLS_KEY_FILE and XDT_TLS_CA_FILE go together",
                );
            }
            None
        }
    }
}

/// The outer `None`: a fault.
#[allow(clippy::option_option)]
fn spill(raw: &Raw, faults: &mut Faults) -> Option<Option<SpillUrl>> {
    let form = "s3://BUCKET/PREFIX or file:///FOLDER";
    match raw.get("XDT_SPILL_URL").filter(|url| !url.is_empty()) {
        Some(_) => faults
            .required_as(raw, "XDT_SPILL_URL", form, SpillUrl::parse)
            .map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests;
