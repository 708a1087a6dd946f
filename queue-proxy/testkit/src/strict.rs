//! A user container that reads the wire itself and takes nothing that two readers could understand differently: the
//! judge of what a proxy makes of malformed requests.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Largest message.
const MAX_MESSAGE: usize = 4 << 20;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One request, as its bytes told it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Request line and headers, in lower case.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Book {
    messages: Vec<Message>,
    faults: Vec<String>,
}

/// The user container; stops when dropped.
pub struct StrictUser {
    port: u16,
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

impl Drop for StrictUser {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StrictUser {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let book = Arc::new(Mutex::new(Book::default()));
        let shared = book.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, book, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All requests since the last call.
    ///
    /// # Panics
    /// If one of them was ambiguous.
    #[must_use]
    pub fn taken(&self) -> Vec<Message> {
        let mut book = lock(&self.book);
        assert!(book.faults.is_empty(), "ambiguous requests: {:?}", book.faults);
        std::mem::take(&mut book.messages)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut socket: TcpStream, book: Arc<Mutex<Book>>) {
    let mut unread = Vec::new();
    loop {
        match parse(&unread) {
            Ok(Some((message, used))) => {
                unread.drain(..used);
                lock(&book).messages.push(message);
                if socket.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
            Ok(None) => match socket.read_buf(&mut unread).await {
                Ok(read) if read > 0 && unread.len() < MAX_MESSAGE => {}
                _ => return,
            },
            Err(fault) => {
                let text = String::from_utf8_lossy(&unread).into_owned();
                lock(&book).faults.push(format!("{fault}: {text:?}"));
                return;
            }
        }
    }
}

/// The first whole message and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])
        .map_err(|_| "not text")?
        .to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    if line.split(' ').count() != 3 || !line.ends_with(" http/1.1") {
        return Err("a bad request line");
    }
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        if line.contains(['\r', '\n', '\0']) || line.starts_with([' ', '\t']) {
            return Err("a line within a line");
        }
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a bad header name");
        }
        match name {
            "content-length" => lengths.push(value.trim()),
            "transfer-encoding" => codings.push(value.trim()),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 {
        return Err("not one host");
    }
    let body = &bytes[end + 4..];
    let parsed = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| "an endless length")?;
            body.get(..length).map(|body| (body.to_vec(), length))
        }
        ([], ["chunked"]) => chunked(body)?,
        _ => return Err("an ambiguous length"),
    };
    Ok(parsed.map(|(body, used)| (Message { head, body }, end + 4 + used)))
}

/// A whole chunked body without trailers, and its length on the wire.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "a bad chunk size")?;
        let size = usize::from_str_radix(size, 16).map_err(|_| "a bad chunk size")?;
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end where it says");
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_meaning_is_taken() {
        let whole = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET";
        let (message, used) = parse(whole).expect("fine").expect("whole");
        assert_eq!((message.body.as_slice(), used), (&b"abc"[..], whole.len() - 3));
        for bad in [
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
