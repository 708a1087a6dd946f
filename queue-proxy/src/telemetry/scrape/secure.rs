//! TLS for scrapers (`METRICS_PROMETHEUS_TLS_*`): files read once at start, clients verified where that is asked for.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::telemetry::{Clients, ScrapeTls},
    telemetry::push::{SecureError, certificates, wrong},
};

/// Shakes hands as `tls` says.
pub(super) fn acceptor(tls: &ScrapeTls) -> Result<TlsAcceptor, SecureError> {
    // Checked when the configuration was read.
    let settings = tls.offer.settings().map_err(rustls::Error::General)?;
    let provider = Arc::new(settings.provider());
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(wrong(&tls.key))?;
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&settings.versions)?;
    let (file, anybody) = match &tls.clients {
        Clients::Unasked => {
            let config = builder.with_no_client_auth();
            return finish(config.with_single_cert(certificates(&tls.certificate)?, key)?);
        }
        Clients::Verified(file) => (file, true),
        Clients::Required(file) => (file, false),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if anybody {
        verifier.allow_unauthenticated()
    } else {
        verifier
    };
    let verifier = verifier
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let config = builder.with_client_cert_verifier(verifier);
    finish(config.with_single_cert(certificates(&tls.certificate)?, key)?)
}

fn finish(mut config: ServerConfig) -> Result<TlsAcceptor, SecureError> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
