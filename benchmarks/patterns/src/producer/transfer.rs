//! One object to the consumer, by each of the backends, over connections that are kept from call to call.
//!
//! All of them get the same `Bytes` and end with the consumer's answer. Connections are opened before the clock starts;
//! every call has the same deadline.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::{
    http::{CALL_TIMEOUT, HttpClient, parse},
    messages::{Arrival, Backend, Get, Run},
    vanilla::Sender,
};

/// A finished transfer.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) arrival: Arrival,
    pub(super) reference: Option<String>,
}

/// What is kept open between transfers.
#[derive(Debug, Default)]
pub(super) struct Connections {
    http: HttpClient,
    grpc: Option<(SocketAddr, Sender)>,
    xdt: Option<xdt::Client>,
}

impl Connections {
    /// Opens what the backend needs and is not open yet.
    pub(super) async fn open(&mut self, run: &Run) -> Result<()> {
        let connected = self
            .grpc
            .as_ref()
            .is_some_and(|(address, _)| *address == run.grpc_address);
        if run.backend == Backend::GrpcStream && !connected {
            self.grpc = Some((run.grpc_address, Sender::connect(run.grpc_address).await?));
        }
        if run.backend.is_xdt() && self.xdt.is_none() {
            self.xdt = Some(xdt::Client::builder().timeout(CALL_TIMEOUT).build()?);
        }
        Ok(())
    }

    /// The timed part.
    pub(super) async fn transfer(&mut self, run: &Run, object: Bytes) -> Result<Outcome> {
        let url = run.consumer_url.trim_end_matches('/');
        match run.backend {
            Backend::Inline => self.inline(url, object).await,
            Backend::GrpcStream => self.grpc_stream(object).await,
            Backend::XdtInvoke => self.xdt_invoke(url, object).await,
            Backend::XdtPutGet => self.xdt_put_get(url, object).await,
        }
    }

    async fn inline(&self, url: &str, object: Bytes) -> Result<Outcome> {
        let arrival = self
            .http
            .post(&format!("{url}/invoke"), "application/octet-stream", object)
            .await?;
        Ok(Outcome {
            arrival,
            reference: None,
        })
    }

    async fn grpc_stream(&mut self, object: Bytes) -> Result<Outcome> {
        let (_, sender) = self.grpc.as_mut().context("no gRPC channel")?;
        let arrival = tokio::time::timeout(CALL_TIMEOUT, sender.send(object))
            .await
            .context("no answer in time")??;
        Ok(Outcome {
            arrival,
            reference: None,
        })
    }

    async fn xdt_invoke(&self, url: &str, object: Bytes) -> Result<Outcome> {
        let client = self.xdt.as_ref().context("no XDT client")?;
        let response = client.invoke(format!("{url}/invoke"), object).await?;
        let status = response.status();
        let body = response.bytes().await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(Outcome {
            arrival: parse(&body)?,
            reference: None,
        })
    }

    async fn xdt_put_get(&self, url: &str, object: Bytes) -> Result<Outcome> {
        let client = self.xdt.as_ref().context("no XDT client")?;
        let reference = client.put(object).retrievals(1).await?.to_string();
        let get = Get { reference };
        let arrival = self.http.post_json(&format!("{url}/get"), &get).await?;
        Ok(Outcome {
            arrival,
            reference: Some(get.reference),
        })
    }
}
