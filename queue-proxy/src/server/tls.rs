//! The TLS front on `QUEUE_SERVING_TLS_PORT` (contract of the queue-proxy, section 10): one certificate for every name,
//! no client certificates, ALPN `h2` and `http/1.1`, the pair read anew each minute. What is behind it is the plain
//! port's; a handshake is bounded in time and all of them in number.

pub(super) mod handshakes;
pub mod p521;
pub mod pair;
mod plain;
mod reload;
pub mod settings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    server::{NoServerSessionStorage, ProducesTickets},
    sign::SingleCertAndKey,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::accept::NEW_CONNECTION_WAIT;
use handshakes::Handshakes;
use pair::{Hash, Pair, PairError};
use settings::Settings;

/// What clients may speak, in our order.
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Session tickets sent after a handshake (as Go's server).
const TICKETS: usize = 1;
/// Bytes of the header of a TLS record.
const RECORD_HEADER: usize = 5;

/// Why the TLS port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error("QUEUE_SERVING_TLS_PORT is not a port number")]
    Port,
    #[error("the TLS settings contradict each other")]
    Settings(#[from] rustls::Error),
}

/// Turns accepted connections into TLS connections.
pub(super) struct Tls {
    /// Replaced whole: a ticket of an old certificate's time is worth nothing under a new one.
    config: ArcSwap<ServerConfig>,
    settings: Settings,
    provider: Arc<CryptoProvider>,
    handshakes: Handshakes,
}

/// A connection after its handshake.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    /// The client chose HTTP/2.
    pub(super) h2: bool,
}

impl Tls {
    /// Reads the mounted pair; `None` where there is none.
    ///
    /// # Errors
    /// [`PairError`] where there is one that cannot be used.
    pub(super) fn open(settings: &Settings) -> Result<Option<(Arc<Self>, Hash)>, TlsError> {
        if !Pair::exists(&settings.folder)? {
            return Ok(None);
        }
        if !settings.missing.is_empty() {
            let suites = settings.missing.join(",");
            tracing::warn!(suites, "cipher suites that this proxy does not have are left out");
        }
        tracing::info!(
            folder = %settings.folder.display(),
            "Starting to watch the following directories for changes"
        );
        let provider = Arc::new(settings.provider());
        let pair = Pair::read(&settings.folder)?;
        let tls = Self {
            config: ArcSwap::from(server_config(&pair, settings, &provider)?),
            settings: settings.clone(),
            provider,
            handshakes: Handshakes::new(handshakes::MOST),
        };
        Ok(Some((Arc::new(tls), pair.hash())))
    }

    /// Follows the files until the process ends.
    pub(super) fn watch(self: &Arc<Self>, hash: Hash) {
        tokio::spawn(reload::follow(self.clone(), hash));
    }

    /// Serves `pair` to new connections.
    fn replace(&self, pair: &Pair) -> Result<(), TlsError> {
        self.config.store(server_config(pair, &self.settings, &self.provider)?);
        Ok(())
    }

    /// Shakes hands. `None`: the client did not, or not in time; one that spoke plain HTTP has got its answer.
    pub(super) async fn accept(&self, socket: TcpStream, stop: &CancellationToken) -> Option<Secured> {
        let closed = async {
            stop.cancelled().await;
            tokio::time::sleep(NEW_CONNECTION_WAIT).await;
        };
        tokio::select! {
            done = self.handshakes.bounded(self.handshake(socket)) => done.flatten(),
            () = closed => None,
        }
    }

    async fn handshake(&self, mut socket: TcpStream) -> Option<Secured> {
        // Read here, because an answer in plain HTTP must not follow an alert of TLS.
        let mut header = [0; RECORD_HEADER];
        socket.read_exact(&mut header).await.ok()?;
        if plain::is_http(&header) {
            plain::answer(socket).await;
            return None;
        }
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let accepted = acceptor.accept_with(socket, |session| {
            // Reading from memory does not fail; a header that is none is told by the handshake.
            let _read = session.read_tls(&mut header.as_slice());
        });
        match accepted.await {
            Ok(stream) => Some(Secured {
                h2: stream.get_ref().1.alpn_protocol() == Some(H2),
                stream,
            }),
            Err(error) => {
                tracing::debug!(%error, "TLS handshake error");
                None
            }
        }
    }
}

fn server_config(
    pair: &Pair,
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let certified = pair.certified(provider)?;
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&settings.versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    // Go's servers choose by their own order too.
    config.ignore_client_order = true;
    // Sessions travel with the client: nothing is kept here for those who never come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let tickets: Arc<dyn ProducesTickets> = Ticketer::new()?;
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}
