//! What loopback can do at most: blocking 64 KiB writes on a kept TCP connection, from process to process.
//!
//! A message is its length in eight bytes and the bytes; the answer is the moment at which they had arrived. No platform,
//! no protocol, no copy besides the kernel's.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;

use crate::{arrival::Assembly, http::CALL_TIMEOUT, messages::Receipt, shelf::Shelf};

/// Bytes per write.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes per read.
const READ_BYTES: usize = 256 * 1024;
/// Connections served at once: more than a pattern has producers. Each takes a thread.
const MAX_CONNECTIONS: usize = 64;

/// The producer's end.
#[derive(Debug)]
pub struct Sender(TcpStream);

impl Sender {
    /// Connects to a consumer's sink. Blocks.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("no TCP sink at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CALL_TIMEOUT))?;
        stream.set_write_timeout(Some(CALL_TIMEOUT))?;
        Ok(Self(stream))
    }

    /// Sends one object and waits for the answer. Blocks.
    ///
    /// # Errors
    /// If the connection breaks or stalls.
    pub fn send(&mut self, object: &Bytes) -> Result<Receipt> {
        let length = object.len() as u64;
        self.0.write_all(&length.to_le_bytes())?;
        for piece in object.chunks(WRITE_BYTES) {
            self.0.write_all(piece)?;
        }
        let mut answer = [0; 8];
        self.0.read_exact(&mut answer).context("the sink did not answer")?;
        Ok(Receipt {
            length,
            arrived_ns: u64::from_le_bytes(answer),
            get_ns: 0,
        })
    }
}

/// Binds a free port of the loopback address and serves it on threads of its own, until the process ends.
///
/// # Errors
/// If there is no port or no thread.
pub fn serve(shelf: Arc<Shelf>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the TCP sink")?;
    let address = listener.local_addr()?;
    let slots = Arc::new(());
    let accept = move || {
        for stream in listener.incoming().flatten() {
            if Arc::strong_count(&slots) > MAX_CONNECTIONS {
                continue; // closes it
            }
            let (slot, shelf) = (Arc::clone(&slots), Arc::clone(&shelf));
            std::thread::spawn(move || {
                if let Err(error) = receive(stream, &shelf) {
                    eprintln!("the TCP sink lost a connection: {error:#}");
                }
                drop(slot);
            });
        }
    };
    std::thread::Builder::new().name("tcp-sink".into()).spawn(accept)?;
    Ok(address)
}

/// Takes objects until the sender goes.
fn receive(mut stream: TcpStream, shelf: &Shelf) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut piece = vec![0; READ_BYTES];
    let mut length = [0; 8];
    loop {
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut left = u64::from_le_bytes(length);
        let mut assembly = Assembly::new(Some(left))?;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
            let read = stream.read(&mut piece[..most])?;
            anyhow::ensure!(read > 0, "the sender broke off");
            assembly.push(&piece[..read])?;
            left -= read as u64;
        }
        let receipt = shelf.keep(assembly.finish()?, 0)?;
        stream.write_all(&receipt.arrived_ns.to_le_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Digest;

    #[tokio::test]
    async fn objects_arrive_whole() {
        let shelf = Arc::new(Shelf::default());
        let address = serve(Arc::clone(&shelf)).unwrap();
        let mut sender = Sender::connect(address).unwrap();
        for size in [1, WRITE_BYTES, 3 * READ_BYTES + 7] {
            let object = Bytes::from(vec![7; size]);
            assert_eq!(sender.send(&object).unwrap().length, size as u64);
            let verified = shelf.verify().await.unwrap();
            assert_eq!(verified.len(), 1);
            assert_eq!(verified[0].digest, Digest::of(&object));
        }
    }
}
