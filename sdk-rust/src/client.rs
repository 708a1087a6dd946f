//! The client: what every verb needs, shared by all clones.
//!
//! Made by callers, once per process. Holds the transport to the sidecar and the two ways of an invoke; opens no
//! connection before the first call. The verbs themselves are in the files named after them.

mod builder;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use hyper_util::client::legacy::connect::HttpConnector;
use xdt_proto::ByteCount;

use crate::{
    Error, Result,
    transport::{
        LocalhostResolver, Transport,
        dial::{Dialer, HttpClient},
    },
};
pub use builder::ClientBuilder;
pub(crate) use builder::checked_timeout;

/// A function's connection to its own sidecar.
///
/// A clone shares connections with the original; clone it freely, into tasks and into handlers. All calls must be made
/// inside one tokio runtime with time and I/O enabled, because idle connections live there.
///
/// ```no_run
/// # async fn example() -> xdt::Result<()> {
/// let client = xdt::Client::connect()?;
/// let reference = client.put("hello").await?;
/// let object = client.get(&reference).await?;
/// assert_eq!(&object[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

pub(crate) struct Shared {
    pub(crate) transport: Transport,
    /// Small invokes, straight to the callee.
    pub(crate) direct: HttpClient<HttpConnector<LocalhostResolver>>,
    /// Large invokes, through the sidecar's egress proxy.
    pub(crate) egress: HttpClient<Dialer>,
    pub(crate) inline_limit: ByteCount,
    pub(crate) memory_limit: ByteCount,
}

impl Client {
    /// A client for this pod's sidecar, as the environment describes it. Opens no connection yet, so it succeeds also
    /// while the sidecar is still starting.
    ///
    /// Reads `XDT_LOCAL_ADDRESS`, `XDT_EGRESS_ADDRESS` and `XDT_INLINE_LIMIT` (contract, section 2).
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a variable does not parse; it is named.
    pub fn connect() -> Result<Self> {
        Self::builder().build()
    }

    /// A client with settings of its own; what is not set comes from the environment, then from the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The same client with another limit for its calls; connections are shared. 1 ms to 24 h.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client, reference: xdt::Reference) -> xdt::Result<()> {
    /// let object = client.with_timeout(std::time::Duration::from_secs(2))?.get(&reference).await?;
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) outside these bounds.
    pub fn with_timeout(&self, limit: Duration) -> Result<Self> {
        let timeout = checked_timeout(limit)?;
        let shared = self.shared.clone();
        Ok(Self { shared, timeout })
    }

    /// How long one call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn new(shared: Shared, timeout: Duration) -> Self {
        Self {
            shared: Arc::new(shared),
            timeout,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// `call`, bounded by this client's timeout.
    pub(crate) async fn bounded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.timeout, call).await
    }
}

/// Shows the limits, never the addresses.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("inline_limit", &self.shared.inline_limit)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// `call`, or [`Timeout`](crate::ErrorKind::Timeout) after `limit`.
pub(crate) async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Error::timed_out(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_and_its_calls_can_move_between_threads() {
        fn shareable<T: Clone + Send + Sync + 'static>(_: &T) {}
        fn movable<T: Send + 'static>(_: T) {}
        let client = Client::builder().build().expect("defaults are valid");
        shareable(&client);
        let reference = crate::Reference::from_sealed(&[1]).expect("short enough");
        movable(client.put("x").into_future());
        movable(client.get(&reference).into_future());
        movable(client.get(&reference).open());
        movable(client.invoke("http://f.localhost", "x").into_future());
    }

    #[test]
    fn debug_shows_no_address() {
        let client = Client::builder()
            .local_address(([127, 9, 9, 9], 1).into())
            .build()
            .expect("valid");
        assert!(!format!("{client:?}").contains("127.9"));
    }
}
