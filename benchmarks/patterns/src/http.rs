//! The HTTP client of driver and producer: kept-alive connections, `TCP_NODELAY`, bounded answers, a deadline per call.
//!
//! Names under `.localhost` mean this host, as RFC 6761 says; not every system's resolver knows that.

use std::{
    future::{Ready, ready},
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, header};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

use crate::MAX_OBJECT_BYTES;

/// Longest call, its answer included: far above the slowest transfer, far below a user's patience with a lost peer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest JSON answer: a few hundred bytes for each consumer of a pattern.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Idle connections kept per host: above the highest degree of a pattern, so that no call waits for a new one.
pub(crate) const IDLE_CONNECTIONS: usize = 64;
/// Longest part of an error's body that is shown.
const SHOWN_CHARS: usize = 300;

/// A client for plain HTTP/1.1.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: Client<HttpConnector<Resolver>, Full<Bytes>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver);
        connector.set_nodelay(true);
        let inner = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { inner }
    }
}

impl HttpClient {
    /// `GET url`, answered in JSON.
    ///
    /// # Errors
    /// No answer in time, a status other than 2xx, or another JSON.
    pub async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let request = Request::get(url)
            .body(Full::default())
            .with_context(|| format!("{url} is no URL"))?;
        self.call(request).await.with_context(|| format!("GET {url}"))
    }

    /// `POST url` with `body` as it is, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(&self, url: &str, content_type: &str, body: Bytes) -> Result<T> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .with_context(|| format!("{url} is no URL"))?;
        self.call(request).await.with_context(|| format!("POST {url}"))
    }

    /// `POST url` with bytes and one header besides, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_with<T: DeserializeOwned>(&self, url: &str, header: (&str, &str), body: Bytes) -> Result<T> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header.0, header.1)
            .body(Full::new(body))
            .with_context(|| format!("{url} is no URL"))?;
        self.call(request).await.with_context(|| format!("POST {url}"))
    }

    /// `POST url` with a JSON body, answered in JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_json<T: DeserializeOwned>(&self, url: &str, body: &impl Serialize) -> Result<T> {
        self.post(url, "application/json", serde_json::to_vec(body)?.into())
            .await
    }

    /// `POST url` with a JSON body, answered with bytes: at most [`MAX_OBJECT_BYTES`] of them.
    ///
    /// # Errors
    /// No answer in time, or a status other than 2xx.
    pub async fn post_for_bytes(&self, url: &str, body: &impl Serialize) -> Result<(HeaderMap, Bytes)> {
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(serde_json::to_vec(body)?.into()))
            .with_context(|| format!("{url} is no URL"))?;
        let limit = usize::try_from(MAX_OBJECT_BYTES)?;
        self.send(request, limit).await.with_context(|| format!("POST {url}"))
    }

    async fn call<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Result<T> {
        parse(&self.send(request, MAX_ANSWER_BYTES).await?.1)
    }

    async fn send(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<(HeaderMap, Bytes)> {
        let answer = async {
            let response = self.inner.request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await;
            Ok::<_, anyhow::Error>((head, body.map_err(|error| anyhow!(error))?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(CALL_TIMEOUT, answer)
            .await
            .with_context(|| format!("no answer within {} s", CALL_TIMEOUT.as_secs()))??;
        if !head.status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(SHOWN_CHARS).collect();
            bail!("{}: {text}", head.status);
        }
        Ok((head.headers, body))
    }
}

/// Reads a JSON answer.
///
/// # Errors
/// Anything else; the error shows how it begins.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).with_context(|| {
        let text: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARS).collect();
        format!("not the expected JSON: {text}")
    })
}

/// Resolves `localhost` and all names below it to the loopback address, others as the system does.
#[derive(Debug, Clone, Copy)]
struct Resolver;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let name = name.as_str().trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            return ready(Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))].into_iter()));
        }
        // Blocks for as long as the system's resolver does; nothing here is called by another name in practice.
        ready((name, 0).to_socket_addrs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_under_localhost_are_this_host() {
        for name in ["localhost", "consumer.default.localhost", "a.localhost."] {
            let name: Name = name.parse().unwrap();
            let found: Vec<_> = Resolver.call(name).await.unwrap().collect();
            assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        }
    }

    #[tokio::test]
    async fn a_call_that_nobody_answers_names_its_url() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/info", listener.local_addr().unwrap());
        drop(listener);
        let error = HttpClient::default().get::<serde_json::Value>(&url).await.unwrap_err();
        assert!(format!("{error:#}").contains(&url), "{error:#}");
    }

    #[test]
    fn another_json_is_shown() {
        let error = parse::<u64>(b"<html>").unwrap_err();
        assert!(format!("{error:#}").contains("<html>"), "{error:#}");
    }
}
