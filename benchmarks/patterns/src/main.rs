//! Runs one of the two functions behind `PORT`, as any user container would.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use xdt_patterns::{consumer, producer, serve, vanilla};

/// Producer and consumer functions of the XDT benchmarks.
#[derive(Debug, Parser)]
struct Args {
    /// Which of the functions to be.
    role: Role,
    /// Port of the HTTP server.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Address of the HTTP server.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Makes an object and sends it: `POST /run`.
    Producer,
    /// Receives it: `POST /invoke`, `POST /get`, gRPC.
    Consumer,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind((args.bind, args.port))
        .await
        .with_context(|| format!("cannot listen on {}:{}", args.bind, args.port))?;
    match args.role {
        Role::Producer => serve::until_signal(listener, producer::routes()).await,
        Role::Consumer => consume(listener).await,
    }
}

async fn consume(listener: TcpListener) -> Result<()> {
    let receiver = vanilla::Receiver::bind()?;
    let routes = consumer::routes(receiver.address());
    tokio::select! {
        result = receiver.run() => result,
        result = serve::until_signal(listener, routes) => result,
    }
}
