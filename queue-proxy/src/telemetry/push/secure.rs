//! Connections to a collector: plain for `http://`, TLS for `https://`, trusting the system's certificates or those of
//! `OTEL_EXPORTER_OTLP_CERTIFICATE`, showing those of `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

use crate::config::telemetry::{Collector, Framing, TlsFiles};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// A file.
    #[error("{path:?} holds no certificate or key in PEM form")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Its content.
    #[error("the certificates cannot be used")]
    Content(#[from] rustls::Error),
    /// The system trusts nobody.
    #[error("the system has no certificates that could be trusted; OTEL_EXPORTER_OTLP_CERTIFICATE names a file")]
    NoRoots,
}

/// What connects to `collector`. Certificates are read only for `https://`.
pub(super) fn connector(collector: &Collector) -> Result<HttpsConnector<HttpConnector>, SecureError> {
    let roots = match collector.endpoint.scheme_str() {
        Some("https") => roots(&collector.tls)?,
        _ => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &collector.tls.client {
        Some((certificate, key)) => {
            let key_file = PrivateKeyDer::from_pem_file(key).map_err(wrong(key))?;
            builder.with_client_auth_cert(certificates(certificate)?, key_file)?
        }
        None => builder.with_no_client_auth(),
    };
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(match collector.framing {
        Framing::Grpc => builder.enable_http2().wrap_connector(connector),
        Framing::Http => builder.enable_http1().wrap_connector(connector),
    })
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, SecureError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &files.trusted {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
        return Ok(roots);
    }
    // A bundle may hold what nobody can read; what is left counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(SecureError::NoRoots);
    }
    Ok(roots)
}

pub(in crate::telemetry) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecureError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(wrong(path))?;
    if all.is_empty() {
        return Err(wrong(path)(pem::Error::Io(io::ErrorKind::InvalidData.into())));
    }
    Ok(all)
}

pub(in crate::telemetry) fn wrong(path: &Path) -> impl FnOnce(pem::Error) -> SecureError {
    let path = path.to_owned();
    |source| SecureError::File { path, source }
}
