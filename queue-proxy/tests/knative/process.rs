//! Clauses 1 to 9 and 13 of Knative's checklist: what the process is started with.

use std::{
    net::TcpStream,
    process::Output,
    time::{Duration, Instant},
};

use serde_json::Value;
use xdt_testkit::{Builder, Script, Sidecar, UserContainer, empty_body, within};

/// What a Knative controller always sets.
const REQUIRED: [&str; 12] = [
    "CONTAINER_CONCURRENCY",
    "QUEUE_SERVING_PORT",
    "QUEUE_SERVING_TLS_PORT",
    "USER_PORT",
    "REVISION_TIMEOUT_SECONDS",
    "SERVING_LOGGING_CONFIG",
    "SERVING_LOGGING_LEVEL",
    "SERVING_NAMESPACE",
    "SERVING_CONFIGURATION",
    "SERVING_REVISION",
    "SERVING_POD",
    "SERVING_POD_IP",
];

/// What a controller of release 1.16 adds.
const OF_1_16: [(&str, &str); 14] = [
    ("SERVING_SERVICE", "service"),
    ("SERVING_REQUEST_LOG_TEMPLATE", r#"{"status": {{.Response.Code}}}"#),
    ("SERVING_ENABLE_REQUEST_LOG", "false"),
    ("SERVING_ENABLE_PROBE_REQUEST_LOG", "false"),
    ("SERVING_REQUEST_METRICS_BACKEND", "none"),
    ("SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", "5"),
    ("METRICS_COLLECTOR_ADDRESS", ""),
    ("METRICS_DOMAIN", "knative.dev/internal/serving"),
    ("TRACING_CONFIG_BACKEND", "none"),
    ("TRACING_CONFIG_ZIPKIN_ENDPOINT", ""),
    ("TRACING_CONFIG_SAMPLE_RATE", "0.1"),
    ("TRACING_CONFIG_DEBUG", "false"),
    ("ENABLE_PROFILING", "false"),
    ("ENABLE_HTTP2_AUTO_DETECTION", "false"),
];

/// What a controller of release 1.23 adds.
const OF_1_23: [(&str, &str); 8] = [
    ("SERVING_SERVICE", "service"),
    ("ENABLE_HTTP_FULL_DUPLEX", "false"),
    ("ENABLE_MULTI_CONTAINER_PROBES", "false"),
    (
        "OBSERVABILITY_CONFIG",
        r#"{"tracing":{"protocol":"none"},"metrics":{"protocol":"none"},"runtime":{"profiling":"disabled","exportInterval":15000000000},"requestMetrics":{"protocol":"none"},"requestLogTemplate":"{}"}"#,
    ),
    ("QUEUE_PROXY_TLS_MIN_VERSION", ""),
    ("QUEUE_PROXY_TLS_MAX_VERSION", ""),
    ("QUEUE_PROXY_TLS_CIPHER_SUITES", ""),
    ("QUEUE_PROXY_TLS_CURVE_PREFERENCES", ""),
];

fn plain() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

fn with(changes: &[(&str, &str)]) -> Builder {
    changes
        .iter()
        .fold(plain(), |builder, (name, value)| builder.env(name, value))
}

/// The one line of a start that failed, as plain text.
fn only_line(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

/// The same as a line of the log.
fn only_entry(output: &Output) -> Value {
    serde_json::from_str(&only_line(output)).expect("a line of the log")
}

/// The sidecar starts and passes requests on.
async fn serves(builder: Builder) {
    let user = UserContainer::start(Script::Echo);
    let sidecar = builder.user_port(user.port()).start().await;
    assert_eq!(sidecar.invoke("/", &[], empty_body()).await.status, 200);
    assert_eq!(user.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_starts_without_arguments_and_serves() {
    let begun = Instant::now();
    serves(plain()).await;
    // The clause's second, with room for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn c02_each_required_variable_is_named_when_it_is_absent() {
    for name in REQUIRED {
        let line = only_line(&plain().without(name).run());
        assert_eq!(line, format!("required key {name} missing value"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c03_whole_numbers_are_read_as_go_reads_them() {
    for value in ["abc", "", "1.5", "99999999999999999999"] {
        let line = only_line(&plain().env("CONTAINER_CONCURRENCY", value).run());
        for part in ["CONTAINER_CONCURRENCY", &format!("{value:?}"), "int"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    for name in [
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
        "REVISION_IDLE_TIMEOUT_SECONDS",
        "REVISION_TIMEOUT_SECONDS",
    ] {
        assert!(only_line(&plain().env(name, "").run()).contains(name));
    }
    let user = UserContainer::start(Script::Hold);
    let sidecar = plain()
        .env("CONTAINER_CONCURRENCY", "0x2")
        .user_port(user.port())
        .start()
        .await;
    let requests = (0..3).map(|_| sidecar.invoke("/", &[], empty_body()));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(requests), async {
        user.called(2).await;
        // The third would have come by the time that this has been answered.
        assert_eq!(sidecar.client().fetch(health_check(&sidecar)).await.status, 200);
        assert_eq!(user.calls(), 2);
        user.release(3);
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
}

fn health_check(sidecar: &Sidecar) -> http::Request<xdt_testkit::Body> {
    let headers = [("user-agent", "kube-probe/1.30"), ("k-network-probe", "queue")];
    xdt_testkit::http::request("GET", format!("http://{}/", sidecar.serving()), &headers, empty_body())
}

#[test]
fn c04_truth_values_are_read_as_go_reads_them() {
    let names = [
        "ENABLE_HTTP_FULL_DUPLEX",
        "ENABLE_HTTP2_AUTO_DETECTION",
        "ENABLE_MULTI_CONTAINER_PROBES",
    ];
    for value in [
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ] {
        // Accepted: the only fault is the one beside them.
        let all = names.map(|name| (name, value));
        let line = only_line(&with(&all).without("SERVING_POD").run());
        assert_eq!(line, "required key SERVING_POD missing value");
    }
    for name in names {
        for value in ["", "yes", "2", "tRUE", " true"] {
            let line = only_line(&plain().env(name, value).run());
            assert!(line.contains(name) && line.contains(&format!("{value:?}")), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c05_required_texts_may_be_empty() {
    let empty = [
        ("SERVING_CONFIGURATION", ""),
        ("SERVING_LOGGING_CONFIG", ""),
        ("SERVING_LOGGING_LEVEL", ""),
        ("SERVING_POD_IP", ""),
        ("QUEUE_SERVING_TLS_PORT", ""),
    ];
    serves(with(&empty)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c06_starts_with_what_old_and_new_controllers_send() {
    serves(with(&OF_1_16)).await;
    serves(with(&OF_1_23)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c06_opencensus_is_accepted_from_old_controllers() {
    let asked = [("SERVING_REQUEST_METRICS_BACKEND", "opencensus")];
    // Served on 9091 instead, with a warning.
    serves(with(&asked).allow("is opencensus")).await;
}

#[test]
fn c06_old_controllers_variables_are_checked_too() {
    for (name, value) in [
        ("SERVING_ENABLE_REQUEST_LOG", "maybe"),
        ("SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", ""),
        ("TRACING_CONFIG_SAMPLE_RATE", "often"),
    ] {
        let line = only_line(&plain().env(name, value).run());
        assert!(line.contains(name) && line.contains(&format!("{value:?}")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c07_unknown_and_unused_variables_change_nothing() {
    let others = [
        ("HOST_IP", "10.1.2.3"),
        ("SYSTEM_NAMESPACE", "knative-serving"),
        ("ROOT_CA", "-----BEGIN CERTIFICATE-----\nno\n"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("CONTAINER_CONCURRENC", "abc"),
    ];
    serves(with(&others)).await;
}

#[test]
fn c08_a_malformed_observability_configuration_ends_the_start_through_the_log() {
    for config in [
        "{",
        "[]",
        r#"{"requestMetrics":{"protocol":"statsd"}}"#,
        r#"{"tracing":{"protocol":"zipkin"}}"#,
        r#"{"runtime":{"profiling":"perhaps"}}"#,
        r#"{"enableRequestLog":"yes"}"#,
    ] {
        let entry = only_entry(&plain().env("OBSERVABILITY_CONFIG", config).run());
        assert_eq!(entry["severity"], "EMERGENCY", "{entry}");
        assert_eq!(entry["message"], "OBSERVABILITY_CONFIG cannot be used");
        assert!(
            entry["error"].is_string() && entry["knative.dev/pod"] == "pod",
            "{entry}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_unknown_keys_of_the_observability_configuration_are_ignored() {
    let config = r#"{"unknown":{"a":[1]},"EnableVarLogCollection":true,"metrics":{"protocol":"grpc"},"tracing":null}"#;
    serves(plain().env("OBSERVABILITY_CONFIG", config)).await;
}

#[test]
fn c09_a_malformed_readiness_probe_ends_the_start_through_the_log() {
    let one = r#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"}}"#;
    for (probe, multi) in [
        ("{", "false"),
        ("tcp", "false"),
        ("[]", "false"),
        (&format!("[{one}]"), "false"),
        (one, "true"),
    ] {
        let run = plain()
            .env("SERVING_READINESS_PROBE", probe)
            .env("ENABLE_MULTI_CONTAINER_PROBES", multi)
            .run();
        let entry = only_entry(&run);
        assert_eq!(entry["severity"], "EMERGENCY", "{probe}: {entry}");
        assert_eq!(entry["message"], "Queue container failed to parse readiness probe");
    }
}

#[test]
fn several_faults_are_told_together_a_line_each() {
    let faults = [
        ("CONTAINER_CONCURRENCY", "abc"),
        ("ENABLE_HTTP_FULL_DUPLEX", ""),
        ("OBSERVABILITY_CONFIG", "{"),
    ];
    let output = with(&faults).without("SERVING_POD").run();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    for (name, _) in faults {
        assert!(text.contains(name), "{text}");
    }
}

/// Quirk 15: the webhook never sends 0; where somebody does, it is no wish for requests without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_timeout_of_none_ends_every_request_at_once() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = plain()
        .env("REVISION_TIMEOUT_SECONDS", "0")
        .allow("timeout")
        .user_port(user.port())
        .start()
        .await;
    for _ in 0..3 {
        let answer = within("an answer", sidecar.invoke("/", &[], empty_body())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (504, "request timeout")
        );
    }
    assert_eq!(sidecar.client().fetch(health_check(&sidecar)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c13_metrics_and_profiling_ports_are_closed_unless_configured() {
    let sidecar = plain().start().await;
    let ip = sidecar.serving().ip();
    for port in [9091, 8008, 8112, 8014, 8015, 8016] {
        let closed = TcpStream::connect_timeout(&(ip, port).into(), Duration::from_secs(5));
        assert_eq!(
            closed.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused,
            "{port}"
        );
    }
}

#[test]
fn the_version_tells_the_revision_where_it_is_known() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .arg("--version")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let commit = xdt_queue_proxy::telemetry::log::COMMIT;
    let told = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    assert_eq!(text, format!("xdt-queue-proxy {}{told}\n", env!("CARGO_PKG_VERSION")));
    if let Some(commit) = commit {
        let revision = commit.trim_end_matches("-dirty");
        assert!(
            revision.len() == 7 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{commit}"
        );
    }
}
