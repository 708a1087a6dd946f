//! Heads that never end, from many clients at once (contract of the queue-proxy, section 2.8; clause 57).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use xdt_testkit::{Neighbour, Script, Sidecar, UserContainer};

const MIB: u64 = 1 << 20;

pub(crate) async fn c57_slow_senders_of_heads_are_cut_and_others_served() {
    const SLOW: usize = 300;
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
        .start()
        .await;
    let neighbour = Neighbour::of(sidecar.serving());
    let begun = Instant::now();
    let mut slow = tokio::task::JoinSet::new();
    for index in 0..SLOW {
        let address = sidecar.serving();
        slow.spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let head: &[u8] = match index % 4 {
                0 => b"",
                // Half of what HTTP/2 begins with.
                1 => b"PRI * HTTP",
                _ => b"GET / HTTP/1.1\r\nHost: x\r\n",
            };
            socket.write_all(head).await.unwrap();
            let mut tick = tokio::time::interval(Duration::from_secs(3));
            let mut answer = [0; 512];
            loop {
                tokio::select! {
                    // A header line every few seconds: never quite silent.
                    _ = tick.tick() => if index % 4 == 2 && socket.write_all(b"X-A: a\r\n").await.is_err() { return },
                    read = socket.read(&mut answer) => if !matches!(read, Ok(1..)) { return },
                }
            }
        });
    }
    while let Ok(ended) = tokio::time::timeout(Duration::from_secs(100), slow.join_next()).await {
        let Some(ended) = ended else { break };
        ended.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(55), "stock gives them 60 s");
    }
    assert!(
        slow.is_empty(),
        "{} still hold their connection after 100 s",
        slow.len()
    );
    assert!(
        sidecar.peak_rss_bytes() < 64 * MIB,
        "{} bytes",
        sidecar.peak_rss_bytes()
    );
    neighbour.served().await;
    assert!(
        user.seen()
            .iter()
            .all(|seen| seen.target == xdt_testkit::neighbour::PATH)
    );
}
