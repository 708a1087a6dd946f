//! The load: so many clients in a closed loop, each over its own connection (HTTP/1.1) or stream (HTTP/2), every answer
//! checked for status and length.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Method, Request, Response, StatusCode, Version, header::HOST, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    scenario::{Exchange, HTTP2_CONNECTIONS, Scenario},
    user_container::{BYTES, SMALL, zeros},
};

/// What an ingress adds to a small request, in the usual sizes.
const INGRESS: [(&str, &str); 6] = [
    ("user-agent", "xdt-bench/1"),
    ("accept", "*/*"),
    ("x-request-id", "2b21f2b0-6c0a-4a5e-9f3b-0a1d5f0c7a11"),
    ("x-forwarded-for", "10.4.1.17, 10.4.0.9"),
    ("x-forwarded-proto", "http"),
    ("forwarded", "for=10.4.1.17;proto=http"),
];
/// Reads at once and HTTP/2 windows: large, so that the queue-proxy sets the pace.
const READ: usize = 512 * 1024;
const WINDOW: u32 = 16 << 20;

/// What one slice of load found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slice {
    /// Time of each request in nanoseconds.
    pub(crate) latencies: Vec<u64>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// What `cpu` counted in that time.
    pub(crate) cpu: Duration,
}

/// Connects, warms each connection with one request, and then loads `address` for `time`; `cpu` is read around that.
///
/// # Errors
/// A failed request, or an answer with another status or length than meant.
pub(crate) async fn slice(
    address: SocketAddr,
    scenario: &Scenario,
    connections: usize,
    time: Duration,
    cpu: impl Fn() -> Result<Duration>,
) -> Result<Slice> {
    let exchange = scenario.exchange;
    let clients = connect(address, scenario, connections).await?;
    let (before, begun) = (cpu()?, Instant::now());
    let mut loops = JoinSet::new();
    for client in clients {
        loops.spawn(repeat(client, exchange, begun + time));
    }
    let mut slice = Slice::default();
    let mut clients = Vec::new(); // still open while the CPU time is read
    while let Some(ended) = loops.join_next().await {
        let (client, latencies) = ended??;
        slice.latencies.extend(latencies);
        clients.push(client);
    }
    slice.elapsed = begun.elapsed();
    slice.cpu = cpu()?.saturating_sub(before);
    Ok(slice)
}

async fn repeat(mut client: Client, exchange: Exchange, end: Instant) -> Result<(Client, Vec<u64>)> {
    let mut latencies = Vec::new();
    loop {
        let begun = Instant::now();
        client.exchange(exchange).await?;
        latencies.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if Instant::now() >= end {
            return Ok((client, latencies));
        }
    }
}

async fn connect(address: SocketAddr, scenario: &Scenario, connections: usize) -> Result<Vec<Client>> {
    let count = scenario.at_once(connections);
    let mut clients: Vec<_> = if scenario.version == Version::HTTP_2 {
        let opened = try_join_all((0..count.min(HTTP2_CONNECTIONS)).map(|_| Client::http2(address))).await?;
        opened.iter().cycle().take(count).filter_map(Client::shared).collect()
    } else {
        try_join_all((0..count).map(|_| Client::http1(address))).await?
    };
    try_join_all(clients.iter_mut().map(|client| client.exchange(Exchange::Small))).await?;
    Ok(clients)
}

/// One connection, or a share of one.
#[derive(Debug)]
enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn http1(address: SocketAddr) -> Result<Self> {
        let mut builder = http1::Builder::new();
        let (sender, driver) = builder
            .max_buf_size(READ)
            .handshake(TokioIo::new(open(address).await?))
            .await?;
        tokio::spawn(driver); // its errors are those of the requests
        Ok(Self::Http1(sender))
    }

    async fn http2(address: SocketAddr) -> Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let (sender, driver) = builder
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(open(address).await?))
            .await?;
        tokio::spawn(driver); // its errors are those of the requests
        Ok(Self::Http2(sender))
    }

    async fn exchange(&mut self, exchange: Exchange) -> Result<()> {
        let request = request(exchange, matches!(self, Self::Http2(_)))?;
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        };
        checked(exchange, response.context("a request got no answer")?).await
    }

    /// A second user of the same HTTP/2 connection.
    fn shared(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

async fn open(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).await.context("cannot connect")?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn request(exchange: Exchange, http2: bool) -> Result<Request<Full<Bytes>>> {
    let (method, path, body) = match exchange {
        Exchange::Small => (Method::GET, "/".to_owned(), Bytes::new()),
        Exchange::Upload(bytes) => (Method::POST, "/".to_owned(), zeros(bytes)),
        Exchange::Download(bytes) => (Method::GET, format!("{BYTES}{bytes}"), Bytes::new()),
    };
    let request = if http2 {
        Request::builder().uri(format!("http://cost.bench{path}"))
    } else {
        Request::builder().uri(path).header(HOST, "cost.bench")
    };
    let add = |request: Builder, (name, value): (&'static str, &'static str)| request.header(name, value);
    let request = INGRESS.into_iter().fold(request.method(method), add);
    Ok(request.body(body.into())?)
}

/// Reads the answer to its end.
async fn checked(exchange: Exchange, response: Response<Incoming>) -> Result<()> {
    let status = response.status();
    let mut body = response.into_body();
    let (mut count, mut start) = (0, Bytes::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.context("an answer broke off")?;
        let Some(data) = frame.data_ref() else { continue };
        if count == 0 {
            start = data.slice(..data.len().min(32));
        }
        count += data.len();
    }
    ensure!(status == StatusCode::OK, "a request was answered with {status}");
    let whole = match exchange {
        Exchange::Small => start == SMALL,
        Exchange::Upload(bytes) => start == bytes.to_string(),
        Exchange::Download(bytes) => count == bytes,
    };
    ensure!(
        whole,
        "an answer of {count} bytes is not the one that was meant: {start:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{scenario::SCENARIOS, user_container};

    #[tokio::test]
    async fn every_scenario_gets_checked_answers_from_the_user_container_itself() {
        let listener = user_container::listen().await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(user_container::accept(listener));
        for scenario in &SCENARIOS {
            let cpu = || Ok(Duration::ZERO);
            let slice = slice(address, scenario, 6, Duration::from_millis(1), cpu)
                .await
                .unwrap();
            assert!(slice.latencies.len() >= scenario.at_once(6), "{}", scenario.name);
            assert!(slice.latencies.iter().all(|ns| *ns > 0) && slice.elapsed > Duration::ZERO);
        }
    }
}
