//! HTTP/2 frame by frame: what no library sends, and everything that comes back (RFC 9113; header blocks without
//! compression, RFC 7541).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::wait::{eventually, within};

/// What a client begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    #![allow(missing_docs)] // their names are those of RFC 9113
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs)] // their names are those of RFC 9113
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

/// Codes of errors.
pub mod code {
    #![allow(missing_docs)] // their names are those of RFC 9113
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// One frame to send.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// The beginning of a request without a body.
    #[must_use]
    pub fn get(stream: u32, path: &str) -> Self {
        let flags = flag::END_STREAM | flag::END_HEADERS;
        Self::new(kind::HEADERS, flags, stream, fields("GET", path, &[]))
    }

    /// The beginning of a request with a body.
    #[must_use]
    pub fn post(stream: u32, path: &str) -> Self {
        Self::new(kind::HEADERS, flag::END_HEADERS, stream, fields("POST", path, &[]))
    }

    /// The end of a stream.
    #[must_use]
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// More to send.
    #[must_use]
    pub fn window_update(stream: u32, increment: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
    }

    /// One setting.
    #[must_use]
    pub fn setting(id: u16, value: u32) -> Self {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// As it goes over the wire.
    ///
    /// # Panics
    /// If it is longer than a frame can be.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len())
            .expect("a frame's length")
            .to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A header block of literals, nothing of it remembered: method, path, scheme, authority, then these.
#[must_use]
pub fn fields(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", path),
    ];
    literals(&[&pseudo[..], more].concat())
}

/// A header block of these fields.
#[must_use]
pub fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.extend(length(text.len()));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits.
#[allow(clippy::cast_possible_truncation)] // what goes into a byte is below 128
fn length(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let mut bytes = vec![127];
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// What has come back so far.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// Streams that were reset, and why.
    pub resets: BTreeMap<u32, u32>,
    /// Header blocks of streams.
    pub headers: BTreeMap<u32, Vec<u8>>,
    /// Bytes of data on streams.
    pub data: BTreeMap<u32, usize>,
    /// Streams that came to their end.
    pub ended: Vec<u32>,
    /// Settings.
    pub settings: BTreeMap<u16, u32>,
    /// Settings of ours that were acknowledged.
    pub settings_acks: usize,
    /// Pings of ours that were answered.
    pub pongs: usize,
    /// The connection is over.
    pub closed: bool,
}

impl Heard {
    /// Whether the stream was answered with status 200.
    #[must_use]
    pub fn is_ok(&self, stream: u32) -> bool {
        // The first field is the status; 0x88 is `:status: 200` in the static table.
        self.headers
            .get(&stream)
            .is_some_and(|block| block.first() == Some(&0x88))
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| {
            payload
                .get(at..at + 4)
                .map(|four| u32::from_be_bytes(four.try_into().expect("four")))
        };
        match kind {
            kind::DATA => *self.data.entry(stream).or_default() += payload.len(),
            kind::HEADERS => drop(self.headers.insert(stream, payload.to_vec())),
            kind::RST_STREAM => drop(self.resets.insert(stream, number(0).unwrap_or(u32::MAX))),
            kind::SETTINGS if flags & flag::ACK != 0 => self.settings_acks += 1,
            kind::SETTINGS => {
                for setting in payload.chunks_exact(6) {
                    let id = u16::from_be_bytes([setting[0], setting[1]]);
                    let value = u32::from_be_bytes(setting[2..].try_into().expect("four"));
                    self.settings.insert(id, value);
                }
            }
            kind::PING if flags & flag::ACK != 0 => self.pongs += 1,
            kind::GOAWAY => self.goaway = number(4),
            _ => {}
        }
        if matches!(kind, kind::DATA | kind::HEADERS) && flags & flag::END_STREAM != 0 {
            self.ended.push(stream);
        }
    }
}

/// One connection, prior knowledge. What comes is read and noted unless the test wants it unread.
pub struct RawHttp2 {
    writer: OwnedWriteHalf,
    unread: Option<OwnedReadHalf>,
    heard: Arc<Mutex<Heard>>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for RawHttp2 {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl RawHttp2 {
    /// Connects and sends the preface with these settings; reads and notes what comes.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self::open_deaf(address, settings).await;
        let unread = connection.unread.take().expect("just opened");
        connection.reader = Some(tokio::spawn(note(unread, connection.heard.clone())));
        connection
    }

    /// As [`Self::open`], but never reads.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open_deaf(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = within("a connection", TcpStream::connect(address)).await;
        let socket = socket.expect("somebody listens");
        socket.set_nodelay(true).expect("a TCP socket");
        let (unread, writer) = socket.into_split();
        let mut connection = Self {
            writer,
            unread: Some(unread),
            heard: Arc::default(),
            reader: None,
        };
        let settings = settings
            .iter()
            .flat_map(|(id, value)| Frame::setting(*id, *value).payload);
        let settings = Frame::new(kind::SETTINGS, 0, 0, settings.collect::<Vec<u8>>());
        connection.send(PREFACE).await;
        connection.frame(&settings).await;
        connection
    }

    /// Sends bytes; false when the other side takes no more, because it has closed or does not read.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = tokio::time::timeout(crate::wait::SOON, self.writer.write_all(bytes));
        matches!(sent.await, Ok(Ok(())))
    }

    /// Sends a frame, as [`Self::send`].
    pub async fn frame(&mut self, frame: &Frame) -> bool {
        self.send(&frame.bytes()).await
    }

    /// What has come so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what has come is enough.
    ///
    /// # Panics
    /// If it never is.
    pub async fn until(&self, what: &str, enough: impl Fn(&Heard) -> bool) -> Heard {
        eventually(what, async || Some(self.heard()).filter(&enough)).await
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    /// If it stays open.
    pub async fn closed(&self, what: &str) -> Heard {
        self.until(what, |heard| heard.closed).await
    }
}

async fn note(mut socket: OwnedReadHalf, heard: Arc<Mutex<Heard>>) {
    let lock = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    let mut head = [0; 9];
    while socket.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        let mut payload = vec![0; length as usize];
        if socket.read_exact(&mut payload).await.is_err() {
            break;
        }
        lock().take(head[3], head[4], stream, &payload);
    }
    lock().closed = true;
}
