//! Telemetry pushed to a collector (contract of the queue-proxy, sections 7.2 and 7.4; checklist 123).

use http::Version;
use xdt_testkit::{
    Builder, Collector, Mount, Script, Sidecar, UserContainer, empty_body, eventually, http::request, tls::Certificate,
};

const INVOCATIONS: &str = "kn.serving.invocation.duration";
const SERVED: &str = "http.server.request.duration";
/// Once a second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn sidecar(user: u16, config: &str) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("OBSERVABILITY_CONFIG", config)
        .env("CONTAINER_CONCURRENCY", "10")
        .env("POD_NAME", "pod-in-telemetry")
        .user_port(user)
}

fn metrics_to(protocol: &str, endpoint: &str, nanoseconds: u64) -> String {
    format!(
        r#"{{"requestMetrics":{{"protocol":"{protocol}","endpoint":"{endpoint}","exportInterval":{nanoseconds}}}}}"#
    )
}

async fn get(sidecar: &Sidecar) {
    let url = format!("http://{}/path", sidecar.serving());
    let answer = sidecar.client().fetch(request("GET", url, &[], empty_body())).await;
    assert_eq!(answer.status, 200);
}

/// Waits until the collector knows of so many requests.
async fn counted(collector: &Collector, requests: u64) {
    eventually("requests at the collector", async || {
        let served = collector.metric(SERVED)?;
        (served.points.iter().map(|point| point.count).sum::<u64>() >= requests).then_some(())
    })
    .await;
}

#[tokio::test]
async fn c123_grpc_and_http_push_carry_the_same_names_and_resource() {
    let user = UserContainer::start(Script::Echo);
    let cases = [
        (
            "grpc",
            "",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Version::HTTP_2,
        ),
        ("http/protobuf", "", "/v1/metrics", Version::HTTP_11),
        ("http/protobuf", "/own/metrics", "/own/metrics", Version::HTTP_11),
    ];
    for (protocol, suffix, path, version) in cases {
        let collector = Collector::start().await;
        let config = metrics_to(protocol, &format!("{}{suffix}", collector.url()), SECOND);
        let sidecar = sidecar(user.port(), &config).start().await;
        get(&sidecar).await;
        counted(&collector, 1).await;
        let export = collector.exports().pop().expect("an export");
        assert_eq!((export.path.as_str(), export.version), (path, version));
        let names = [
            (INVOCATIONS, "s"),
            ("kn.serving.queue.depth", "{request}"),
            (SERVED, "s"),
            ("http.server.request.body.size", "By"),
            ("http.server.response.body.size", "By"),
            ("http.client.request.duration", "s"),
            ("http.client.request.body.size", "By"),
        ];
        for (name, unit) in names {
            let metric = collector.metric(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(metric.unit, unit, "{name}");
            assert_eq!(metric.schema, "https://opentelemetry.io/schemas/1.41.0");
            let scope = if name.starts_with("kn.") {
                "knative.dev/serving/pkg/queue"
            } else {
                "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
            };
            assert_eq!(metric.scope, scope, "{name}");
            for (key, value) in [
                ("service.name", "configuration"),
                ("k8s.pod.name", "pod-in-telemetry"),
                ("service.instance.id", "pod-in-telemetry"),
                ("k8s.namespace.name", "default"),
                ("container.name", "queue-proxy"),
                ("kn.configuration.name", "configuration"),
                ("kn.revision.name", "revision"),
            ] {
                assert_eq!(metric.resource.get(key).map(String::as_str), Some(value), "{key}");
            }
            assert!(!metric.resource.contains_key("kn.service.name"), "it has no name");
        }
        let served = collector.metric(SERVED).expect("it came");
        assert_eq!((served.points.len(), served.points[0].bounds.len()), (1, 14));
        assert_eq!(served.points[0].attributes["http.response.status_code"], "200");
    }
}

#[tokio::test]
async fn c123_the_environment_beats_endpoint_period_and_service_name() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    let sidecar = sidecar(
        user.port(),
        &metrics_to("http/protobuf", "http://127.0.0.1:1", 3600 * SECOND),
    )
    .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
    .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret")
    .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
    .env("OTEL_SERVICE_NAME", "named")
    .start()
    .await;
    get(&sidecar).await;
    counted(&collector, 1).await;
    let export = collector.exports().pop().expect("an export");
    assert_eq!(
        (export.path.as_str(), &export.headers["x-token"]),
        ("/v1/metrics", &"secret".parse().unwrap())
    );
    assert_eq!(
        collector.metric(SERVED).expect("it came").resource["service.name"],
        "named"
    );
}

#[tokio::test]
async fn c123_a_collector_is_reached_over_tls() {
    let user = UserContainer::start(Script::Echo);
    let certificate = Certificate::new(&["localhost"]);
    let mount = Mount::new(&certificate);
    let trusted = mount.path().join("tls.crt");
    let collector = Collector::start_tls(certificate.acceptor()).await;
    for (protocol, endpoint) in [
        ("grpc", format!("https://localhost:{}", collector.address().port())),
        ("http/protobuf", format!("localhost:{}", collector.address().port())),
    ] {
        let before = collector.metrics().len();
        let sidecar = sidecar(user.port(), &metrics_to(protocol, &endpoint, SECOND))
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted.display().to_string())
            .start()
            .await;
        get(&sidecar).await;
        eventually("metrics over TLS", async || {
            (collector.metrics().len() > before).then_some(())
        })
        .await;
    }
    // Whom nobody trusts gets nothing.
    let other = Mount::new(&Certificate::new(&["localhost"]));
    let before = collector.exports().len();
    let distrustful = sidecar(
        user.port(),
        &metrics_to(
            "grpc",
            &format!("https://localhost:{}", collector.address().port()),
            SECOND,
        ),
    )
    .env(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        &other.path().join("tls.crt").display().to_string(),
    )
    .allow("telemetry is not delivered")
    .start()
    .await;
    get(&distrustful).await;
    distrustful.logged("telemetry is not delivered").await;
    assert_eq!(collector.exports().len(), before);
}

#[tokio::test]
async fn c123_a_collector_that_refuses_is_told_once_and_harms_no_request() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    collector.refuse(true);
    let sidecar = sidecar(user.port(), &metrics_to("grpc", &collector.url(), SECOND / 5))
        .allow("telemetry is not delivered")
        .start()
        .await;
    get(&sidecar).await;
    eventually("refused exports", async || {
        (collector.exports().len() >= 3).then_some(())
    })
    .await;
    get(&sidecar).await;
    let told = |text: &str| sidecar.log().matches(text).count();
    assert_eq!(told("telemetry is not delivered"), 1);
    collector.refuse(false);
    counted(&collector, 1).await;
    sidecar.logged("telemetry is delivered again").await;
}
