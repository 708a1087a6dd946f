//! `QUEUE_PROXY_TLS_*`: which versions, cipher suites and curves the TLS port offers, by the names that Knative's Go
//! library knows (`knative.dev/pkg tls/config.go`; Go's `crypto/tls`), and where the certificate lies.

use std::path::PathBuf;

use rustls::{
    ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{cipher_suite as suite, default_provider, kx_group},
    },
    version::{TLS12, TLS13},
};

use super::p521::SECP521R1;

/// The suites of TLS 1.3, which no setting changes, in Go's order of preference.
const SUITES_13: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// The suites of TLS 1.2 that can be served, by their IANA names, in Go's order of preference.
const SUITES_12: [(&str, SupportedCipherSuite); 6] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites on Go's list that the setting does not govern: those of TLS 1.3 are always on.
const ALWAYS_ON: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// Suites on Go's list that this proxy does not have: CBC with SHA-1, which rustls leaves out for good reasons.
const NOT_HERE: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// The curves, by both of their names, in Go's order of preference.
static CURVES: [(&[&str], &(dyn SupportedKxGroup + 'static)); 5] = [
    (&["X25519MLKEM768"], kx_group::X25519MLKEM768),
    (&["X25519"], kx_group::X25519),
    (&["CurveP256", "P-256"], kx_group::SECP256R1),
    (&["CurveP384", "P-384"], kx_group::SECP384R1),
    (&["CurveP521", "P-521"], SECP521R1),
];

/// `QUEUE_PROXY_TLS_*` as given; empty where not set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'t> {
    /// `QUEUE_PROXY_TLS_MIN_VERSION`.
    pub min_version: &'t str,
    /// `QUEUE_PROXY_TLS_MAX_VERSION`.
    pub max_version: &'t str,
    /// `QUEUE_PROXY_TLS_CIPHER_SUITES`.
    pub cipher_suites: &'t str,
    /// `QUEUE_PROXY_TLS_CURVE_PREFERENCES`.
    pub curve_preferences: &'t str,
}

/// What the TLS port offers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds `tls.crt` and `tls.key`.
    pub folder: PathBuf,
    /// Versions, highest first; never empty.
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
    curves: Vec<&'static dyn SupportedKxGroup>,
    /// Suites that were asked for and are not to be had.
    pub(super) missing: Vec<&'static str>,
}

/// Why a setting cannot be used. Names the variable's suffix, the value and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Neither 1.2 nor 1.3.
    #[error("unsupported TLS version {0:?}: must be \"1.2\" or \"1.3\"")]
    Version(String),
    /// Nothing lies between the lowest and the highest version.
    #[error("the lowest TLS version, {min}, is above the highest, {max}")]
    NoVersion {
        /// Lowest.
        min: &'static str,
        /// Highest.
        max: &'static str,
    },
    /// Not on Go's list of secure suites.
    #[error("unknown cipher suite {0:?}: must be an IANA name on Go's list of secure suites")]
    Suite(String),
    /// TLS 1.2 alone, and none of the suites asked for is to be had.
    #[error(
        "none of these cipher suites can be served with TLS 1.2; available are {}",
        names_12()
    )]
    NoSuite,
    /// No such curve.
    #[error("unknown curve {0:?}: must be X25519, X25519MLKEM768, P-256, P-384 or P-521")]
    Curve(String),
}

/// A fault, and the variable it lies in.
pub type Fault = (&'static str, SettingsError);

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// The first fault, with its variable.
    pub fn parse(texts: &Texts<'_>, folder: impl Into<PathBuf>) -> Result<Self, Fault> {
        let versions = versions(texts)?;
        let wanted = suites(texts.cipher_suites).map_err(|error| ("QUEUE_PROXY_TLS_CIPHER_SUITES", error))?;
        let only_12 = versions
            .iter()
            .all(|version| version.version == ProtocolVersion::TLSv1_2);
        if only_12 && wanted.available.is_empty() {
            return Err(("QUEUE_PROXY_TLS_CIPHER_SUITES", SettingsError::NoSuite));
        }
        let curves = curves(texts.curve_preferences).map_err(|error| ("QUEUE_PROXY_TLS_CURVE_PREFERENCES", error))?;
        Ok(Self {
            folder: folder.into(),
            versions,
            suites: SUITES_13.into_iter().chain(wanted.available).collect(),
            curves,
            missing: wanted.missing,
        })
    }

    /// The same, as rustls takes it.
    pub(crate) fn provider(&self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: self.suites.clone(),
            kx_groups: self.curves.clone(),
            ..default_provider()
        }
    }
}

fn names_12() -> String {
    SUITES_12.map(|(name, _)| name).join(", ")
}

fn versions(texts: &Texts<'_>) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
    let version = |name, text: &str| match text {
        "" | "1.3" => Ok(13),
        "1.2" => Ok(12),
        other => Err((name, SettingsError::Version(other.to_owned()))),
    };
    let min = version("QUEUE_PROXY_TLS_MIN_VERSION", texts.min_version)?;
    let max = version("QUEUE_PROXY_TLS_MAX_VERSION", texts.max_version)?;
    let offered: Vec<_> = [(13, &TLS13), (12, &TLS12)]
        .into_iter()
        .filter(|(number, _)| (min..=max).contains(number))
        .map(|(_, version)| version)
        .collect();
    if offered.is_empty() {
        let none = SettingsError::NoVersion { min: "1.3", max: "1.2" };
        return Err(("QUEUE_PROXY_TLS_MAX_VERSION", none));
    }
    Ok(offered)
}

/// The suites of TLS 1.2 that were asked for.
struct Wanted {
    available: Vec<SupportedCipherSuite>,
    missing: Vec<&'static str>,
}

fn suites(text: &str) -> Result<Wanted, SettingsError> {
    let names: Vec<&str> = listed(text).collect();
    let mut missing = Vec::new();
    for name in &names {
        let known = SUITES_12.iter().any(|(known, _)| known == name) || ALWAYS_ON.contains(name);
        match NOT_HERE.iter().find(|absent| *absent == name) {
            Some(absent) => missing.push(*absent),
            None if known => {}
            None => return Err(SettingsError::Suite((*name).to_owned())),
        }
    }
    let chosen = |name: &str| text.is_empty() || names.contains(&name);
    let available = SUITES_12.iter().filter(|(name, _)| chosen(name));
    Ok(Wanted {
        available: available.map(|(_, suite)| *suite).collect(),
        missing,
    })
}

fn curves(text: &str) -> Result<Vec<&'static dyn SupportedKxGroup>, SettingsError> {
    let names: Vec<&str> = listed(text).collect();
    let known = |name: &str| CURVES.iter().any(|(names, _)| names.contains(&name));
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(SettingsError::Curve((*name).to_owned()));
    }
    // A list of nothing but commas is an empty list, which means all of them (as Go takes it).
    let chosen = |theirs: &[&str]| names.is_empty() || theirs.iter().any(|name| names.contains(name));
    let curves = CURVES.iter().filter(|(names, _)| chosen(names));
    Ok(curves.map(|(_, curve)| *curve).collect())
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    fn parse(texts: Texts<'_>) -> Result<Settings, SettingsError> {
        Settings::parse(&texts, "").map_err(|(_, error)| error)
    }

    fn offered(texts: Texts<'_>) -> Vec<ProtocolVersion> {
        let settings = parse(texts).expect("valid");
        settings.versions.iter().map(|version| version.version).collect()
    }

    #[test]
    fn versions_are_those_between_the_lowest_and_the_highest() {
        let (v12, v13) = (ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3);
        let range = |min_version, max_version| Texts {
            min_version,
            max_version,
            ..Texts::default()
        };
        assert_eq!(offered(Texts::default()), [v13]);
        assert_eq!(offered(range("1.3", "1.3")), [v13]);
        assert_eq!(offered(range("1.2", "")), [v13, v12]);
        assert_eq!(offered(range("1.2", "1.2")), [v12]);
        for (min, max) in [("1.1", ""), ("TLS1.2", ""), (" 1.3", ""), ("", "1.4"), ("", "1.2")] {
            assert!(parse(range(min, max)).is_err(), "{min} {max}");
        }
    }

    #[test]
    fn suites_are_taken_by_their_names_and_those_of_1_3_stay() {
        let suites = |cipher_suites| Texts {
            min_version: "1.2",
            cipher_suites,
            ..Texts::default()
        };
        let count = |text| parse(suites(text)).expect("valid").provider().cipher_suites.len();
        assert_eq!(count(""), 9);
        assert_eq!(
            count(" TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ,, TLS_AES_128_GCM_SHA256"),
            4
        );
        assert_eq!(count(","), 3, "an empty list of suites is no suite, as in Go");
        let missing = parse(suites("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")).expect("TLS 1.3 remains");
        assert_eq!(missing.missing, ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]);
        for unknown in ["TLS_RSA_WITH_RC4_128_SHA", "AES128", "tls_aes_128_gcm_sha256"] {
            assert_eq!(
                parse(suites(unknown)).expect_err("unknown"),
                SettingsError::Suite(unknown.to_owned())
            );
        }
        let nothing_left = Texts {
            max_version: "1.2",
            ..suites("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")
        };
        assert_eq!(parse(nothing_left).expect_err("nothing"), SettingsError::NoSuite);
    }

    #[test]
    fn curves_are_taken_by_both_names_and_stand_in_gos_order() {
        let curves = |curve_preferences| {
            let texts = Texts {
                curve_preferences,
                ..Texts::default()
            };
            let settings = parse(texts)?;
            Ok::<_, SettingsError>(settings.curves.iter().map(|curve| curve.name()).collect::<Vec<_>>())
        };
        assert_eq!(curves("").expect("all").len(), 5);
        let two = [NamedGroup::secp256r1, NamedGroup::secp521r1];
        assert_eq!(curves("CurveP521,P-256").expect("valid"), two);
        assert_eq!(curves("P-521 , CurveP256").expect("valid"), two);
        assert_eq!(curves("X25519MLKEM768").expect("valid"), [NamedGroup::X25519MLKEM768]);
        assert_eq!(
            curves("x25519").expect_err("unknown"),
            SettingsError::Curve("x25519".to_owned())
        );
    }
}
