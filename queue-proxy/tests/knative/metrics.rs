//! Request metrics for Prometheus (contract of the queue-proxy, sections 7.2 and 7.3; checklist 95, 119 to 122, 124).

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use xdt_testkit::{
    Answer, Builder, Exposition, Http1, Http2, Payload, RawConnection, Sample, Script, Sidecar, UserContainer,
    bytes_body, empty_body, eventually, http::request, within,
};

const PROMETHEUS: &str = r#"{"requestMetrics":{"protocol":"prometheus"}}"#;
const INVOCATIONS: &str = "kn_serving_invocation_duration_seconds_count";
const SERVED: &str = "http_server_request_duration_seconds_count";
const CALLED: &str = "http_client_request_duration_seconds_count";
const SECONDS: [&str; 14] = [
    "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5", "7.5", "10",
];
const BYTES: [&str; 15] = [
    "0", "5", "10", "25", "50", "75", "100", "250", "500", "750", "1000", "2500", "5000", "7500", "10000",
];

fn sidecar(user: u16) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("OBSERVABILITY_CONFIG", PROMETHEUS)
        .env("POD_NAME", "pod-in-telemetry")
        .user_port(user)
}

async fn fetch(sidecar: &Sidecar, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let url = format!("http://{}{path}", sidecar.serving());
    sidecar
        .client()
        .fetch(request(method, url, headers, bytes_body(body)))
        .await
}

async fn scrape(sidecar: &Sidecar, method: &str, path: &str) -> Answer {
    let url = format!("http://{}{path}", sidecar.metrics());
    sidecar.client().fetch(request(method, url, &[], empty_body())).await
}

/// Scrapes until `check` gives a value: a request is counted when its response has ended, which its client knows first.
async fn scraped<T>(sidecar: &Sidecar, what: &str, check: impl Fn(&Exposition) -> Option<T>) -> T {
    eventually(what, async || {
        check(&Exposition::parse(&scrape(sidecar, "GET", "/metrics").await.text()))
    })
    .await
}

/// The page once so many requests were counted.
async fn page_after(sidecar: &Sidecar, requests: f64) -> Exposition {
    scraped(sidecar, "counted requests", |page| {
        (page.named(SERVED).map(|sample| sample.value).sum::<f64>() >= requests).then(|| page.clone())
    })
    .await
}

fn labels(sample: &Sample) -> BTreeSet<String> {
    sample
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn set(pairs: &[&str]) -> BTreeSet<String> {
    pairs.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn c119_prometheus_gets_all_families_with_bounds_labels_and_units() {
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(1, 60)));
    let sidecar = sidecar(user.port()).start().await;
    let host = ("host", "app.example:8888");
    assert_eq!(
        fetch(&sidecar, "POST", "/", &[host], "sixteen bytes...").await.status,
        200
    );
    let page = page_after(&sidecar, 1.0).await;
    let mut families = vec![
        ("http_server_request_duration_seconds", &SECONDS[..], "histogram"),
        ("http_server_request_body_size_bytes", &BYTES[..], "histogram"),
        ("http_server_response_body_size_bytes", &BYTES[..], "histogram"),
        ("http_client_request_duration_seconds", &SECONDS[..], "histogram"),
        ("http_client_request_body_size_bytes", &BYTES[..], "histogram"),
        ("kn_serving_invocation_duration_seconds", &SECONDS[..], "histogram"),
    ];
    families.retain(|(name, bounds, kind)| {
        assert_eq!(page.types.get(*name).map(String::as_str), Some(*kind), "{name}");
        assert_eq!(page.bounds(name), *bounds, "{name}");
        assert!(!page.only(&format!("{name}_count")).label("otel_scope_name").is_empty());
        true
    });
    let otelhttp = "otel_scope_name=go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";
    let port = format!("server_port={}", user.port());
    let common = [
        otelhttp,
        "otel_scope_version=",
        "otel_scope_schema_url=",
        "http_request_method=POST",
        "http_response_status_code=200",
        "kn_route_tag=kn:disabled",
        "network_protocol_name=http",
        "network_protocol_version=1.1",
        "url_scheme=http",
    ];
    let server = [&common[..], &["server_address=app.example", "server_port=8888"]].concat();
    let client = [&common[..], &["server_address=127.0.0.1", &port]].concat();
    assert_eq!(labels(page.only(SERVED)), set(&server));
    assert_eq!(labels(page.only(CALLED)), set(&client));
    assert_eq!(
        labels(page.only(INVOCATIONS)),
        set(&[
            "otel_scope_name=knative.dev/serving/pkg/queue",
            "otel_scope_version=",
            "otel_scope_schema_url=",
            "http_response_status_code=200",
        ])
    );
    assert_eq!(page.only("http_server_request_body_size_bytes_sum").value, 16.0);
    assert_eq!(page.only("http_server_response_body_size_bytes_sum").value, 60.0);
    assert_eq!(page.only("http_client_request_body_size_bytes_sum").value, 16.0);
    assert!(page.only("process_resident_memory_bytes").value > 1e6);
}

#[tokio::test]
async fn c119_only_get_and_head_of_one_path_are_answered() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port()).start().await;
    let page = scrape(&sidecar, "GET", "/metrics").await;
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    let head = scrape(&sidecar, "HEAD", "/metrics").await;
    assert_eq!((head.status.as_u16(), head.text().as_str()), (200, ""));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = scrape(&sidecar, method, "/metrics").await;
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), "GET, HEAD");
        assert_eq!(refused.text(), "Method Not Allowed\n");
    }
    let other = scrape(&sidecar, "GET", "/").await;
    assert_eq!(
        (other.status.as_u16(), other.text().as_str()),
        (404, "404 page not found\n")
    );
}

#[tokio::test]
async fn c119_the_port_is_closed_by_default_and_elsewhere_where_configured() {
    let user = UserContainer::start(Script::Echo);
    let off = sidecar(user.port()).env("OBSERVABILITY_CONFIG", "").start().await;
    assert!(TcpStream::connect(off.metrics()).await.is_err());
    let moved = sidecar(user.port())
        .env("METRICS_PROMETHEUS_PORT", "9191")
        .start()
        .await;
    assert!(TcpStream::connect(moved.metrics()).await.is_err());
    let url = format!("http://{}:9191/metrics", moved.metrics().ip());
    assert_eq!(
        moved
            .client()
            .fetch(request("GET", url, &[], empty_body()))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn c119_a_port_in_use_is_told_and_ignored() {
    let user = UserContainer::start(Script::Echo);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let sidecar = sidecar(user.port())
        .env("METRICS_PROMETHEUS_HOST", "127.0.0.1")
        .env("METRICS_PROMETHEUS_PORT", &port)
        .allow("request metrics are not served")
        .start()
        .await;
    assert_eq!(fetch(&sidecar, "GET", "/", &[], "").await.status, 200);
}

#[tokio::test]
async fn c119_a_slow_head_is_dropped_after_five_seconds() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port()).start().await;
    let begun = std::time::Instant::now();
    let mut slow = RawConnection::open(sidecar.metrics()).await;
    slow.send("GET /metrics HTTP/1.1\r\nHost: x\r\n").await;
    let _rest = within("the end of a slow scraper", slow.rest()).await;
    assert!(begun.elapsed().as_secs_f64() >= 4.9, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn c119_unusable_settings_end_the_process() {
    for config in [
        r#"{"requestMetrics":{"protocol":"statsd"}}"#,
        r#"{"requestMetrics":{"protocol":"grpc","endpoint":"10.0.0.1:4317"}}"#,
        r#"{"requestMetrics":{"protocol":"prometheus","endpoint":":80"}}"#,
    ] {
        let output = sidecar(1).env("OBSERVABILITY_CONFIG", config).run();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains("EMERGENCY") && log.contains("OBSERVABILITY_CONFIG"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn c120_the_queue_depth_is_sampled_when_a_request_leaves_the_queue() {
    let user = UserContainer::start(Script::Hold);
    let depth = "kn_serving_queue_depth";
    let unbounded = sidecar(user.port()).start().await;
    let bounded = sidecar(user.port()).env("CONTAINER_CONCURRENCY", "1").start().await;
    user.follow(Script::Echo);
    fetch(&unbounded, "GET", "/", &[], "").await;
    let page = page_after(&unbounded, 1.0).await;
    assert_eq!(page.named(depth).count(), 0);
    assert_eq!(page.types.get(depth), None);
    user.follow(Script::Hold);
    let url = format!("http://{}/", bounded.serving());
    let get = || bounded.client().fetch(request("GET", &url, &[], empty_body()));
    let released = async {
        user.called(2).await;
        let first = scraped(&bounded, "a sample", |page| page.named(depth).next().cloned()).await;
        assert_eq!(labels(&first).len(), 3, "no labels but the scope's: {first:?}");
        // Each of the others leaves the queue when the one before it is done: with all that are behind it.
        user.release(3);
    };
    let ((), ..) = tokio::join!(released, get(), get(), get());
    let page = page_after(&bounded, 3.0).await;
    assert_eq!(page.only(depth).value, 1.0, "the last one left an empty queue behind");
    assert_eq!(page.types.get(depth).map(String::as_str), Some("gauge"));
}

#[tokio::test]
async fn c121_the_route_tag_takes_four_values() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port()).start().await;
    let (tag, default) = ("knative-serving-tag", "knative-serving-default-route");
    for headers in [
        &[][..],
        &[(default, "true")],
        &[(tag, "blue"), (default, "true")],
        &[(tag, "blue"), (default, "false")],
    ] {
        fetch(&sidecar, "GET", "/", headers, "").await;
    }
    let page = page_after(&sidecar, 4.0).await;
    for family in [SERVED, CALLED] {
        let tags: BTreeSet<&str> = page.named(family).map(|sample| sample.label("kn_route_tag")).collect();
        let expected = BTreeSet::from(["kn:disabled", "kn:default", "kn:undefined", "blue"]);
        assert_eq!(tags, expected, "{family}");
    }
}

#[tokio::test]
async fn c122_target_info_names_service_namespace_revision_configuration_pod_and_container() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port())
        .env("SERVING_SERVICE", "service")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment=test,service.name=other",
        )
        .start()
        .await;
    let page = scraped(&sidecar, "target_info", |page| {
        page.types.contains_key("target_info").then(|| page.clone())
    })
    .await;
    let info = page.only("target_info");
    for (name, value) in [
        ("service_name", "service"),
        ("service_instance_id", "pod-in-telemetry"),
        ("k8s_pod_name", "pod-in-telemetry"),
        ("k8s_namespace_name", "default"),
        ("container_name", "queue-proxy"),
        ("kn_service_name", "service"),
        ("kn_configuration_name", "configuration"),
        ("kn_revision_name", "revision"),
        ("telemetry_sdk_name", "opentelemetry"),
        ("deployment_environment", "test"),
    ] {
        assert_eq!(info.label(name), value, "{name}");
    }
    assert!(!info.label("service_version").is_empty());
}

#[tokio::test]
async fn c95_probes_are_in_no_server_metrics_and_calls_of_the_user_container_have_no_tag() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port()).start().await;
    for headers in [
        &[("user-agent", "kube-probe/1.33"), ("k-network-probe", "queue")][..],
        &[("user-agent", "Knative-Activator-Probe"), ("k-network-probe", "queue")],
        &[("k-network-probe", "probe"), ("k-network-hash", "h")],
    ] {
        assert_eq!(fetch(&sidecar, "GET", "/", headers, "").await.status, 200);
    }
    // Two that are passed on.
    fetch(&sidecar, "GET", "/", &[("k-kubelet-probe", "x")], "").await;
    fetch(
        &sidecar,
        "GET",
        "/",
        &[("k-network-probe", "queue"), ("user-agent", "curl")],
        "",
    )
    .await;
    let page = scraped(&sidecar, "two calls", |page| {
        (page.only(CALLED).value >= 2.0).then(|| page.clone())
    })
    .await;
    assert_eq!(page.only(CALLED).labels.get("kn_route_tag"), None);
    fetch(&sidecar, "GET", "/", &[], "").await;
    let page = page_after(&sidecar, 1.0).await;
    assert_eq!((page.only(SERVED).value, page.only(INVOCATIONS).value), (1.0, 1.0));
}

#[tokio::test]
async fn c119_what_goes_wrong_is_counted_as_what_it_was() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port())
        .env("CONTAINER_CONCURRENCY", "1")
        .env("REVISION_TIMEOUT_SECONDS", "2")
        .allow("imeout")
        .allow("error reverse proxying request")
        .start()
        .await;
    let url = format!("http://{}/", sidecar.serving());
    let get = || sidecar.client().fetch(request("GET", &url, &[], empty_body()));
    // One executes until the timeout, ten wait and time out too, the twelfth is refused.
    let all = futures_util::future::join_all((0..12).map(|_| get())).await;
    let count = |status: u16| all.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(504), count(503)), (11, 1));
    let page = page_after(&sidecar, 12.0).await;
    let with = |family: &str, status: &str| {
        let found = page
            .named(family)
            .find(|sample| sample.label("http_response_status_code") == status);
        found.map_or(0.0, |sample| sample.value)
    };
    assert_eq!((with(SERVED, "504"), with(SERVED, "503")), (11.0, 1.0));
    assert_eq!(with(INVOCATIONS, "503"), 0.0, "the user container has not seen it");
    assert!(with(INVOCATIONS, "504") >= 1.0);
    let given_up = page.named(CALLED).find(|sample| !sample.label("error_type").is_empty());
    assert_eq!(
        given_up
            .expect("a call was given up")
            .labels
            .get("http_response_status_code"),
        None
    );
}

#[tokio::test]
async fn c119_an_answer_that_breaks_off_counts_as_500_and_a_missing_user_container_as_502() {
    let user = UserContainer::start(Script::BreakOff(Payload::new(1, 1 << 20)));
    let broken = sidecar(user.port()).allow("revers").start().await;
    let missing = sidecar(1).allow("error reverse proxying request").start().await;
    let mut client = Http1::open(broken.serving()).await;
    let response = client
        .send(request("GET", "/", &[("host", "h")], empty_body()))
        .await
        .expect("a head");
    assert_eq!(response.status(), 200);
    assert!(xdt_testkit::http::collect(response).await.is_err(), "it broke off");
    assert_eq!(fetch(&missing, "GET", "/", &[], "").await.status, 502);
    for (sidecar, status) in [(&broken, "500"), (&missing, "502")] {
        let page = page_after(sidecar, 1.0).await;
        for family in [SERVED, INVOCATIONS] {
            assert_eq!(page.only(family).label("http_response_status_code"), status, "{family}");
        }
    }
    let page = page_after(&missing, 1.0).await;
    assert_eq!(page.only(CALLED).label("error_type"), "*net.OpError");
}

#[tokio::test]
async fn q12_a_client_that_leaves_counts_as_499() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port()).start().await;
    for version in ["HTTP/1.1", "HTTP/2"] {
        let calls = user.calls();
        if version == "HTTP/2" {
            let mut client = Http2::open(sidecar.serving()).await;
            let url = format!("http://{}/", sidecar.serving());
            let sent = client.send(request("GET", url, &[], empty_body()));
            tokio::select! {
                _ = sent => panic!("it is held"),
                () = user.called(calls + 1) => {}
            }
        } else {
            let mut client = RawConnection::open(sidecar.serving()).await;
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            user.called(calls + 1).await;
        }
    }
    let page = page_after(&sidecar, 2.0).await;
    let versions: BTreeSet<&str> = page
        .named(SERVED)
        .map(|sample| sample.label("network_protocol_version"))
        .collect();
    assert_eq!(versions, BTreeSet::from(["1.1", "2.0"]));
    for sample in page.named(SERVED).chain(page.named(INVOCATIONS)) {
        assert_eq!(sample.label("http_response_status_code"), "499", "{sample:?}");
    }
}

#[tokio::test]
async fn c119_an_upgraded_connection_is_counted_when_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let user = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).await.unwrap();
            head.push(byte[0]);
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.unwrap();
        socket.read_exact(&mut byte).await.unwrap();
        socket.write_all(&byte).await.unwrap();
        // Until the client closes.
        let _end = socket.read(&mut byte).await;
    });
    let sidecar = sidecar(port).start().await;
    let mut client = RawConnection::open(sidecar.serving()).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        .await;
    assert!(client.head().await.contains("101"));
    client.send("x").await;
    client.take(1).await;
    let page = scraped(&sidecar, "the call", |page| {
        page.named(CALLED).next().map(|_| page.clone())
    })
    .await;
    assert_eq!(page.only(CALLED).label("http_response_status_code"), "101");
    assert_eq!(page.named(SERVED).count(), 0, "it is open");
    drop(client);
    let page = page_after(&sidecar, 1.0).await;
    assert_eq!(
        page.only(SERVED).label("http_response_status_code"),
        "200",
        "as the stock proxy counts it"
    );
    user.await.unwrap();
}
