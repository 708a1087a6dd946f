//! One object to one consumer, by each of the backends, over connections that are kept from call to call.
//!
//! All of them get the same `Bytes` and end with the consumer's answer. Connections are opened before the clock starts;
//! every call has the same deadline.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell};

use crate::{
    http::{CALL_TIMEOUT, HttpClient, parse},
    messages::{Backend, Fetch, Receipt, Run},
    storage::Storage,
    tcp, vanilla,
};

/// What is kept open between transfers.
#[derive(Debug, Default)]
pub(super) struct Links {
    http: HttpClient,
    storage: Storage,
    xdt: OnceCell<xdt::Client>,
    grpc: Mutex<HashMap<SocketAddr, vanilla::Sender>>,
    tcp: Mutex<HashMap<SocketAddr, Arc<std::sync::Mutex<tcp::Sender>>>>,
}

impl Links {
    /// Opens what the run needs and is not open yet. At most one connection for each peer of the run is kept.
    pub(super) async fn open(&self, run: &Run) -> Result<()> {
        match run.backend {
            Backend::GrpcStream => {
                let mut open = self.grpc.lock().await;
                open.retain(|address, _| run.peers.contains(address));
                for &peer in &run.peers {
                    if let Entry::Vacant(vacant) = open.entry(peer) {
                        vacant.insert(vanilla::Sender::connect(peer).await?);
                    }
                }
            }
            Backend::Tcp => {
                let mut open = self.tcp.lock().await;
                open.retain(|address, _| run.peers.contains(address));
                for &peer in &run.peers {
                    if let Entry::Vacant(vacant) = open.entry(peer) {
                        let sender = tokio::task::spawn_blocking(move || tcp::Sender::connect(peer)).await??;
                        vacant.insert(Arc::new(std::sync::Mutex::new(sender)));
                    }
                }
            }
            Backend::Xdt => drop(self.sdk().await?),
            Backend::Inline | Backend::S3 | Backend::S3Control | Backend::Redis => {}
        }
        Ok(())
    }

    async fn sdk(&self) -> Result<&xdt::Client> {
        Ok(self.xdt.get_or_try_init(async || crate::sdk()).await?)
    }

    /// Sends `object` by value to the consumer, or to peer `number` of those that are reached directly.
    pub(super) async fn send(&self, run: &Run, number: usize, object: Bytes) -> Result<Receipt> {
        let url = || format!("{}/take", run.consumer_url.trim_end_matches('/'));
        match run.backend {
            Backend::Inline => self.http.post(&url(), "application/octet-stream", object).await,
            Backend::Xdt => self.invoke(&url(), object).await,
            Backend::GrpcStream => self.grpc(peer(run, number)?, object).await,
            Backend::Tcp => self.tcp(peer(run, number)?, object).await,
            stored => bail!("{stored:?} does not send by value"),
        }
    }

    /// Holds `object` for `retrievals` gets, under `key` where the backend has keys; tells its reference or key.
    pub(super) async fn put(&self, backend: Backend, key: &str, object: Bytes, retrievals: u16) -> Result<String> {
        if backend == Backend::Xdt {
            let put = self.sdk().await?.put(object).retrievals(retrievals).await;
            return Ok(put.context("put failed")?.to_string());
        }
        self.storage.put(backend, key, object).await?;
        Ok(key.to_owned())
    }

    /// Has the consumer fetch what lies under `handle`.
    pub(super) async fn ask(&self, run: &Run, handle: &str) -> Result<Vec<Receipt>> {
        let fetch = Fetch {
            backend: run.backend,
            handles: vec![handle.to_owned()],
        };
        let url = format!("{}/fetch", run.consumer_url.trim_end_matches('/'));
        self.http.post_json(&url, &fetch).await
    }

    async fn invoke(&self, url: &str, object: Bytes) -> Result<Receipt> {
        let response = self.sdk().await?.invoke(url, object).await?;
        let status = response.status();
        let body = response.bytes().await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        parse(&body)
    }

    async fn grpc(&self, peer: SocketAddr, object: Bytes) -> Result<Receipt> {
        let mut sender = self.grpc.lock().await.get(&peer).context("no gRPC channel")?.clone();
        tokio::time::timeout(CALL_TIMEOUT, sender.send(object))
            .await
            .context("no answer in time")?
    }

    async fn tcp(&self, peer: SocketAddr, object: Bytes) -> Result<Receipt> {
        let sender = Arc::clone(self.tcp.lock().await.get(&peer).context("no TCP connection")?);
        let send = move || {
            let mut sender = sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sender.send(&object)
        };
        tokio::task::spawn_blocking(send).await.context("the send was lost")?
    }
}

fn peer(run: &Run, number: usize) -> Result<SocketAddr> {
    let peer = run.peers.get(number).copied();
    peer.with_context(|| format!("there is no peer {number} among {}", run.peers.len()))
}
