//! Connections to the user container on `127.0.0.1:USER_PORT`, whatever host the request names.
//!
//! Contract of the queue-proxy, section 2.7 (`knative.dev/pkg/network/transports.go`): a refusal fails at once, a dial
//! that times out is tried again with growing patience, about 20 s in all.

use std::{io, net::Ipv4Addr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::Instant};

/// How often a refused connection is tried again while the user container boots.
const RETRY_EVERY: Duration = Duration::from_millis(10);
/// What the first dial may take; each later one takes [`GROWTH`] times as long.
const FIRST_DIAL: Duration = Duration::from_millis(50);
const GROWTH: f64 = 1.4;
/// Dials after the first.
const MORE_DIALS: i32 = 15;
/// Pause between dials, at least; at most twice as long.
const PAUSE: Duration = Duration::from_millis(30);
/// How long a connection may be silent before the kernel asks the user container for a sign of life, and how often.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Why there is no connection. Without an address, because clients read it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens, or the system has no more sockets.
    #[error("the user container does not accept connections")]
    Refused(#[source] io::Error),
    /// No dial came through in time.
    #[error("timed out dialing the user container after {:.2}s", .0.as_secs_f64())]
    TimedOut(Duration),
}

/// Dials the user container.
#[derive(Debug, Clone, Copy)]
pub struct UserConnector {
    /// `USER_PORT`.
    pub port: u16,
    /// For requests whose object is on its way already: wait for the user container to accept connections, at most so
    /// long (the request's own timeout usually ends it earlier).
    pub patience: Option<Duration>,
}

impl UserConnector {
    /// One connection.
    ///
    /// # Errors
    /// [`DialError`]; a refusal at once, or, with patience, only after it ran out.
    pub async fn connect(self) -> Result<TcpStream, DialError> {
        let started = Instant::now();
        let mut dials = 0;
        loop {
            let dial = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
            match tokio::time::timeout(dial_time(dials, random()), dial).await {
                Ok(Ok(socket)) => {
                    tune(&socket).map_err(DialError::Refused)?;
                    return Ok(socket);
                }
                Ok(Err(error)) => {
                    let booting = error.kind() == io::ErrorKind::ConnectionRefused;
                    if !booting || self.patience.is_none_or(|patience| started.elapsed() >= patience) {
                        return Err(DialError::Refused(error));
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(_) if dials == MORE_DIALS => return Err(DialError::TimedOut(started.elapsed())),
                Err(_) => {
                    dials += 1;
                    tokio::time::sleep(PAUSE.mul_f64(1.0 + random())).await;
                }
            }
        }
    }
}

/// What dial number `dial` may take: 50 ms, 50 ms, 70 ms, 98 ms and so on, with up to 10 % more from the second on.
fn dial_time(dial: i32, random: f64) -> Duration {
    if dial == 0 {
        return FIRST_DIAL;
    }
    FIRST_DIAL.mul_f64(GROWTH.powi(dial - 1) * (1.0 + 0.1 * random))
}

/// 0 to 1, to spread dials; where the system gives no random bytes they are not spread.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_take_about_twenty_seconds_in_all() {
        let all = |random: f64| (0..=MORE_DIALS).map(|dial| dial_time(dial, random)).sum::<Duration>();
        assert_eq!(dial_time(0, 1.0), Duration::from_millis(50));
        assert_eq!(dial_time(1, 0.0), Duration::from_millis(50));
        assert_eq!(dial_time(2, 0.0), Duration::from_millis(70));
        assert_eq!(all(0.0).as_secs(), 19);
        assert_eq!(all(1.0).as_secs(), 21);
    }
}
