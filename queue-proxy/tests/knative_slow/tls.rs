//! Certificates that are replaced while they are served (contract of the queue-proxy, section 10; clauses 135 and 136).

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use xdt_testkit::{
    Answer, Builder, Certificate, Http1, Mount, Script, Sidecar, TlsClient, UserContainer, empty_body, http::request,
    wait::eventually_within,
};

/// The pair is read anew each minute; a loaded machine may take a while to notice.
const RELOADED: Duration = Duration::from_secs(90);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

async fn over_http1(stream: TlsStream<TcpStream>) -> Answer {
    let mut client = Http1::over(stream).await;
    client
        .fetch(request("GET", "/path", &[("host", "name")], empty_body()))
        .await
}

pub(crate) async fn c135_replaced_files_are_served_within_a_minute_and_open_connections_survive() {
    let (old, new) = (Certificate::new(&[]), Certificate::new(&[]));
    let mount = Mount::new(&old);
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).certificate(&mount).start().await;
    let client = TlsClient::new(&[&old, &new]);
    let stream = client.connect(sidecar.tls()).await;
    assert!(old.is_shown(&stream));
    let mut open = Http1::over(stream).await;
    let call = || request("GET", "/", &[("host", "x")], empty_body());
    assert_eq!(open.fetch(call()).await.status, 200);
    mount.renew(&new);
    let stream = eventually_within(RELOADED, "the new certificate", async || {
        let stream = client.connect(sidecar.tls()).await;
        new.is_shown(&stream).then_some(stream)
    })
    .await;
    sidecar.logged("Certificate and/or key have changed on disk").await;
    assert_eq!(over_http1(stream).await.status, 200);
    assert_eq!(open.fetch(call()).await.status, 200);
}

pub(crate) async fn c136_a_broken_replacement_leaves_the_old_certificate() {
    let (old, other) = (Certificate::new(&[]), Certificate::new(&[]));
    let kept = "the new certificate cannot be used; the old one stays";
    let user = UserContainer::start(Script::Echo);
    let broken = async |files: Option<[(&str, &str); 2]>| {
        let mount = Mount::new(&old);
        let sidecar = sidecar().user_port(user.port()).certificate(&mount).allow(kept);
        let sidecar = sidecar.start().await;
        match files {
            Some(files) => mount.swap(&files),
            None => mount.swap(&[]),
        }
        eventually_within(RELOADED, "the error", async || {
            sidecar.log().contains(kept).then_some(())
        })
        .await;
        let stream = TlsClient::new(&[&old]).connect(sidecar.tls()).await;
        assert!(old.is_shown(&stream));
        assert_eq!(over_http1(stream).await.status, 200);
    };
    tokio::join!(
        broken(Some([("tls.crt", "no certificate"), ("tls.key", &old.key)])),
        broken(Some([("tls.crt", &other.pem), ("tls.key", &old.key)])),
        broken(None),
    );
}
