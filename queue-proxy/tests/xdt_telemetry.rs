//! Metrics and traces of objects (contract, section 10), seen from outside while objects move on every path.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use xdt_testkit::{
    Builder, Collector, Exposition, Http1, Payload, RawConnection, Sample, Script, Sidecar, UserContainer, bytes_body,
    collector::Span, empty_body, eventually, http::request,
};

const PROMETHEUS: &str = r#"{"requestMetrics":{"protocol":"prometheus"}}"#;
const COUNT: &str = "xdt_transfer_count_total";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn sidecar(config: &str) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).env("OBSERVABILITY_CONFIG", config)
}

async fn page(sidecar: &Sidecar) -> Exposition {
    let url = format!("http://{}/metrics", sidecar.metrics());
    let answer = sidecar.client().fetch(request("GET", url, &[], empty_body())).await;
    Exposition::parse(&answer.text())
}

/// The value of a series of transfers.
fn transfers(page: &Exposition, name: &str, labels: [&str; 3]) -> f64 {
    let is = |sample: &&Sample| ["direction", "path", "outcome"].map(|label| sample.label(label)) == labels;
    page.named(name).find(is).map_or(0.0, |sample| sample.value)
}

/// Waits until so many transfers are counted: one ends when its last holder lets go, which its client knows first.
async fn counted(sidecar: &Sidecar, labels: [&str; 3], count: f64) -> Exposition {
    eventually("a counted transfer", async || {
        let page = page(sidecar).await;
        (transfers(&page, COUNT, labels) >= count).then_some(page)
    })
    .await
}

/// No label tells of an address or a name.
fn nothing_told(page: &Exposition, sidecar: &Sidecar) {
    let ip = sidecar.data().ip().to_string();
    for sample in page.samples.iter().filter(|sample| sample.name.starts_with("xdt_")) {
        for (label, value) in &sample.labels {
            let is_ours = ["direction", "path", "outcome", "le"].contains(&label.as_str());
            assert!(is_ours || label.starts_with("otel_scope_"), "{sample:?}");
            let tells = [ip.as_str(), "127.", "xdt1.", "8014", "the-pod"]
                .iter()
                .any(|part| value.contains(part));
            assert!(!tells, "{sample:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_are_counted_by_direction_path_and_outcome() {
    let with_name = || sidecar(PROMETHEUS).env("SERVING_POD", "the-pod");
    let (producer, consumer) = tokio::join!(with_name().start(), with_name().start());
    let before = page(&producer).await;
    assert_eq!(before.only("xdt_objects").value, 0.0);
    assert_eq!(before.only("xdt_pool_limit_bytes").value, f64::from(32 << 20));
    assert_eq!(before.only("xdt_pool_used_bytes").value, 0.0);
    let reference = producer.put_for(vec![7; 300_000], 2).await;
    assert_eq!(page(&producer).await.only("xdt_objects").value, 1.0);
    assert_eq!(producer.get(&reference).await.body.len(), 300_000);
    let page = counted(&producer, ["in", "instance", "ok"], 1.0).await;
    assert_eq!(
        transfers(&page, "xdt_transfer_size_bytes_sum", ["in", "instance", "ok"]),
        300_000.0
    );
    assert_eq!(consumer.get(&reference).await.body.len(), 300_000);
    for (sidecar, direction) in [(&producer, "out"), (&consumer, "in")] {
        let labels = [direction, "stream", "ok"];
        let page = counted(sidecar, labels, 1.0).await;
        assert_eq!(transfers(&page, COUNT, labels), 1.0, "once");
        assert_eq!(transfers(&page, "xdt_transfer_size_bytes_sum", labels), 300_000.0);
        assert_eq!(transfers(&page, "xdt_transfer_duration_seconds_count", labels), 1.0);
        assert!(transfers(&page, "xdt_transfer_duration_seconds_sum", labels) > 0.0);
    }
    assert_eq!(consumer.get(&reference).await.problem(), "object-gone");
    counted(&consumer, ["in", "stream", "object-gone"], 1.0).await;
    counted(&producer, ["out", "stream", "object-gone"], 1.0).await;
    let large = producer.put(Payload::new(1, 64 << 20).bytes()).await;
    let (client, _) = RawConnection::get(&consumer, &large).await;
    drop(client);
    counted(&consumer, ["in", "stream", "abandoned"], 1.0).await;
    let page = counted(&producer, ["out", "stream", "abandoned"], 1.0).await;
    let types = ["xdt_transfer_duration_seconds", "xdt_transfer_size_bytes", COUNT].map(|name| &*page.types[name]);
    assert_eq!(types, ["histogram", "histogram", "counter"]);
    assert!(page.only("xdt_buffer_wait_seconds_count").value >= 2.0);
    nothing_told(&page, &producer);
    nothing_told(&self::page(&consumer).await, &consumer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_pushed_under_their_own_names_and_a_full_pool_shows() {
    let collector = Collector::start().await;
    let endpoint = collector.url();
    let config = format!(r#"{{"requestMetrics":{{"protocol":"http/protobuf","endpoint":"{endpoint}/v1/metrics"}}}}"#);
    let sidecar = sidecar(&config)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .env("XDT_OBJECT_MEMORY", "1MiB")
        .env("XDT_BUFFER_WAIT", "200ms")
        .start()
        .await;
    let _held = sidecar.put(vec![1; 1 << 20]).await;
    assert_eq!(
        sidecar.try_put(&[], bytes_body(vec![1; 1 << 20])).await.problem(),
        "busy"
    );
    let value = |name: &str| Some(collector.metric(name)?.points.first()?.value);
    eventually("the wait of the put that was busy", async || {
        value("xdt.buffer.wait").filter(|waited| *waited >= 0.2)
    })
    .await;
    let units = [
        ("xdt.buffer.wait", "s"),
        ("xdt.pool.used", "By"),
        ("xdt.pool.limit", "By"),
        ("xdt.objects", "{object}"),
    ];
    for (name, unit) in units {
        assert_eq!(collector.metric(name).expect(name).unit, unit);
    }
    assert_eq!(value("xdt.objects"), Some(1.0));
}

fn traced(collector: &Collector) -> Builder {
    let url = collector.url();
    let tracing =
        format!(r#"{{"tracing":{{"protocol":"http/protobuf","endpoint":"{url}/v1/traces","samplingRate":1}}}}"#);
    sidecar(&tracing)
}

/// The only span of a name at the sidecar in front of this pod.
fn the<'s>(spans: &'s [Span], pod: &str, name: &str) -> &'s Span {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.name == name && span.resource.get("k8s.pod.name").is_some_and(|of| of == pod))
        .collect();
    assert_eq!(found.len(), 1, "{name} at {pod}: {spans:#?}");
    found[0]
}

fn attributes(span: &Span) -> BTreeMap<&str, &str> {
    let pairs = span.attributes.iter();
    pairs.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Contract: one trace shows invoke, put, control path, pull, delivery, handler; here both ways, because the answer is
/// large too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_a_whole_invocation() {
    let collector = Collector::start().await;
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(2, 200_000)));
    let function = traced(&collector).user_port(user.port()).env("POD_NAME", "function");
    let function = function.start().await;
    let hosts = function.serving().ip().to_string();
    let caller = traced(&collector)
        .env("POD_NAME", "caller")
        .env("XDT_EGRESS_HOSTS", &hosts);
    let caller = caller.start().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("host", "f"), ("traceparent", traceparent.as_str())];
    let url = format!("http://{}/", function.serving());
    let mut proxy = Http1::open(caller.egress()).await;
    let call = request("POST", url, &headers, bytes_body(vec![7; 300_000]));
    assert_eq!(proxy.fetch(call).await.body.len(), 200_000);
    // At each side: an object that leaves (put, serve) and one that comes (get, pull, deliver); the invoke; the
    // function's server, proxy and client spans.
    let spans = collector.spans_came(14).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let at = |pod, name| the(&spans, pod, name);
    let invoke = at("caller", "xdt.invoke");
    assert_eq!(invoke.parent, PARENT);
    assert_eq!(at("caller", "xdt.put").parent, invoke.id);
    let (server, proxy) = (at("function", "POST"), at("function", "kn.queueproxy.proxy"));
    assert_eq!(
        (server.parent.as_str(), proxy.parent.as_str()),
        (&*invoke.id, &*server.id)
    );
    assert_eq!(at("function", "HTTP POST").parent, proxy.id);
    assert_eq!(at("function", "xdt.get").parent, proxy.id);
    assert_eq!(at("caller", "xdt.get").parent, invoke.id);
    for (consumer, producer, bytes) in [("function", "caller", "300000"), ("caller", "function", "200000")] {
        let (get, pull, serve) = (
            at(consumer, "xdt.get"),
            at(consumer, "xdt.pull"),
            at(producer, "xdt.serve"),
        );
        assert_eq!(at(consumer, "xdt.deliver").parent, get.id);
        assert_eq!((pull.parent.as_str(), serve.parent.as_str()), (&*get.id, &*pull.id));
        let put = attributes(at(producer, "xdt.put"));
        for (span, direction) in [(get, "in"), (serve, "out")] {
            let attributes = attributes(span);
            let shown = ["direction", "path", "outcome", "size", "object"].map(|key| attributes[key]);
            assert_eq!(shown, [direction, "stream", "ok", bytes, put["object"]]);
        }
        assert_eq!(put["object"].len(), 8, "a digest, not an id");
    }
    for span in spans.iter().filter(|span| span.name.starts_with("xdt.")) {
        let told = span
            .attributes
            .values()
            .any(|value| value.contains("127.") || value.contains("xdt1."));
        assert!(!told, "{span:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_get_and_a_put_over_the_local_api_are_traced() {
    let collector = Collector::start().await;
    let (producer, consumer) = tokio::join!(traced(&collector).start(), traced(&collector).start());
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("traceparent", traceparent.as_str())];
    let put = producer.try_put(&headers, bytes_body("x")).await;
    let reference = put.header("xdt-reference").to_owned();
    producer.object("DELETE", &reference, &[]).await;
    assert_eq!(
        consumer.object("GET", &reference, &headers).await.problem(),
        "object-gone"
    );
    let spans = collector.spans_came(4).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect(name);
    assert_eq!((&*named("xdt.put").parent, &*named("xdt.put").trace), (PARENT, TRACE));
    let (get, serve) = (named("xdt.get"), named("xdt.serve"));
    assert_eq!((&*get.parent, serve.trace.as_str()), (PARENT, TRACE));
    assert!(get.error && serve.error);
    assert_eq!(attributes(get)["outcome"], "object-gone");
}
