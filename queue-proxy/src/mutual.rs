//! Mutual TLS between queue-proxies (`XDT_TLS_*`): both sides of the data port from one certificate, its key and the
//! authority that both trust. Whoever has no certificate of that authority for [`NAME`] is refused, the same way whatever
//! was wrong; tickets are wanted all the same. Followed while running: new connections use what the files hold now.
//!
//! TLS 1.3 only, full handshakes only: connections live long, and a resumed session would outlive its certificate.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid, verify_server_name},
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject as _},
    server::{
        NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use zeroize::Zeroizing;

/// The name that every queue-proxy's certificate is for (a DNS name among its subject alternative names).
pub const NAME: &str = "xdt-queue-proxy";
/// Largest file that is read: a Kubernetes Secret holds no more.
const MAX_FILE: u64 = 1 << 20;

/// Where certificate, key and authority lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `XDT_TLS_CERT_FILE`: the certificate and those between it and the authority.
    pub certificate: PathBuf,
    /// `XDT_TLS_KEY_FILE`.
    pub key: PathBuf,
    /// `XDT_TLS_CA_FILE`: one certificate or more, any of which may have signed a peer's.
    pub authority: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MutualError {
    /// Unreadable, or too long to be what it should be.
    #[error("{variable}: the file cannot be read")]
    Read {
        /// The variable that names it.
        variable: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not PEM, or nothing of the kind in it.
    #[error("{variable}: the file holds no {what} in PEM form")]
    Pem {
        /// The variable that names it.
        variable: &'static str,
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("XDT_TLS_CERT_FILE and XDT_TLS_KEY_FILE are no pair that can be used")]
    Pair(#[source] TlsError),
    /// The certificate is for other names: every peer would refuse it.
    #[error("XDT_TLS_CERT_FILE: the certificate is not for the name {NAME}")]
    Name(#[source] TlsError),
    /// What should be an authority's certificate is none.
    #[error("XDT_TLS_CA_FILE: a certificate in it cannot be trusted")]
    Authority(#[source] TlsError),
    /// The same.
    #[error("XDT_TLS_CA_FILE: nobody can be verified by it")]
    Verifier(#[from] VerifierBuilderError),
}

/// What two readings are compared by.
type Hash = [u8; 32];

/// Both sides, as the files had them when they were last good.
pub struct Mutual {
    files: Files,
    sides: ArcSwap<Sides>,
}

struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    hash: Hash,
}

impl Mutual {
    /// Reads the files.
    ///
    /// # Errors
    /// [`MutualError`].
    pub fn open(files: &Files) -> Result<Arc<Self>, MutualError> {
        let texts = Texts::read(files)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            sides: ArcSwap::from_pointee(texts.sides()?),
        }))
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> [&Path; 3] {
        [&self.files.certificate, &self.files.key, &self.files.authority]
    }

    /// Reads the files again; `true` if they hold something new, which new connections use from now on.
    ///
    /// # Errors
    /// [`MutualError`]; the old ones stay in use.
    pub fn reload(&self) -> Result<bool, MutualError> {
        let texts = Texts::read(&self.files)?;
        if texts.hash() == self.sides.load().hash {
            return Ok(false);
        }
        self.sides.store(Arc::new(texts.sides()?));
        Ok(true)
    }

    /// Shakes hands with a peer that has connected.
    ///
    /// # Errors
    /// Why the peer was refused, or refused us.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let config = self.sides.load().server.clone();
        TlsAcceptor::from(config).accept(socket).await
    }

    /// Shakes hands with a peer that we have connected to.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn connect(&self, socket: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let config = self.sides.load().client.clone();
        TlsConnector::from(config).connect(name(), socket).await
    }
}

fn name() -> ServerName<'static> {
    #[allow(clippy::expect_used)]
    ServerName::try_from(NAME).expect("letters and hyphens are a DNS name")
}

/// The texts of the three files.
struct Texts {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    authority: Vec<u8>,
}

impl Texts {
    fn read(files: &Files) -> Result<Self, MutualError> {
        Ok(Self {
            certificate: read("XDT_TLS_CERT_FILE", &files.certificate)?,
            key: Zeroizing::new(read("XDT_TLS_KEY_FILE", &files.key)?),
            authority: read("XDT_TLS_CA_FILE", &files.authority)?,
        })
    }

    fn hash(&self) -> Hash {
        let parts = [&self.certificate, &*self.key, &self.authority];
        let hash = parts.into_iter().fold(Sha256::new(), |hash, part| {
            hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        hash.finalize().into()
    }

    fn sides(&self) -> Result<Sides, MutualError> {
        let provider = Arc::new(default_provider());
        let chain = certificates("XDT_TLS_CERT_FILE", &self.certificate)?;
        is_for_us(&chain)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| MutualError::Pem {
            variable: "XDT_TLS_KEY_FILE",
            what: "private key",
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("XDT_TLS_CA_FILE", &self.authority)? {
            roots.add(certificate).map_err(MutualError::Authority)?;
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(MutualError::Pair)?
            .with_client_cert_verifier(Arc::new(Named(verifier)))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(MutualError::Pair)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = client_config(provider)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(MutualError::Pair)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Sides {
            server: Arc::new(server),
            client: Arc::new(client),
            hash: self.hash(),
        })
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, MutualError> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(MutualError::Pair)
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, MutualError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if count as u64 > MAX_FILE => Err(MutualError::Read {
            variable,
            source: io::ErrorKind::FileTooLarge.into(),
        }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(MutualError::Read { variable, source }),
    }
}

fn certificates(variable: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, MutualError> {
    let none = |source| MutualError::Pem {
        variable,
        what: "certificate",
        source,
    };
    let all = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(none)?;
    if all.is_empty() {
        return Err(none(pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// A certificate that no peer would take is told at the start, not at the first pull.
fn is_for_us(chain: &[CertificateDer<'static>]) -> Result<(), MutualError> {
    let own = chain.first().map(ParsedCertificate::try_from);
    let own = own
        .unwrap_or(Err(TlsError::NoCertificatesPresented))
        .map_err(MutualError::Pair)?;
    verify_server_name(&own, &name()).map_err(MutualError::Name)
}

/// Verifies a peer that connects: the chain as webpki does, and then the name, as a client verifies a server's. Every
/// refusal looks alike to the peer.
#[derive(Debug)]
struct Named(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // the authority's name is topology, and peers have one certificate only
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self
            .0
            .verify_client_cert(end_entity, intermediates, now)
            .and_then(|verified| {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, &name())?;
                Ok(verified)
            });
        verified.map_err(|error| {
            tracing::debug!(%error, "a peer's certificate was refused");
            CertificateError::ApplicationVerificationFailure.into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
