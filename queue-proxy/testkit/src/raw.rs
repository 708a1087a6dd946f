//! A TCP connection that the test writes and reads itself: for broken bodies and requests that no library sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    sidecar::Sidecar,
    wait::{SOON, within},
};

/// Largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// Most bytes that [`RawConnection::rest`] reads.
const MAX_REST: usize = 256 << 20;

/// One connection.
pub struct RawConnection {
    socket: TcpStream,
    unread: Vec<u8>,
    patience: Duration,
}

/// How a connection ended, and what came before.
#[derive(Debug)]
pub struct Rest {
    /// Bytes read up to the end.
    pub bytes: Vec<u8>,
    /// Closed in order; otherwise reset.
    pub closed: bool,
}

impl Rest {
    /// Whether a chunked body came to its clean end.
    #[must_use]
    pub fn ends_chunked_cleanly(&self) -> bool {
        self.bytes.ends_with(b"\r\n0\r\n\r\n")
    }
}

impl RawConnection {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = within("a connection", TcpStream::connect(address)).await;
        Self::accepted(socket.expect("somebody listens"))
    }

    /// A connection that somebody else opened.
    ///
    /// # Panics
    /// If it is none of TCP.
    #[must_use]
    pub fn accepted(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a TCP socket");
        Self {
            socket,
            unread: Vec::new(),
            patience: SOON,
        }
    }

    /// Reads up to and with the first `mark`, and returns that.
    ///
    /// # Panics
    /// If the peer closes before.
    pub async fn until(&mut self, mark: impl AsRef<[u8]>) -> Vec<u8> {
        let mark = mark.as_ref();
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|part| part == mark) {
                let rest = self.unread.split_off(at + mark.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            assert!(self.unread.len() < MAX_REST, "endless");
            let read = self.read("a mark in what comes").await;
            assert!(
                read > 0,
                "closed before the mark: {}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// Whether nothing comes for so long, not even the end.
    pub async fn is_silent(&mut self, during: Duration) -> bool {
        self.unread.is_empty() && timeout(during, self.socket.read_buf(&mut self.unread)).await.is_err()
    }

    /// Waits so long for what it reads from now on.
    #[must_use]
    pub fn patient(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    async fn read(&mut self, what: &str) -> usize {
        let read = timeout(self.patience, self.socket.read_buf(&mut self.unread)).await;
        read.unwrap_or_else(|_| panic!("took longer than {:?}: {what}", self.patience))
            .expect("no reset")
    }

    /// Connects and sends a request without a body, with these lines of header beside `Host`.
    pub async fn request(address: SocketAddr, method: &str, target: &str, lines: &[&str]) -> Self {
        let mut connection = Self::open(address).await;
        connection.send(head(method, target, lines)).await;
        connection
    }

    /// Whether the peer has ended it, as far as is known at once.
    pub async fn is_over(&mut self) -> bool {
        let short = Duration::from_millis(10);
        let read = timeout(short, self.socket.read_buf(&mut self.unread)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    /// Closes so that the peer gets a reset.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn reset(self) {
        socket2::SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .expect("a TCP socket");
    }

    /// Begins to get an object: returns the head of the answer, in lower case, and leaves the body to be read.
    ///
    /// # Panics
    /// If the answer has no status 200.
    pub async fn get(sidecar: &Sidecar, reference: &str) -> (Self, String) {
        let mut client = Self::open(sidecar.local()).await;
        let request = format!("GET /xdt/v1/objects/{reference} HTTP/1.1\r\nhost: local\r\n\r\n");
        client.send(request).await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        (client, head)
    }

    /// Sends all of `bytes`.
    ///
    /// # Panics
    /// If the peer has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("sending", self.socket.write_all(bytes.as_ref()))
            .await
            .expect("the peer reads");
    }

    /// Sends as much of `bytes` as the peer takes until it closes.
    pub async fn send_what_goes(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed_already = self.socket.write_all(bytes.as_ref()).await;
    }

    /// Ends the sending half.
    pub async fn finish_sending(&mut self) {
        let _closed_already = self.socket.shutdown().await;
    }

    /// Reads the head of an answer, up to its empty line.
    ///
    /// # Panics
    /// If the peer closes before.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let head = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.unread.len() < MAX_HEAD, "an endless head");
            let read = self.read("the head of an answer").await;
            assert!(read > 0, "closed before the head was complete");
        }
    }

    /// Reads until at least `count` bytes of the body are here.
    ///
    /// # Panics
    /// If the peer closes before.
    pub async fn take(&mut self, count: usize) {
        while self.unread.len() < count {
            let read = self.read("more bytes").await;
            assert!(read > 0, "closed after {} bytes", self.unread.len());
        }
    }

    /// The next `count` bytes; what follows them is kept.
    ///
    /// # Panics
    /// If the peer closes before.
    pub async fn next(&mut self, count: usize) -> Vec<u8> {
        self.take(count).await;
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    /// The next `count` bytes, what was read before included.
    ///
    /// # Panics
    /// If the peer closes before.
    pub async fn rest_of(mut self, count: usize) -> Vec<u8> {
        self.take(count).await;
        self.unread.truncate(count);
        self.unread
    }

    /// Ends the sending half; then everything up to the end.
    pub async fn rest_after_finishing(mut self) -> Rest {
        self.finish_sending().await;
        self.rest().await
    }

    /// Everything up to the end, what was read before included.
    pub async fn rest(mut self) -> Rest {
        within("the end of the connection", async {
            loop {
                match self.socket.read_buf(&mut self.unread).await {
                    Ok(0) => break self.into_rest(true),
                    Ok(_) => assert!(self.unread.len() < MAX_REST, "an endless answer"),
                    Err(_) => break self.into_rest(false),
                }
            }
        })
        .await
    }

    /// Waits, for as long as it takes, until the peer has closed; what comes before is dropped.
    pub async fn closed(&mut self) {
        while matches!(self.socket.read_buf(&mut self.unread).await, Ok(1..)) {
            self.unread.clear();
        }
    }

    fn into_rest(self, closed: bool) -> Rest {
        Rest {
            bytes: self.unread,
            closed,
        }
    }
}

/// The head of a request with these lines of header beside `Host`.
#[must_use]
pub fn head(method: &str, target: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nhost: test\r\n{lines}\r\n")
}
