//! The client of the two functions: asks the producer for one transfer, reads the sidecars' counters around it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use xdt::{Client, Status};
use xdt_patterns::{
    http::HttpClient,
    messages::{Backend, Info, Report, Run},
    object::Source,
};

/// A status is a few counters: without an answer in this time, the sidecar is gone.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// The functions of a run and the way to them.
#[derive(Debug)]
pub(crate) struct Driver {
    http: HttpClient,
    producer_url: String,
    consumer_url: String,
    grpc_address: SocketAddr,
    producer: Client,
    consumer: Client,
}

/// One of the two functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that sends.
    Producer,
    /// The one that receives.
    Consumer,
}

impl Driver {
    /// Calls both functions once, through the ingress and their sidecars.
    ///
    /// # Errors
    /// If one of them does not answer, or has no sidecar.
    pub(crate) async fn connect(producer_url: &str, consumer_url: &str) -> Result<Self> {
        let http = HttpClient::default();
        let producer: Info = http
            .get(&format!("{producer_url}/info"))
            .await
            .context("the producer does not answer")?;
        let consumer: Info = http
            .get(&format!("{consumer_url}/info"))
            .await
            .context("the consumer does not answer")?;
        Ok(Self {
            http,
            producer_url: producer_url.to_owned(),
            consumer_url: consumer_url.to_owned(),
            grpc_address: consumer.grpc_address.context("the consumer has no gRPC server")?,
            producer: sidecar(&producer)?,
            consumer: sidecar(&consumer)?,
        })
    }

    /// Makes one transfer; the time is the call's, from here to here.
    ///
    /// # Errors
    /// If it fails; nothing is repeated.
    pub(crate) async fn transfer(&self, backend: Backend, source: &Source) -> Result<(Report, Duration)> {
        let run = Run {
            backend,
            source: source.clone(),
            consumer_url: self.consumer_url.clone(),
            grpc_address: self.grpc_address,
        };
        let url = format!("{}/run", self.producer_url);
        let begun = Instant::now();
        let report = self.http.post_json(&url, &run).await?;
        Ok((report, begun.elapsed()))
    }

    /// Asks the sidecar of `side`.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn status(&self, side: Side) -> Result<Status> {
        let sidecar = match side {
            Side::Producer => &self.producer,
            Side::Consumer => &self.consumer,
        };
        sidecar
            .status()
            .await
            .with_context(|| format!("the {side:?}'s sidecar does not tell its status"))
    }
}

/// The sidecar that a function says it has.
fn sidecar(info: &Info) -> Result<Client> {
    let address = info.sidecar_address.as_deref().context("a function has no sidecar")?;
    Ok(Client::builder()
        .local_address(address.parse()?)
        .timeout(STATUS_TIMEOUT)
        .build()?)
}

/// Transfers by path, whatever their outcome.
pub(crate) fn paths(status: &Status) -> BTreeMap<String, u64> {
    let mut paths = BTreeMap::new();
    for transfers in &status.transfers {
        *paths.entry(transfers.path.clone()).or_default() += transfers.count;
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_one_path_are_summed() {
        let text = r#"{"objects":{"held":1,"bytes":7,"bytes_limit":9},"pool":{"used":0,"limit":32},
            "transfers":[{"path":"stream","outcome":"ok","count":3},{"path":"stream","outcome":"timeout","count":1},
            {"path":"node","outcome":"ok","count":2}],"peers":1}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(
            paths(&status),
            BTreeMap::from([("stream".into(), 4), ("node".into(), 2)])
        );
    }
}
