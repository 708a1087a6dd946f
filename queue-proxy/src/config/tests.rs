//! Tests of the configuration: everything required, everything refused, all faults together.

use std::collections::BTreeMap;

use super::*;

/// The smallest environment of contract of the queue-proxy, section 1.2.
fn minimal() -> BTreeMap<String, String> {
    let pairs = [
        ("CONTAINER_CONCURRENCY", "0"),
        ("QUEUE_SERVING_PORT", "8012"),
        ("QUEUE_SERVING_TLS_PORT", "8112"),
        ("USER_PORT", "8080"),
        ("REVISION_TIMEOUT_SECONDS", "300"),
        ("SERVING_LOGGING_CONFIG", ""),
        ("SERVING_LOGGING_LEVEL", ""),
        ("SERVING_NAMESPACE", "default"),
        ("SERVING_CONFIGURATION", "cfg"),
        ("SERVING_REVISION", "rev"),
        ("SERVING_POD", "pod"),
        ("SERVING_POD_IP", "10.0.0.1"),
    ];
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn with(changes: &[(&str, &str)]) -> Result<Config, Faults> {
    let mut environment = minimal();
    environment.extend(
        changes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    Config::parse(&Raw::new(environment, BTreeMap::new()))
}

#[test]
fn the_smallest_environment_gives_the_contract_defaults() {
    let config = with(&[]).expect("complete");
    let transfer = &config.xdt.transfer;
    assert!(config.xdt.keyring_file.is_none() && config.bind_address.is_none());
    assert_eq!(config.xdt.tenant, "default");
    assert_eq!(config.xdt.inline_limit, ByteCount::kib(64));
    assert_eq!(transfer.chunk_size, ByteCount::kib(64));
    assert_eq!(
        (transfer.invoke_buffers, transfer.invoke_buffer_size),
        (32, ByteCount::mib(1))
    );
    assert_eq!(transfer.object_memory, ByteCount::mib(256));
    assert_eq!(transfer.object_ttl, Some(Duration::from_secs(600)));
    assert_eq!(
        (transfer.buffer_wait, transfer.pull_timeout),
        (Duration::from_secs(30), Duration::from_secs(30))
    );
    assert_eq!(transfer.client_timeout, Duration::from_secs(300));
    assert_eq!(transfer.max_object_size, ByteCount::gib(16));
    assert!(transfer.cut_through && transfer.instance_path && transfer.stream_path);
    assert_eq!(config.xdt.drain_grace, Duration::from_secs(300));
    assert_eq!(config.xdt.local_address.to_string(), "127.0.0.1:8015");
}

#[test]
fn each_required_variable_is_named_when_it_is_absent() {
    for name in minimal().keys() {
        let mut environment = minimal();
        environment.remove(name);
        let faults = Config::parse(&Raw::new(environment, BTreeMap::new())).expect_err(name);
        assert_eq!(faults.to_string(), format!("required key {name} missing value"));
    }
}

#[test]
fn all_faults_are_told_together_with_name_value_and_what_is_accepted() {
    let faults = with(&[
        ("XDT_INLINE_LIMIT", "lots"),
        ("XDT_BUFFER_WAIT", "soon"),
        ("CONTAINER_CONCURRENCY", "abc"),
    ]);
    let text = faults.expect_err("three faults").to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    for part in [
        "XDT_INLINE_LIMIT",
        "lots",
        "KiB",
        "XDT_BUFFER_WAIT",
        "soon",
        "ms",
        "CONTAINER_CONCURRENCY",
        "abc",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn values_out_of_bounds_are_refused() {
    let cases = [
        ("XDT_CHUNK_SIZE", "0"),
        ("XDT_INVOKE_BUFFERS", "0"),
        ("XDT_INVOKE_BUFFERS", "65537"),
        ("XDT_STREAMING", "fast"),
        ("XDT_PATHS", "instance,wormhole"),
        ("XDT_LOCAL_ADDRESS", "localhost:1"),
        ("XDT_LOCAL_SOCKET", "/run/xdt"),
        ("XDT_LOCAL_SOCKET", "@"),
        ("XDT_BIND_ADDRESS", "here"),
        ("XDT_DATA_PORT", "70000"),
        ("XDT_ADVERTISE_ADDRESS", "no-port"),
        ("XDT_EGRESS_HOSTS", "a b"),
        ("XDT_SPILL_URL", "http://bucket/x"),
        ("SERVING_READINESS_PROBE", "[]"),
        ("REVISION_TIMEOUT_SECONDS", ""),
        ("XDT_MAX_OBJECT_SIZE", "1TB"),
    ];
    for (name, value) in cases {
        let text = with(&[(name, value)]).expect_err(name).to_string();
        assert!(text.contains(name), "{name}={value}: {text}");
    }
}

#[test]
fn a_single_fault_is_a_single_line() {
    for (name, value) in [
        ("REVISION_TIMEOUT_SECONDS", "abc"),
        ("CONTAINER_CONCURRENCY", ""),
        ("QUEUE_SERVING_PORT", "http"),
        ("ENABLE_HTTP_FULL_DUPLEX", ""),
        ("REVISION_IDLE_TIMEOUT_SECONDS", "1.5\n2"),
        ("TRACING_CONFIG_SAMPLE_RATE", "often"),
    ] {
        let text = with(&[(name, value)]).expect_err(name).to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(name) && text.contains(&format!("{value:?}")), "{text}");
    }
}

#[test]
fn faults_in_contents_are_for_the_log_unless_there_is_none() {
    let told = |changes: &[(&str, &str)]| {
        let faults = with(changes).expect_err("a fault");
        faults
            .for_the_log()
            .iter()
            .map(|content| content.name.clone())
            .collect::<Vec<_>>()
    };
    let bad = ("OBSERVABILITY_CONFIG", "{");
    assert_eq!(told(&[bad]), ["OBSERVABILITY_CONFIG"]);
    assert!(
        told(&[bad, ("CONTAINER_CONCURRENCY", "abc")]).is_empty(),
        "plain lines, all of them"
    );
}

#[test]
fn extreme_numbers_keep_their_meaning() {
    let most = i64::MAX.to_string();
    let config = with(&[("REVISION_TIMEOUT_SECONDS", &most), ("CONTAINER_CONCURRENCY", &most)]).expect("numbers");
    assert!(config.knative.timeout > Duration::from_secs(99 * 365 * 24 * 3600));
    assert!(std::time::Instant::now().checked_add(config.knative.timeout).is_some());
    assert_eq!(config.knative.container_concurrency, MAX_CONCURRENCY);
    let config = with(&[("REVISION_TIMEOUT_SECONDS", "-5"), ("CONTAINER_CONCURRENCY", "-1")]).expect("numbers");
    assert_eq!(
        (config.knative.timeout, config.knative.container_concurrency),
        (Duration::ZERO, 0)
    );
    assert_eq!(
        with(&[("QUEUE_SERVING_TLS_PORT", "")])
            .expect("no certificate")
            .knative
            .tls_port,
        None
    );
}

#[test]
fn variables_of_old_controllers_are_read_where_the_new_one_is_absent() {
    use observability::{MetricsProtocol, Profiling, TracingProtocol};
    let old = [
        ("SERVING_REQUEST_LOG_TEMPLATE", "{{.Request.Method}}"),
        ("SERVING_ENABLE_REQUEST_LOG", "true"),
        ("SERVING_ENABLE_PROBE_REQUEST_LOG", "1"),
        ("SERVING_REQUEST_METRICS_BACKEND", "prometheus"),
        ("SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", "5"),
        ("TRACING_CONFIG_BACKEND", "zipkin"),
        ("TRACING_CONFIG_ZIPKIN_ENDPOINT", "http://zipkin:9411/api/v2/spans"),
        ("TRACING_CONFIG_SAMPLE_RATE", "0.1"),
        ("TRACING_CONFIG_DEBUG", "t"),
        ("ENABLE_PROFILING", "true"),
    ];
    let config = with(&old).expect("an old environment");
    let told = &config.knative.observability;
    assert_eq!(told.request_metrics.protocol, MetricsProtocol::LegacyPrometheus);
    assert_eq!(told.request_metrics.period(), Duration::from_secs(5));
    assert_eq!(
        (told.tracing.protocol, told.tracing.debug),
        (TracingProtocol::Zipkin, true)
    );
    assert_eq!(told.tracing.endpoint, "http://zipkin:9411/api/v2/spans");
    assert!((told.tracing.sampling_rate - 0.1).abs() < f64::EPSILON);
    assert_eq!(told.runtime.profiling, Profiling::Enabled);
    assert!(told.request_log && told.probe_request_log && config.notices.is_empty());
    assert_eq!(told.request_log_template.as_deref(), Some("{{.Request.Method}}"));
    let empty = with(&[
        ("SERVING_REQUEST_LOG_TEMPLATE", ""),
        ("SERVING_ENABLE_REQUEST_LOG", "true"),
    ]);
    let empty = empty.expect("an old environment").knative.observability;
    assert_eq!(empty.request_log_template.as_deref(), Some(""), "which is no log");
    let mut both = old.to_vec();
    both.extend([("OBSERVABILITY_CONFIG", "{}"), ("ENABLE_PROFILING", "not read then")]);
    assert_eq!(
        with(&both).expect("the new one wins").knative.observability,
        Observability::default()
    );
    let strange = [
        ("SERVING_REQUEST_METRICS_BACKEND", "stackdriver"),
        ("TRACING_CONFIG_BACKEND", "stackdriver"),
    ];
    let config = with(&strange).expect("off, with a warning");
    assert_eq!(
        (config.knative.observability, config.notices.len()),
        (Observability::default(), 2)
    );
    let opencensus = with(&[("SERVING_REQUEST_METRICS_BACKEND", "opencensus")]).expect("accepted");
    assert_eq!(
        opencensus.knative.observability.request_metrics.protocol,
        MetricsProtocol::LegacyPrometheus
    );
    assert_eq!(opencensus.notices.len(), 1);
}

#[test]
fn unknown_xdt_variables_are_found_and_flags_win() {
    let mut environment = minimal();
    environment.insert("XDT_INLINE_LIMITS".to_owned(), "1".to_owned());
    environment.insert("XDT_INLINE_LIMIT".to_owned(), "1KiB".to_owned());
    let flags = BTreeMap::from([("XDT_INLINE_LIMIT".to_owned(), "2KiB".to_owned())]);
    let config = Config::parse(&Raw::new(environment, flags)).expect("complete");
    assert_eq!(config.unknown, ["XDT_INLINE_LIMITS"]);
    assert_eq!(
        with(&[("XDT_TENANT", "")]).expect("as if not set").xdt.tenant,
        "default"
    );
    assert_eq!(config.xdt.inline_limit, ByteCount::kib(2));
}

#[test]
fn whole_numbers_follow_go() {
    let good = [
        ("10", 10),
        ("0x10", 16),
        ("-5", -5),
        ("1_000", 1000),
        ("0b11", 3),
        ("0o17", 15),
        ("017", 15),
        ("+3", 3),
        ("0", 0),
        ("0x_1F", 31),
        ("-9223372036854775808", i64::MIN),
    ];
    for (text, number) in good {
        assert_eq!(parse::go_int(text), Some(number), "{text}");
    }
    for text in [
        "",
        "abc",
        "1.5",
        "_1",
        "1_",
        "1__0",
        "0x",
        "--1",
        "08",
        "9999999999999999999",
    ] {
        assert_eq!(parse::go_int(text), None, "{text}");
    }
}

#[test]
fn every_flag_is_on_the_command_line() {
    let matches = cli::command()
        .try_get_matches_from(["xdt-queue-proxy", "--inline-limit", "1KiB"])
        .expect("a flag");
    let cli::Task::Serve(flags) = cli::task(&matches) else {
        panic!("no subcommand was given")
    };
    assert_eq!(flags.get("XDT_INLINE_LIMIT").map(String::as_str), Some("1KiB"));
    cli::command().debug_assert();
}

#[test]
fn the_page_in_docs_is_up_to_date() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md")).unwrap_or_default();
    let message = "run `cargo run -p xdt-queue-proxy -- config-reference > docs/config.md`";
    assert!(page == cli::reference(), "{message}");
}
