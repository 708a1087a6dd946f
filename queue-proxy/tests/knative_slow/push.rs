//! What is pushed when the process ends (contract of the queue-proxy, section 7.2; clause 123).

use std::time::Duration;

use xdt_testkit::{Collector, Script, Sidecar, UserContainer, empty_body, http::request};

/// Longer than the quiet period of 30 s and what follows it.
const LEAVING: Duration = Duration::from_secs(60);
/// An hour, in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

/// Metrics and spans alike: nothing was due before the end, and the collector gets it all the same.
pub(crate) async fn c123_the_last_period_is_flushed_at_exit() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    let url = collector.url();
    let config = format!(
        r#"{{"requestMetrics":{{"protocol":"grpc","endpoint":"{url}","exportInterval":{HOUR}}},
            "tracing":{{"protocol":"http/protobuf","endpoint":"{url}","samplingRate":1}}}}"#
    );
    let mut sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("OBSERVABILITY_CONFIG", &config)
        .env("CONTAINER_CONCURRENCY", "10")
        .user_port(user.port())
        .start()
        .await;
    let url = format!("http://{}/path", sidecar.serving());
    let answer = sidecar.client().fetch(request("GET", url, &[], empty_body())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(collector.metrics().len(), 0);
    sidecar.terminate();
    assert_eq!(sidecar.wait_exit(LEAVING).await.code(), Some(0));
    let served = collector
        .metric("http.server.request.duration")
        .expect("the last period");
    assert_eq!(served.points[0].count, 1);
    assert_eq!(collector.spans().len(), 4);
}
