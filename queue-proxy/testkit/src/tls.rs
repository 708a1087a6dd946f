//! TLS from the outside: certificates made on the spot, mounted as the kubelet mounts them, and clients that offer exactly
//! what a test wants.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::wait::within;

/// The name that Knative's activator verifies.
pub const NAME: &str = "data-plane.knative.dev";

/// A self-signed certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate in PEM form.
    pub pem: String,
    /// Its key in PEM form.
    pub key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A fresh one for [`NAME`] and these names.
    ///
    /// # Panics
    /// If a name is none.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = [NAME].iter().chain(names).map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("names");
        Self {
            pem: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        }
    }

    /// As [`Self::new`], with a key of RSA in place of ECDSA on P-256.
    ///
    /// # Panics
    /// If there is no randomness.
    #[must_use]
    pub fn rsa() -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("randomness");
        let parameters = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }

    /// A server that shows it and speaks HTTP/2 and HTTP/1.1.
    ///
    /// # Panics
    /// If it is no certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("suites for these versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config).into()
    }

    /// Whether the other side showed this one.
    #[must_use]
    pub fn is_shown(&self, stream: &TlsStream<TcpStream>) -> bool {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        shown.first() == Some(&self.der)
    }
}

/// An authority that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A fresh one.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its own certificate in PEM form.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for this name.
    ///
    /// # Panics
    /// If it is no name.
    #[must_use]
    pub fn certificate(&self, name: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let made = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate {
            pem: made.pem(),
            key: key.serialize_pem(),
            der: made.der().clone(),
        }
    }

    /// What a sidecar mounts for `XDT_TLS_*`: `tls.crt`, `tls.key`, `ca.crt`.
    #[must_use]
    pub fn mount(&self, name: &str) -> Mount {
        let own = self.certificate(name);
        Mount::of(&[("tls.crt", &own.pem), ("tls.key", &own.key), ("ca.crt", &self.pem())])
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A mounted secret: `tls.crt` and `tls.key` are links through `..data`, which is replaced in one step.
#[derive(Debug)]
pub struct Mount(TempDir);

impl Mount {
    /// With both files.
    #[must_use]
    pub fn new(certificate: &Certificate) -> Self {
        Self::of(&[("tls.crt", &certificate.pem), ("tls.key", &certificate.key)])
    }

    /// With these files.
    ///
    /// # Panics
    /// If they cannot be written.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mount = Self(TempDir::new().expect("a temporary folder"));
        for (name, _) in files {
            std::os::unix::fs::symlink(format!("..data/{name}"), mount.path().join(name)).expect("a link");
        }
        mount.swap(files);
        mount
    }

    /// Replaces what the files hold, all at once.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn swap(&self, files: &[(&str, &str)]) {
        let version = TempDir::with_prefix_in("..version", self.path())
            .expect("a folder")
            .keep();
        for (name, text) in files {
            fs::write(version.join(name), text).expect("a writable folder");
        }
        let link = self.path().join("..data_tmp");
        std::os::unix::fs::symlink(version, &link).expect("a link");
        fs::rename(link, self.path().join("..data")).expect("the same folder");
    }

    /// Replaces both files.
    pub fn renew(&self, certificate: &Certificate) {
        self.swap(&[("tls.crt", &certificate.pem), ("tls.key", &certificate.key)]);
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What a client offers.
#[derive(Debug, Clone)]
pub struct TlsClient {
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    provider: CryptoProvider,
    name: &'static str,
    sni: bool,
    shown: Option<Certificate>,
    roots: RootCertStore,
}

impl TlsClient {
    /// Trusts these certificates; offers TLS 1.3, no ALPN, all curves.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn new(trusted: &[&Certificate]) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add(certificate.der.clone()).expect("a certificate");
        }
        Self {
            versions: vec![&TLS13],
            alpn: Vec::new(),
            provider: default_provider(),
            name: NAME,
            sni: true,
            shown: None,
            roots,
        }
    }

    /// Offers these versions.
    #[must_use]
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Offers these protocols.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Offers what is left of the cryptography after `change`.
    #[must_use]
    pub fn offering(mut self, change: impl FnOnce(&mut CryptoProvider)) -> Self {
        change(&mut self.provider);
        self
    }

    /// Trusts what this authority has signed.
    ///
    /// # Panics
    /// If its certificate is none.
    #[must_use]
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.roots.add(authority.0.der().clone()).expect("a certificate");
        self
    }

    /// Shows this certificate when it is asked for one.
    #[must_use]
    pub fn showing(mut self, certificate: &Certificate) -> Self {
        self.shown = Some(certificate.clone());
        self
    }

    /// Asks for, and verifies, this name.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Names nobody in its hello.
    #[must_use]
    pub fn without_sni(mut self) -> Self {
        self.sni = false;
        self
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// The connection's, or what the other side refused.
    ///
    /// # Panics
    /// If what the client offers contradicts itself.
    pub async fn try_connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let config = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&self.versions)
            .expect("suites for these versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.shown {
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("a key");
                config
                    .with_client_auth_cert(vec![shown.der.clone()], key)
                    .expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.sni;
        let name = ServerName::try_from(self.name).expect("a name");
        within("a TLS handshake", async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            TlsConnector::from(Arc::new(config)).connect(name, socket).await
        })
        .await
    }

    /// As [`Self::try_connect`].
    ///
    /// # Panics
    /// If it fails.
    pub async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        self.try_connect(address).await.expect("a TLS connection")
    }
}
