//! Admin server and graceful shutdown (contract of the queue-proxy, sections 5.5 and 6; checklist 96 to 108).
//!
//! Connections with TLS are tested beside the TLS listener.

pub(crate) mod hooks;
pub(crate) mod leaving;

use std::time::Duration;

use xdt_testkit::{Answer, Builder, Sidecar, UserContainer, within};

/// The quiet period.
const QUIET: Duration = Duration::from_secs(30);
/// Longest that any of the processes may take to end after it.
const LATE: Duration = Duration::from_secs(60);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("REVISION_TIMEOUT_SECONDS", "300")
}

fn before(user: &UserContainer) -> Builder {
    sidecar().user_port(user.port())
}

/// SIGTERM, and then the probes fail.
async fn terminate(sidecar: &Sidecar) {
    sidecar.terminate();
    failing(sidecar).await;
}

async fn failing(sidecar: &Sidecar) {
    within("failing probes", async {
        while sidecar.kubelet_probe().await.status != 503 {}
    })
    .await;
}

fn assert_shutting_down(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (503, "shutting down\n")
    );
}
