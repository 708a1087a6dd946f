//! Telemetry for controllers of 1.16 to 1.18, which send single variables (contract of the queue-proxy, sections 7.3
//! and 9; checklist 124).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use xdt_testkit::{
    Builder, Collector, Exposition, Script, Sidecar, UserContainer, empty_body, eventually, http::request,
};

const BOUNDS: [&str; 26] = [
    "5", "10", "20", "40", "60", "80", "100", "150", "200", "250", "300", "350", "400", "450", "500", "600", "700",
    "800", "900", "1000", "2000", "5000", "10000", "20000", "50000", "100000",
];

fn sidecar(user: u16) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("CONTAINER_CONCURRENCY", "5")
        .user_port(user)
}

async fn get(sidecar: &Sidecar, headers: &[(&str, &str)]) {
    let url = format!("http://{}/path", sidecar.serving());
    sidecar.client().fetch(request("GET", url, headers, empty_body())).await;
}

async fn page_after(sidecar: &Sidecar, requests: f64) -> Exposition {
    let url = format!("http://{}/metrics", sidecar.metrics());
    eventually("counted requests", async || {
        let answer = sidecar.client().fetch(request("GET", &url, &[], empty_body())).await;
        let page = Exposition::parse(&answer.text());
        let counted: f64 = page.named("revision_request_count").map(|sample| sample.value).sum();
        (counted >= requests).then_some(page)
    })
    .await
}

#[tokio::test]
async fn c124_the_old_names_labels_and_bounds_are_on_9091() {
    let user = UserContainer::start(Script::Status(503));
    for backend in ["prometheus", "opencensus"] {
        let sidecar = sidecar(user.port())
            .env("SERVING_REQUEST_METRICS_BACKEND", backend)
            .allow("opencensus")
            .start()
            .await;
        get(&sidecar, &[]).await;
        get(&sidecar, &[("knative-serving-default-route", "true")]).await;
        get(
            &sidecar,
            &[("user-agent", "kube-probe/1"), ("k-network-probe", "queue")],
        )
        .await;
        let page = page_after(&sidecar, 2.0).await;
        let own = [
            ("namespace_name", "default"),
            ("service_name", "unknown"),
            ("configuration_name", "configuration"),
            ("revision_name", "revision"),
            ("pod_name", "pod"),
            ("container_name", "queue-proxy"),
        ];
        let answered = [("response_code", "503"), ("response_code_class", "5xx")];
        let labels = |more: &[(&str, &str)]| -> BTreeMap<String, String> {
            let all = own.iter().chain(more);
            all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert_eq!(page.only("revision_app_request_count").labels, labels(&answered));
        assert_eq!(page.only("revision_app_request_count").value, 2.0);
        assert_eq!(
            page.only("revision_app_request_latencies_count").labels,
            labels(&answered)
        );
        assert_eq!(page.only("revision_queue_depth").labels, labels(&[]));
        let tags: BTreeSet<&str> = page
            .named("revision_request_count")
            .map(|sample| sample.label("route_tag"))
            .collect();
        assert_eq!(tags, BTreeSet::from(["DISABLED", "DEFAULT"]));
        for family in ["revision_request_count", "revision_request_latencies_count"] {
            let samples: Vec<_> = page.named(family).collect();
            assert_eq!(samples.len(), 2, "{family}");
            for sample in samples {
                let tag = [("route_tag", sample.label("route_tag"))];
                assert_eq!(sample.labels, labels(&[&answered[..], &tag].concat()), "{family}");
                assert_eq!(sample.value, 1.0, "{family}");
            }
        }
        for (family, kind) in [
            ("revision_request_count", "counter"),
            ("revision_request_latencies", "histogram"),
            ("revision_app_request_count", "counter"),
            ("revision_app_request_latencies", "histogram"),
            ("revision_queue_depth", "gauge"),
        ] {
            assert_eq!(page.types.get(family).map(String::as_str), Some(kind), "{family}");
        }
        assert_eq!(page.types.len(), 5, "{:?}", page.types);
        assert_eq!(page.bounds("revision_request_latencies"), BOUNDS);
        assert_eq!(page.bounds("revision_app_request_latencies"), BOUNDS);
    }
}

#[tokio::test]
async fn c124_observability_config_beats_the_old_variables() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port())
        .env("SERVING_REQUEST_METRICS_BACKEND", "prometheus")
        .env("OBSERVABILITY_CONFIG", "{}")
        .start()
        .await;
    assert!(tokio::net::TcpStream::connect(sidecar.metrics()).await.is_err());
}

#[tokio::test]
async fn zipkin_gets_spans_and_the_user_container_both_kinds_of_context() {
    let user = UserContainer::start(Script::Echo);
    let zipkin = Collector::start().await;
    let sidecar = sidecar(user.port())
        .env("TRACING_CONFIG_BACKEND", "zipkin")
        .env(
            "TRACING_CONFIG_ZIPKIN_ENDPOINT",
            &format!("{}/api/v2/spans", zipkin.url()),
        )
        .env("TRACING_CONFIG_DEBUG", "true")
        .start()
        .await;
    let trace = "463ac35c9f6413ad48485a3953bb6124";
    let headers = [
        ("x-b3-traceid", trace),
        ("x-b3-spanid", "a2fb4a1d1a96d312"),
        ("x-b3-sampled", "0"),
    ];
    get(&sidecar, &headers).await;
    let spans = eventually("spans at Zipkin", async || {
        Some(zipkin.zipkin()).filter(|spans| spans.len() >= 4)
    })
    .await;
    let named = |name: &str, kind: Value| {
        let found = spans.iter().find(|span| span["name"] == name && span["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {name} in {spans:?}"))
    };
    let (server, proxy) = (named("/path", "SERVER".into()), named("queue_proxy", Value::Null));
    let (wait, client) = (named("queue_wait", Value::Null), named("/path", "CLIENT".into()));
    assert_eq!(server["parentId"], "a2fb4a1d1a96d312");
    for (child, parent) in [(proxy, server), (wait, proxy), (client, wait)] {
        assert_eq!(child["parentId"], parent["id"]);
    }
    assert!(
        spans
            .iter()
            .all(|span| span["traceId"] == trace && span["localEndpoint"]["serviceName"] == "pod")
    );
    assert!(
        spans
            .iter()
            .all(|span| span["duration"].as_u64() > Some(0) && span["timestamp"].is_u64())
    );
    assert_eq!(server["tags"]["http.status_code"], "200");
    assert_eq!(server["tags"]["http.path"], "/path");
    let (seen, id) = (user.only(), client["id"].as_str().expect("an id"));
    assert_eq!(seen.header("traceparent"), format!("00-{trace}-{id}-01"));
    assert_eq!((seen.header("x-b3-traceid"), seen.header("x-b3-spanid")), (trace, id));
    assert_eq!(seen.header("x-b3-sampled"), "1");
}

#[tokio::test]
async fn zipkin_samples_by_the_rate_alone_unless_it_is_told_to_debug() {
    let user = UserContainer::start(Script::Echo);
    let zipkin = Collector::start().await;
    let tracing = |rate: &str| {
        sidecar(user.port())
            .env("TRACING_CONFIG_BACKEND", "zipkin")
            .env(
                "TRACING_CONFIG_ZIPKIN_ENDPOINT",
                &format!("{}/api/v2/spans", zipkin.url()),
            )
            .env("TRACING_CONFIG_SAMPLE_RATE", rate)
    };
    let (all, none) = tokio::join!(tracing("1").start(), tracing("0").start());
    for (sidecar, decided, sampled) in [(&none, "1", "0"), (&all, "0", "1")] {
        let headers = [
            ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
            ("x-b3-spanid", "a2fb4a1d1a96d312"),
            ("x-b3-sampled", decided),
        ];
        get(sidecar, &headers).await;
        let seen = user.seen().pop().expect("a request");
        assert_eq!(seen.header("x-b3-sampled"), sampled);
    }
    let spans = eventually("spans of the one that samples", async || {
        Some(zipkin.zipkin()).filter(|spans| !spans.is_empty())
    })
    .await;
    assert_eq!(spans.len(), 4, "and none of the other: {spans:?}");
}
