//! A test's function: echoes bodies, tells what it sees, and misbehaves on request.
//!
//! `/pid`, `/env`, `/headers` tell; `/hold` answers after somebody has called `/release`; `/child` starts a process and
//! tells its id; `/upgrade` leaves HTTP and echoes bytes; `/crash` ends the process; anything else echoes the body as it comes. Arguments: `fail` ends at once
//! with 30 lines of complaint; `deaf` never listens; `stubborn` ignores SIGTERM.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

type Answer = Response<Either<Incoming, Full<Bytes>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "fail" {
        (1..=30).for_each(|line| eprintln!("complaint {line}"));
        std::process::exit(7);
    }
    if argument == "deaf" {
        eprintln!("not listening");
        return std::future::pending().await;
    }
    let _ignored = (argument == "stubborn")
        .then(|| signal(SignalKind::terminate()))
        .transpose()?;
    let listener = TcpListener::bind(format!("127.0.0.1:{}", std::env::var("PORT")?)).await?;
    let release = Arc::new(Notify::new());
    loop {
        let (socket, _) = listener.accept().await?;
        let release = Arc::clone(&release);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let release = Arc::clone(&release);
                async move { Ok::<_, Infallible>(answer(request, &release).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            drop(
                server
                    .serve_connection_with_upgrades(TokioIo::new(socket), service)
                    .await,
            );
        });
    }
}

async fn answer(request: Request<Incoming>, release: &Notify) -> Answer {
    match request.uri().path() {
        "/pid" => text(std::process::id().to_string()),
        "/env" => text(lines(std::env::vars())),
        "/headers" => {
            let of = request.headers().iter();
            text(lines(of.map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
            })))
        }
        "/hold" => {
            release.notified().await;
            text("released".into())
        }
        "/release" => {
            release.notify_one();
            text("released".into())
        }
        "/child" => text(child()),
        "/upgrade" => upgrade(request),
        "/crash" => std::process::exit(3),
        _ => Response::new(Either::Left(request.into_body())),
    }
}

fn upgrade(request: Request<Incoming>) -> Answer {
    tokio::spawn(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            let (mut input, mut output) = tokio::io::split(TokioIo::new(client));
            drop(tokio::io::copy(&mut input, &mut output).await);
        }
    });
    let mut answer = text(String::new());
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
        answer.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    answer
}

fn child() -> String {
    let child = std::process::Command::new("sleep").arg("1000").spawn();
    child.map_or_else(|error| error.to_string(), |child| child.id().to_string())
}

fn lines(pairs: impl Iterator<Item = (String, String)>) -> String {
    pairs.fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _always_fits = writeln!(text, "{name}={value}");
        text
    })
}

fn text(text: String) -> Answer {
    Response::new(Either::Right(Full::from(text)))
}
