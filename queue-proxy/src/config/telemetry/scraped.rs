//! Where and how metrics are scraped: `requestMetrics.endpoint` and `METRICS_PROMETHEUS_*`, which beats it (Knative
//! `pkg/observability/metrics/prometheus/server.go`).

use std::path::PathBuf;

use super::{Ambient, METRICS, METRICS_PORT, TelemetryError, number, wrong};
use crate::server::tls::settings::{Settings, Texts};

/// A port of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scraped {
    /// Empty: the address of all other listeners.
    pub host: String,
    /// 9091, unless somebody says otherwise.
    pub port: u16,
    /// Under the names of releases up to 1.18.
    pub legacy: bool,
    /// `None` = plain HTTP.
    pub tls: Option<ScrapeTls>,
}

/// `METRICS_PROMETHEUS_TLS_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapeTls {
    /// File with the certificate.
    pub certificate: PathBuf,
    /// File with its key.
    pub key: PathBuf,
    /// Who may scrape.
    pub clients: Clients,
    /// Versions, cipher suites and curves, checked.
    pub offer: Offer,
}

/// Which scrapers show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Nobody is asked.
    Unasked,
    /// Who shows one must be known by this file.
    Verified(PathBuf),
    /// All must.
    Required(PathBuf),
}

/// As given; empty where not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    min_version: String,
    max_version: String,
    cipher_suites: String,
    curve_preferences: String,
}

impl Scraped {
    /// On the default port, under the old names.
    pub(super) fn legacy() -> Self {
        Self {
            host: String::new(),
            port: METRICS_PORT,
            legacy: true,
            tls: None,
        }
    }

    pub(super) fn parse(endpoint: &str, ambient: &Ambient) -> Result<Self, TelemetryError> {
        let refuse = || TelemetryError {
            variable: "OBSERVABILITY_CONFIG".to_owned(),
            key: METRICS.key.to_owned(),
            value: endpoint.to_owned(),
            accepted: "host:port with a port from 1024 to 65535",
        };
        let (host, port) = if endpoint.is_empty() {
            ("", METRICS_PORT)
        } else {
            let (host, port) = endpoint.rsplit_once(':').ok_or_else(refuse)?;
            let port = port.parse().ok().filter(|port| *port >= 1024).ok_or_else(refuse)?;
            (host.trim_matches(['[', ']']), port)
        };
        let accepted = "a port from 1024 to 65535";
        let given = number(ambient, "METRICS_PROMETHEUS_PORT", accepted)?.map(|port| {
            let port = u16::try_from(port).ok().filter(|port| *port >= 1024);
            port.ok_or_else(|| wrong(ambient, "METRICS_PROMETHEUS_PORT", accepted))
        });
        Ok(Self {
            host: ambient.get("METRICS_PROMETHEUS_HOST").unwrap_or(host).to_owned(),
            port: given.transpose()?.unwrap_or(port),
            legacy: false,
            tls: tls(ambient)?,
        })
    }
}

impl Offer {
    fn of(ambient: &Ambient) -> Self {
        let text = |part| {
            let name = format!("METRICS_PROMETHEUS_TLS_{part}");
            ambient.get(&name).unwrap_or_default().to_owned()
        };
        Self {
            min_version: text("MIN_VERSION"),
            max_version: text("MAX_VERSION"),
            cipher_suites: text("CIPHER_SUITES"),
            curve_preferences: text("CURVE_PREFERENCES"),
        }
    }

    /// What the TLS front makes of the same settings; an error names the part of the variable after `TLS_`.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let texts = Texts {
            min_version: &self.min_version,
            max_version: &self.max_version,
            cipher_suites: &self.cipher_suites,
            curve_preferences: &self.curve_preferences,
        };
        Settings::parse(&texts, "").map_err(|(name, _)| name.replace("QUEUE_PROXY_", "METRICS_PROMETHEUS_"))
    }
}

fn tls(ambient: &Ambient) -> Result<Option<ScrapeTls>, TelemetryError> {
    let file = |part: &str| {
        ambient
            .get(&format!("METRICS_PROMETHEUS_TLS_{part}"))
            .map(PathBuf::from)
    };
    let (certificate, key) = match (file("CERT"), file("KEY")) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            return Err(wrong(
                ambient,
                "METRICS_PROMETHEUS_TLS_KEY",
                "a file, as a certificate is set",
            ));
        }
        (None, Some(_)) => return Err(wrong(ambient, "METRICS_PROMETHEUS_TLS_CERT", "a file, as a key is set")),
    };
    let known_by = || {
        let name = "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE";
        file("CLIENT_CA_FILE").ok_or_else(|| wrong(ambient, name, "a file, as clients are to be verified"))
    };
    let clients = match ambient.get("METRICS_PROMETHEUS_TLS_CLIENT_AUTH") {
        None | Some("none") => Clients::Unasked,
        Some("optional") => Clients::Verified(known_by()?),
        Some("require") => Clients::Required(known_by()?),
        Some(_) => {
            let accepted = "none, optional or require";
            return Err(wrong(ambient, "METRICS_PROMETHEUS_TLS_CLIENT_AUTH", accepted));
        }
    };
    let offer = Offer::of(ambient);
    if let Err(name) = offer.settings() {
        return Err(wrong(
            ambient,
            &name,
            "what the same variable of QUEUE_PROXY_TLS_* accepts",
        ));
    }
    Ok(Some(ScrapeTls {
        certificate,
        key,
        clients,
        offer,
    }))
}
