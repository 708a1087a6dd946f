//! Runs one of the functions behind `PORT`, as any user container would.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use xdt_patterns::{
    consumer::{self, SidePorts},
    driver, producer, serve,
    shelf::Shelf,
    tcp, vanilla,
};

/// The functions of the XDT benchmarks.
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
    /// Sends objects: `POST /run`, `POST /offer`.
    Producer,
    /// Receives them: `POST /take`, `POST /fetch`, gRPC, TCP.
    Consumer,
    /// Has many of both work together: `POST /run`.
    Driver,
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
        Role::Driver => serve::until_signal(listener, driver::routes()).await,
    }
}

async fn consume(listener: TcpListener) -> Result<()> {
    let shelf = Arc::new(Shelf::default());
    let receiver = vanilla::Receiver::bind()?;
    let side_ports = SidePorts {
        grpc: receiver.address(),
        tcp: tcp::serve(Arc::clone(&shelf))?,
    };
    let routes = consumer::routes(side_ports, Arc::clone(&shelf));
    tokio::select! {
        result = receiver.run(shelf) => result,
        result = serve::until_signal(listener, routes) => result,
    }
}
