//! Spans of requests, and how their context travels (contract of the queue-proxy, section 9; checklist 130, 131).

use std::collections::BTreeMap;

use serde_json::Value;
use xdt_testkit::{
    Answer, Builder, Collector, Http2, Script, Sidecar, UserContainer, bytes_body, collector::Span, empty_body,
    eventually, http::request,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn sidecar(user: u16, config: &str) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("OBSERVABILITY_CONFIG", config)
        .user_port(user)
}

fn traces_to(protocol: &str, endpoint: &str, rate: f64) -> String {
    format!(r#"{{"tracing":{{"protocol":"{protocol}","endpoint":"{endpoint}","samplingRate":{rate}}}}}"#)
}

async fn fetch(sidecar: &Sidecar, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let url = format!("http://{}{path}", sidecar.serving());
    sidecar
        .client()
        .fetch(request(method, url, headers, bytes_body(body)))
        .await
}

/// Whether there is a thread of the OpenTelemetry SDK.
fn exports(sidecar: &Sidecar) -> bool {
    sidecar.threads().iter().any(|name| name.starts_with("OpenTelemetry"))
}

fn by_name(spans: &[Span]) -> BTreeMap<&str, &Span> {
    spans.iter().map(|span| (span.name.as_str(), span)).collect()
}

fn attributes(span: &Span) -> BTreeMap<&str, &str> {
    let pairs = span.attributes.iter();
    pairs.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn c130_four_spans_follow_a_request_and_its_context_goes_on() {
    let user = UserContainer::start(Script::Echo);
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start().await;
        let before = user.calls();
        let sidecar = sidecar(user.port(), &traces_to(protocol, &collector.url(), 1.0))
            .env("CONTAINER_CONCURRENCY", "2")
            .start()
            .await;
        let headers = [
            ("traceparent", traceparent("01")),
            ("tracestate", "vendor=value".to_owned()),
            ("baggage", "user=alice, plan = b;p=1".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        fetch(&sidecar, "GET", "/a?b=c", &headers, "").await;
        let seen = user.seen().remove(before);
        let spans = collector.spans_came(4).await;
        assert_eq!(spans.len(), 4);
        let spans = by_name(&spans);
        let [server, proxy, wait, client] =
            ["GET", "kn.queueproxy.proxy", "kn.queueproxy.wait", "HTTP GET"].map(|name| spans[name]);
        for (child, parent) in [(proxy, server), (wait, proxy), (client, wait)] {
            assert_eq!(child.parent, parent.id, "{}", child.name);
        }
        assert_eq!(server.parent, PARENT);
        assert!(
            spans
                .values()
                .all(|span| span.trace == TRACE && span.state == "vendor=value")
        );
        assert!(
            spans
                .values()
                .all(|span| span.time.0 <= span.time.1 && span.time.0 >= server.time.0)
        );
        let kinds = [server, proxy, wait, client].map(|span| span.kind);
        assert_eq!(kinds, [2, 1, 1, 3], "server, internal, internal, client");
        assert_eq!(
            server.scope,
            "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
        );
        assert_eq!(proxy.scope, "knative.dev/serving/pkg/queue");
        assert_eq!(server.resource["k8s.namespace.name"], "default");
        assert_eq!(seen.header("traceparent"), format!("00-{TRACE}-{}-01", client.id));
        assert_eq!(seen.header("tracestate"), "vendor=value");
        assert_eq!(seen.header("baggage"), "user=alice, plan = b;p=1");
    }
}

#[tokio::test]
async fn c130_without_a_breaker_there_are_three_spans_in_a_new_trace() {
    let user = UserContainer::start(Script::Status(404));
    let collector = Collector::start().await;
    let sidecar = sidecar(user.port(), &traces_to("grpc", &collector.url(), 1.0))
        .start()
        .await;
    let headers = [
        ("user-agent", "curl/8"),
        ("x-forwarded-for", "1.2.3.4, 5.6.7.8"),
        ("host", "app.example:99"),
    ];
    fetch(&sidecar, "POST", "/a%20b?c", &headers, "four").await;
    let spans = collector.spans_came(3).await;
    assert_eq!(spans.len(), 3);
    let spans = by_name(&spans);
    let (server, client) = (spans["POST"], spans["HTTP POST"]);
    assert_eq!(
        (server.parent.as_str(), client.parent.as_str()),
        ("", spans["kn.queueproxy.proxy"].id.as_str())
    );
    let mut found = attributes(server);
    assert!(
        found
            .remove("network.peer.port")
            .is_some_and(|port| port.parse::<u16>().is_ok())
    );
    let peer = found.remove("network.peer.address").expect("a peer");
    assert!(peer.starts_with("127."), "{peer}");
    let expected = BTreeMap::from([
        ("http.request.method", "POST"),
        ("server.address", "app.example"),
        ("server.port", "99"),
        ("url.scheme", "http"),
        ("url.path", "/a b"),
        ("user_agent.original", "curl/8"),
        ("client.address", "1.2.3.4"),
        ("network.protocol.version", "1.1"),
        ("kn.route.tag", "kn:disabled"),
        ("http.request.body.size", "4"),
        ("http.response.status_code", "404"),
    ]);
    assert_eq!(found, expected);
    assert!(!server.error, "the client's fault");
    let url = format!("http://127.0.0.1:{}/a%20b?c", user.port());
    let port = user.port().to_string();
    let expected = BTreeMap::from([
        ("http.request.method", "POST"),
        ("url.full", url.as_str()),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("user_agent.original", "curl/8"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "404"),
        ("error.type", "404"),
    ]);
    assert_eq!(attributes(client), expected);
    assert!(client.error);
}

#[tokio::test]
async fn c130_faults_and_strange_methods_are_told() {
    let collector = Collector::start().await;
    let sidecar = sidecar(1, &traces_to("grpc", &collector.url(), 1.0))
        .allow("error reverse proxying request")
        .start()
        .await;
    fetch(&sidecar, "BREW", "/", &[], "").await;
    let spans = collector.spans_came(3).await;
    let spans = by_name(&spans);
    let (server, client) = (spans["HTTP"], spans["HTTP HTTP"]);
    assert!(server.error && client.error);
    assert_eq!(server.attributes["http.request.method"], "_OTHER");
    assert_eq!(server.attributes["http.request.method_original"], "BREW");
    assert_eq!(client.attributes["error.type"], "*net.OpError");
    assert!(!client.attributes.contains_key("http.response.status_code"));
}

#[tokio::test]
async fn c130_http2_is_traced_alike_and_probes_are_not() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    let sidecar = sidecar(user.port(), &traces_to("grpc", &collector.url(), 1.0))
        .start()
        .await;
    let queue = [("user-agent", "kube-probe/1.33"), ("k-network-probe", "queue")];
    assert_eq!(fetch(&sidecar, "GET", "/", &queue, "").await.status, 200);
    fetch(
        &sidecar,
        "GET",
        "/",
        &[("k-kubelet-probe", "x"), ("traceparent", &traceparent("01"))],
        "",
    )
    .await;
    assert_eq!(
        user.only().header("traceparent"),
        traceparent("01"),
        "a probe's context passes as it is"
    );
    let url = format!("http://{}/", sidecar.serving());
    let traced = request("GET", url, &[("traceparent", &traceparent("01"))], empty_body());
    Http2::open(sidecar.serving()).await.fetch(traced).await;
    let spans = collector.spans_came(3).await;
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert_eq!(by_name(&spans)["GET"].attributes["network.protocol.version"], "2.0");
    assert!(spans.iter().all(|span| span.trace == TRACE));
}

#[tokio::test]
async fn c131_off_passes_every_header_unchanged() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port(), "").start().await;
    let headers = [
        ("traceparent", "00-not a context"),
        ("tracestate", "a=b,,c"),
        ("baggage", "x = y"),
        ("x-b3-traceid", "1"),
    ];
    fetch(&sidecar, "GET", "/", &headers, "").await;
    let seen = user.only();
    for (name, value) in headers {
        assert_eq!(seen.header(name), value);
    }
    fetch(&sidecar, "GET", "/", &[], "").await;
    assert!(!user.seen()[1].headers.contains_key("traceparent"), "none is made up");
    assert!(!exports(&sidecar), "{:?}", sidecar.threads());
    let on = r#"{"tracing":{"protocol":"stdout"}}"#;
    let on = self::sidecar(user.port(), on).start().await;
    // Else the check says nothing. A new thread has its name a little later.
    eventually("a thread that exports", async || exports(&on).then_some(())).await;
}

/// Each sampler told by the flag that the user container gets; a span that is not sampled is still a new one.
#[tokio::test]
async fn c131_samplers_decide_and_rate_zero_makes_no_spans() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    let none = ("OTEL_UNUSED", "");
    let cases = [
        (0.0, none, "01", "00"),
        (1.0, none, "00", "01"),
        (0.000_001, none, "01", "01"),
        (0.999_999, none, "00", "00"),
        (0.0, ("OTEL_TRACES_SAMPLER", "always_on"), "00", "01"),
        (0.0, ("OTEL_TRACES_SAMPLER_ARG", "1.0"), "00", "01"),
    ];
    for (rate, variable, flags, expected) in cases {
        let before = user.calls();
        let builder = sidecar(user.port(), &traces_to("grpc", &collector.url(), rate));
        let sidecar = builder.env(variable.0, variable.1).start().await;
        fetch(&sidecar, "GET", "/", &[("traceparent", &traceparent(flags))], "").await;
        let got = user.seen().remove(before).header("traceparent").to_owned();
        let parts: Vec<&str> = got.split('-').collect();
        assert_eq!((parts[1], parts[3]), (TRACE, expected), "rate {rate} {variable:?}");
        assert_ne!(parts[2], PARENT);
        if rate == 0.0 && variable == none {
            drop(sidecar);
            assert_eq!(collector.spans().len(), 0);
        }
    }
}

#[tokio::test]
async fn c130_stdout_gets_a_line_of_json_for_each_span() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(user.port(), &traces_to("stdout", "", 0.0)).start().await;
    fetch(&sidecar, "GET", "/", &[("traceparent", &traceparent("00"))], "").await;
    let lines = eventually("spans on stdout", async || {
        let lines: Vec<Value> = sidecar
            .stdout()
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        (lines.len() >= 3).then_some(lines)
    })
    .await;
    let server = lines
        .iter()
        .find(|line| line["Name"] == "GET")
        .expect("the server's span");
    assert_eq!(server["SpanContext"]["TraceID"], TRACE);
    assert_eq!(server["Parent"]["SpanID"], PARENT);
    assert_eq!(server["Parent"]["Remote"], true);
    assert_eq!(
        (&server["SpanKind"], &server["Status"]["Code"]),
        (&2.into(), &"Unset".into())
    );
    let status = server["Attributes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pair| pair["Key"] == "http.response.status_code");
    assert_eq!(
        status.unwrap()["Value"],
        serde_json::json!({"Type": "INT64", "Value": 200})
    );
}

#[tokio::test]
async fn c130_a_header_of_a_mebibyte_does_not_lie_in_memory_for_the_exporter() {
    let user = UserContainer::start(Script::Echo);
    let collector = Collector::start().await;
    let sidecar = sidecar(user.port(), &traces_to("grpc", &collector.url(), 1.0))
        .start()
        .await;
    let agent = "a".repeat(500_000);
    assert_eq!(
        fetch(&sidecar, "GET", "/", &[("user-agent", &agent)], "").await.status,
        200
    );
    let spans = collector.spans_came(3).await;
    let longest = spans
        .iter()
        .flat_map(|span| span.attributes.values())
        .map(String::len)
        .max();
    assert_eq!(longest, Some(4096));
}
