//! Plain HTTP on the TLS port: recognized by its first five bytes and answered as Go's server does, byte for byte.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::RECORD_HEADER;

/// What plain HTTP begins with (Go: `tlsRecordHeaderLooksLikeHTTP`).
const BEGINNINGS: [&[u8; RECORD_HEADER]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// The answer.
const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// Read on after the answer, because closing a socket with unread bytes resets it before the client has read; no
/// longer and no more than this.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Whether these are the first bytes of an HTTP/1 request.
pub(super) fn is_http(header: &[u8; RECORD_HEADER]) -> bool {
    BEGINNINGS.contains(&header)
}

/// Answers and closes.
pub(super) async fn answer(mut socket: TcpStream) {
    let told = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut (&mut socket).take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Late or failed: the client has what it can get.
    let _told = tokio::time::timeout(LINGER, told).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_go_takes_for_http_is_http() {
        for (bytes, http) in [
            (b"GET /", true),
            (b"OPTIO", true),
            (b"GET h", false),
            (b"PATCH", false),
            (b"PRI *", false),
            (b"\x16\x03\x01\x02\x00", false),
        ] {
            assert_eq!(is_http(bytes), http, "{bytes:?}");
        }
    }
}
