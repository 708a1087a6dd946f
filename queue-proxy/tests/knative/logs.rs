//! Clauses 14 to 17 of Knative's checklist: the log.

use std::time::Instant;

use serde_json::Value;
use xdt_testkit::{Builder, Sidecar, empty_body};

/// The sample `zap-logger-config` of Knative's config-logging.
const SAMPLE: &str = r#"{"level":"info","development":false,"outputPaths":["stdout"],"errorOutputPaths":["stderr"],
    "encoding":"json","encoderConfig":{"timeKey":"timestamp","levelKey":"severity","nameKey":"logger",
    "callerKey":"caller","messageKey":"message","stacktraceKey":"stacktrace","lineEnding":"","levelEncoder":"",
    "timeEncoder":"iso8601","durationEncoder":"string","callerEncoder":""}}"#;
/// What is logged when nobody listens on the user container's port.
const UNREACHABLE: &str = "error reverse proxying request";
/// Logged when a request takes no time at all, and may not.
const TIMED_OUT: &str = "Request timeout: 0s";

fn plain() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

fn entries(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// As many digits as `pattern` has `0`, and its other characters as they are.
fn has_form(text: &str, pattern: &str) -> bool {
    let same = |(given, wanted): (char, char)| {
        if wanted == '0' {
            given.is_ascii_digit()
        } else {
            given == wanted
        }
    };
    text.chars().count() == pattern.chars().count() && text.chars().zip(pattern.chars()).all(same)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_every_line_is_one_json_object_with_knatives_keys() {
    let sidecar = plain()
        .env("SERVING_NAMESPACE", "name\"space")
        .env("SERVING_REVISION", "rev\nision")
        .env("SERVING_POD", "p\u{1}öd")
        .allow(UNREACHABLE)
        .start()
        .await;
    assert_eq!(sidecar.invoke("/", &[], empty_body()).await.status, 502);
    sidecar.logged(UNREACHABLE).await;
    let told = entries(&sidecar.log());
    for entry in &told {
        for key in ["severity", "timestamp", "logger", "caller", "message"] {
            assert!(
                entry[key].as_str().is_some_and(|text| !text.is_empty()),
                "{key} in {entry}"
            );
        }
        assert_eq!(entry["logger"], "queueproxy");
        assert_eq!(entry["knative.dev/key"], "name\"space/rev\nision");
        assert_eq!(entry["knative.dev/pod"], "p\u{1}öd");
        let commit = xdt_queue_proxy::telemetry::log::COMMIT;
        assert_eq!(entry["commit"].as_str(), commit, "{entry}");
        let (file, line) = entry["caller"].as_str().unwrap().split_once(':').expect("file:line");
        assert!(file.split('/').count() == 2 && line.parse::<u32>().is_ok(), "{entry}");
    }
    let error = told
        .iter()
        .find(|entry| entry["message"].as_str().unwrap().starts_with(UNREACHABLE))
        .expect("an error");
    assert_eq!(error["severity"], "ERROR");
    assert!(error["error"].is_string() && error["stacktrace"].is_string(), "{error}");
    assert!(told[0].get("stacktrace").is_none(), "{}", told[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c15_the_default_is_upper_case_with_nanoseconds_on_stderr() {
    let sidecar = plain().start().await;
    let first = &entries(&sidecar.log())[0];
    assert_eq!(first["severity"], "INFO");
    let (seconds, nanos) = first["timestamp"]
        .as_str()
        .unwrap()
        .split_once('.')
        .expect("a fraction");
    assert!(has_form(seconds, "0000-00-00T00:00:00"), "{first}");
    let digits = nanos.strip_suffix('Z').expect("UTC");
    assert!(
        (4..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        "{first}"
    );
    assert_eq!(sidecar.stdout(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c15_the_sample_configuration_is_lower_case_with_milliseconds_on_stdout() {
    let sidecar = plain().env("SERVING_LOGGING_CONFIG", SAMPLE).start().await;
    let first = &entries(&sidecar.stdout())[0];
    assert_eq!(first["severity"], "info");
    assert!(
        has_form(first["timestamp"].as_str().unwrap(), "0000-00-00T00:00:00.000Z"),
        "{first}"
    );
    assert_eq!(sidecar.log(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c15_the_console_encoding_is_text() {
    let config =
        r#"{"encoding":"console","disableCaller":true,"encoderConfig":{"timeKey":"","levelEncoder":"capital"}}"#;
    let sidecar = plain().env("SERVING_LOGGING_CONFIG", config).any_log().start().await;
    let log = sidecar.log();
    let line = log
        .lines()
        .find(|line| line.contains("Starting queue-proxy"))
        .expect("a line");
    assert!(
        line.starts_with("INFO\tqueueproxy\tStarting queue-proxy\t{\""),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_the_level_silences_what_is_below_it() {
    for level in ["error", "ERROR", "dpanic"] {
        let sidecar = plain().env("SERVING_LOGGING_LEVEL", level).start().await;
        assert_eq!(sidecar.log(), "", "{level}");
    }
    let sidecar = plain().env("SERVING_LOGGING_LEVEL", "fatal").start().await;
    assert_eq!(sidecar.invoke("/", &[], empty_body()).await.status, 502);
    assert_eq!(sidecar.log(), "", "an error is below fatal");
    let output = plain()
        .env("SERVING_LOGGING_LEVEL", "fatal")
        .env("OBSERVABILITY_CONFIG", "{")
        .run();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains(r#""severity":"EMERGENCY""#)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_an_invalid_level_is_ignored() {
    let sidecar = plain().env("SERVING_LOGGING_LEVEL", "loud").start().await;
    assert_eq!(entries(&sidecar.log())[0]["severity"], "INFO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c17_an_invalid_configuration_gives_the_default_and_one_warning() {
    let told = "Failed to parse logging config";
    let config = r#"{"level":"loud"}"#;
    let sidecar = plain().env("SERVING_LOGGING_CONFIG", config).allow(told).start().await;
    let entries = entries(&sidecar.log());
    let warnings: Vec<&Value> = entries.iter().filter(|entry| entry["severity"] == "WARNING").collect();
    assert_eq!(warnings.len(), 1, "{entries:?}");
    assert!(warnings[0]["message"].as_str().unwrap().starts_with(told));
    for entry in &entries {
        assert_eq!(entry["logger"], "fallback-logger.queueproxy");
    }
    assert!(entries.iter().any(|entry| entry["message"] == "Starting queue-proxy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_repeat_are_sampled() {
    let config = r#"{"sampling":{"initial":1,"thereafter":0}}"#;
    let sidecar = plain()
        .env("SERVING_LOGGING_CONFIG", config)
        // A line for each request whose text is always the same.
        .env("REVISION_TIMEOUT_SECONDS", "0")
        .allow(TIMED_OUT)
        .start()
        .await;
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(sidecar.invoke("/", &[], empty_body()).await.status, 504);
    }
    sidecar.logged(TIMED_OUT).await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let lines = sidecar.log().matches(TIMED_OUT).count();
    assert!((1..=seconds + 2).contains(&lines), "{lines} lines in {seconds} s");
}
