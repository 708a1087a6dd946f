//! The user container behind the queue-proxies: a process of its own, so that its CPU time is not theirs, and as little
//! work per request as a server can do.
//!
//! It is this program itself, with the hidden subcommand `cost-user-container`: listens on a free port of 127.0.0.1,
//! prints the port, and ends with its standard input.

use std::{convert::Infallible, net::Ipv4Addr, process::Stdio, sync::LazyLock};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "cost-user-container";
/// Answer to a small request.
pub(crate) const SMALL: &[u8] = b"ok";
/// Path of a download, followed by the number of bytes.
pub(crate) const BYTES: &str = "/bytes/";
/// Largest download.
const MAX_BYTES: usize = 64 << 20;
/// Reads at once, and HTTP/2 windows: large, so that the queue-proxy sets the pace.
const READ: usize = 512 * 1024;
const WINDOW: u32 = 16 << 20;

/// What downloads and uploads are cut from.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| vec![0; MAX_BYTES].into());

/// The first `count` of 64 MiB of zeros, without copying.
pub(crate) fn zeros(count: usize) -> Bytes {
    ZEROS.slice(..count.min(MAX_BYTES))
}

/// The running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct UserContainer {
    _child: Child,
    port: u16,
}

impl UserContainer {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start() -> Result<Self> {
        let own = std::env::current_exe().context("where is this executable?")?;
        let mut child = Command::new(own)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the user container does not start")?;
        let output = child.stdout.take().context("a piped output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let port = line.trim().parse().context("the user container names no port")?;
        Ok(Self { _child: child, port })
    }

    /// Where it listens on 127.0.0.1.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

/// The process's own main function.
///
/// # Errors
/// If it cannot listen.
pub(crate) async fn serve() -> Result<()> {
    let listener = listen().await?;
    println!("{}", listener.local_addr()?.port());
    let mut ended = [0];
    let mut input = tokio::io::stdin();
    tokio::select! {
        failed = accept(listener) => failed,
        _ = input.read(&mut ended) => Ok(()),
    }
}

pub(super) async fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("the user container cannot listen on 127.0.0.1")
}

/// Serves every connection; never ends but with an error.
pub(super) async fn accept(listener: TcpListener) -> Result<()> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(READ);
    builder
        .http2()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let builder = builder.clone();
        tokio::spawn(async move {
            // An error is a client that left.
            let _left = builder.serve_connection(TokioIo::new(socket), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match *request.method() {
        Method::POST => received(request.into_body()).await,
        _ => match request.uri().path().strip_prefix(BYTES) {
            Some(count) => count.parse().ok().map(zeros),
            None => Some(SMALL.into()),
        },
    };
    let status = if body.is_some() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut response = Response::new(body.unwrap_or_default().into());
    *response.status_mut() = status;
    // Some proxies look into a body without a type.
    let kind = http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The number of bytes received, in words; `None` when the body broke off.
async fn received(mut body: Incoming) -> Option<Bytes> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        count += frame.ok()?.data_ref().map_or(0, Bytes::len);
    }
    Some(count.to_string().into())
}
