//! Metrics towards those who mean harm, and over TLS (contract of the queue-proxy, section 7.2).

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use xdt_testkit::{
    Builder, Exposition, Http1, Mount, Sample, Script, Sidecar, TlsClient, UserContainer, empty_body, eventually,
    http::request, tls::Certificate,
};

const SERVED: &str = "http_server_request_duration_seconds_count";
const CALLED: &str = "http_client_request_duration_seconds_count";

fn sidecar(user: u16) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env(
            "OBSERVABILITY_CONFIG",
            r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
        )
        .user_port(user)
}

/// The page once so many requests were counted.
async fn page_after(sidecar: &Sidecar, requests: f64) -> Exposition {
    let url = format!("http://{}/metrics", sidecar.metrics());
    eventually("counted requests", async || {
        let answer = sidecar.client().fetch(request("GET", &url, &[], empty_body())).await;
        let page = Exposition::parse(&answer.text());
        let counted: f64 = page.named(SERVED).map(|sample| sample.value).sum();
        (counted >= requests).then_some(page)
    })
    .await
}

/// Host and route tag come from the client: what it can make of them is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_client_makes_no_more_than_two_thousand_series() {
    const MOST: usize = 2000;
    let user = UserContainer::start(Script::Status(204));
    let sidecar = sidecar(user.port()).start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    let long = "h".repeat(60_000);
    for number in 0..MOST + 500 {
        // The long ones differ where they are cut off.
        let host = if number % 10 == 0 {
            format!("{long}{number}")
        } else {
            format!("h{number}.example")
        };
        let method = if number % 3 == 0 { "BREW" } else { "GET" };
        let answer = client
            .fetch(request(method, "/", &[("host", &host)], empty_body()))
            .await;
        assert_eq!(answer.status, 204);
    }
    let total = (MOST + 500) as f64;
    let page = page_after(&sidecar, total).await;
    let served: Vec<&Sample> = page.named(SERVED).collect();
    assert!(served.len() <= MOST + 1, "{}", served.len());
    let overflow = served
        .iter()
        .find(|sample| sample.label("otel_metric_overflow") == "true");
    assert!(overflow.is_none_or(|sample| sample.value > 0.0));
    assert_eq!(
        served.iter().map(|sample| sample.value).sum::<f64>(),
        total,
        "every request is counted"
    );
    assert!(served.iter().all(|sample| sample.label("server_address").len() <= 253));
    let methods: BTreeSet<&str> = served
        .iter()
        .map(|sample| sample.label("http_request_method"))
        .collect();
    assert!(methods.is_subset(&BTreeSet::from(["GET", "_OTHER", ""])), "{methods:?}");
    assert!(sidecar.rss_bytes() < 128 << 20, "{} bytes", sidecar.rss_bytes());
    // The label of the client's side is not the client's choice.
    assert!(page.named(CALLED).count() <= 2);
}

#[tokio::test]
async fn scrapers_are_served_over_tls_and_verified_where_that_is_asked_for() {
    let user = UserContainer::start(Script::Echo);
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let file = |name: &str| mount.path().join(name).display().to_string();
    let builder = sidecar(user.port())
        .env("METRICS_PROMETHEUS_TLS_CERT", &file("tls.crt"))
        .env("METRICS_PROMETHEUS_TLS_KEY", &file("tls.key"));
    let open = builder.clone().start().await;
    let stream = TlsClient::new(&[&certificate]).connect(open.metrics()).await;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(driver);
    let get = request("GET", "/metrics", &[("host", "h")], empty_body());
    let response = sender.send_request(get).await.unwrap();
    assert_eq!(response.status(), 200);
    let page = response.into_body().collect().await.unwrap().to_bytes();
    assert!(
        Exposition::parse(&String::from_utf8_lossy(&page))
            .types
            .contains_key("target_info")
    );
    // One that shows no certificate is let in nowhere else.
    let closed = builder
        .env("METRICS_PROMETHEUS_TLS_CLIENT_AUTH", "require")
        .env("METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE", &file("tls.crt"))
        .start()
        .await;
    let stream = TlsClient::new(&[&certificate]).connect(closed.metrics()).await;
    // TLS 1.3 tells after the handshake.
    let refused = match hyper::client::conn::http1::handshake(TokioIo::new(stream)).await {
        Err(_) => true,
        Ok((mut sender, driver)) => {
            tokio::spawn(driver);
            let get = request("GET", "/metrics", &[("host", "h")], empty_body());
            sender.send_request(get).await.is_err()
        }
    };
    assert!(refused);
}
