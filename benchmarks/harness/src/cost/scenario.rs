//! What is asked of a queue-proxy: each scenario in one line.

use http::Version;
use serde::{Serialize, Serializer};

/// HTTP/2 connections that the streams of a loaded scenario share, as a few activators or ingresses would have.
pub(crate) const HTTP2_CONNECTIONS: usize = 4;
/// Requests at once with large bodies: enough to keep every process busy.
const FEW: usize = 4;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name in tables and files.
    pub(crate) name: &'static str,
    /// Protocol to the queue-proxy.
    pub(crate) version: Version,
    /// What one request is.
    pub(crate) exchange: Exchange,
    /// Requests at once.
    at_once: AtOnce,
}

/// What one request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// A `GET` with an ingress's headers, answered with two bytes.
    Small,
    /// A `POST` of so many bytes, answered with their number.
    Upload(usize),
    /// A `GET` answered with so many bytes.
    Download(usize),
}

#[derive(Debug, Clone, Copy)]
enum AtOnce {
    Exactly(usize),
    /// `--connections`.
    Connections,
}

const fn scenario(name: &'static str, version: Version, exchange: Exchange, at_once: AtOnce) -> Scenario {
    Scenario {
        name,
        version,
        exchange,
        at_once,
    }
}

const MB: usize = 1 << 20;

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: [Scenario; 8] = {
    use AtOnce::{Connections, Exactly};
    use Exchange::{Download, Small, Upload};
    [
        scenario("http/1.1 one by one", Version::HTTP_11, Small, Exactly(1)),
        scenario("http/1.1 loaded", Version::HTTP_11, Small, Connections),
        scenario("h2c one by one", Version::HTTP_2, Small, Exactly(1)),
        scenario("h2c loaded", Version::HTTP_2, Small, Connections),
        scenario("1 MB up", Version::HTTP_11, Upload(MB), Exactly(FEW)),
        scenario("1 MB down", Version::HTTP_11, Download(MB), Exactly(FEW)),
        scenario("64 MB up", Version::HTTP_11, Upload(64 * MB), Exactly(1)),
        scenario("64 MB down", Version::HTTP_11, Download(64 * MB), Exactly(1)),
    ]
};

impl Scenario {
    /// Requests at once.
    pub(crate) const fn at_once(&self, connections: usize) -> usize {
        match self.at_once {
            AtOnce::Exactly(count) => count,
            AtOnce::Connections => connections,
        }
    }
}

impl Exchange {
    /// Bytes of the large body; 0 for a small request.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Small => 0,
            Self::Upload(bytes) | Self::Download(bytes) => bytes,
        }
    }
}

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}
