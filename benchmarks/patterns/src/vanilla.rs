//! The reference that XDT is held against: tonic client streaming in 64 KiB chunks, from process to process.
//!
//! Nothing between the two, one kept channel, `TCP_NODELAY`, wide windows: tuned as hard as we could (see the constants).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

use crate::{arrival::Assembly, messages::Receipt, shelf::Shelf};

#[allow(missing_docs, unreachable_pub, clippy::pedantic)] // generated; the meaning stands in vanilla.proto
mod proto {
    tonic::include_proto!("xdt.bench.vanilla");
}
use proto::{Arrival, Chunk, vanilla_client::VanillaClient, vanilla_server::Vanilla, vanilla_server::VanillaServer};

/// Bytes per chunk, as in the published comparison (thesis, 6.4.1.2).
pub const CHUNK_BYTES: usize = 64 * 1024;
/// HTTP/2 windows and frames. Measured with 100 MB on two shared cores: hyper's defaults take 2.3 times as long, 1 MiB
/// windows with 16 KiB frames 1.6 times; everything from 2 MiB windows and 64 KiB frames up is the same within noise.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const FRAME_BYTES: u32 = 128 * 1024;

/// The producer's kept connection.
#[derive(Debug, Clone)]
pub struct Sender {
    client: VanillaClient<Channel>,
}

impl Sender {
    /// Connects to a consumer's gRPC server.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect()
            .await
            .with_context(|| format!("no gRPC server at {address}"))?;
        Ok(Self {
            client: VanillaClient::new(channel),
        })
    }

    /// Streams one object; chunks are slices of it.
    ///
    /// # Errors
    /// If the call fails at either end.
    pub async fn send(&mut self, object: Bytes) -> Result<Receipt> {
        let size = object.len() as u64;
        let chunks = (0..object.len()).step_by(CHUNK_BYTES).map(move |start| {
            let end = object.len().min(start + CHUNK_BYTES);
            Chunk {
                size: if start == 0 { size } else { 0 },
                data: object.slice(start..end),
            }
        });
        let answer = self
            .client
            .send(tokio_stream::iter(chunks))
            .await
            .context("the gRPC stream failed")?
            .into_inner();
        Ok(Receipt {
            length: answer.length,
            arrived_ns: answer.arrived_ns,
            get_ns: 0,
        })
    }
}

/// The consumer's gRPC server, bound and ready to run.
#[derive(Debug)]
pub struct Receiver {
    incoming: TcpIncoming,
    address: SocketAddr,
}

impl Receiver {
    /// Binds a free port of the loopback address.
    ///
    /// # Errors
    /// If there is none.
    pub fn bind() -> Result<Self> {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())
            .context("no port for the gRPC server")?
            .with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        Ok(Self { incoming, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until dropped; objects go to `shelf`.
    ///
    /// # Errors
    /// If the listener breaks.
    pub async fn run(self, shelf: Arc<Shelf>) -> Result<()> {
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .serve_with_incoming(VanillaServer::new(Service(shelf)), self.incoming)
            .await
            .context("the gRPC server broke")
    }
}

#[derive(Debug)]
struct Service(Arc<Shelf>);

#[tonic::async_trait]
impl Vanilla for Service {
    async fn send(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Arrival>, Status> {
        let receipt = receive(request.into_inner(), &self.0)
            .await
            .map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(Response::new(Arrival {
            length: receipt.length,
            arrived_ns: receipt.arrived_ns,
        }))
    }
}

async fn receive(mut chunks: Streaming<Chunk>, shelf: &Shelf) -> Result<Receipt> {
    let first = chunks.message().await?.context("a stream without chunks")?;
    let mut assembly = Assembly::new(Some(first.size))?;
    assembly.push(&first.data)?;
    while let Some(chunk) = chunks.message().await? {
        assembly.push(&chunk.data)?;
    }
    shelf.keep(assembly.finish()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_of_every_shape_arrive_whole() {
        let receiver = Receiver::bind().unwrap();
        let mut sender = Sender::connect(receiver.address()).await.unwrap();
        let shelf = Arc::new(Shelf::default());
        let server = tokio::spawn(receiver.run(Arc::clone(&shelf)));
        for size in [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 7] {
            let source = crate::object::Source::Seeded {
                size: size as u64,
                seed: 1,
                repetition: 1,
                producer: 0,
            };
            let payload = source.load().unwrap();
            assert_eq!(sender.send(payload.bytes).await.unwrap().length, size as u64);
            assert_eq!(shelf.verify().await.unwrap()[0].digest, payload.digest);
        }
        server.abort();
    }
}
