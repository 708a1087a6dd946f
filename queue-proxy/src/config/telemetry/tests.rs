use std::collections::BTreeMap;

use super::*;

fn ambient(pairs: &[(&str, &str)]) -> Ambient {
    let variables: BTreeMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Ambient::of(&variables)
}

fn parse(config: &str, pairs: &[(&str, &str)]) -> Result<Telemetry, TelemetryError> {
    Telemetry::parse(&Observability::parse(config).expect("JSON"), ambient(pairs))
}

fn pushed(protocol: &str, endpoint: &str, pairs: &[(&str, &str)]) -> Result<(String, Duration), String> {
    let config = format!(r#"{{"requestMetrics":{{"protocol":"{protocol}","endpoint":"{endpoint}"}}}}"#);
    match parse(&config, pairs).map_err(|error| error.to_string())?.metrics {
        Some(Metrics::Pushed(collector, period)) => Ok((collector.endpoint.to_string(), period)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_the_default() {
    let telemetry = parse("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")]).expect("nothing to refuse");
    assert_eq!(telemetry.metrics, None);
    assert_eq!(telemetry.traces, None);
}

#[test]
fn endpoints_follow_go() {
    let grpc = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let cases = [
        ("http/protobuf", "http://c:1", "http://c:1/v1/metrics".to_owned()),
        ("http/protobuf", "http://c:1/own", "http://c:1/own".to_owned()),
        ("http/protobuf", "c.ns:4318", "https://c.ns:4318/v1/metrics".to_owned()),
        ("http/protobuf", "", "https://localhost:4318/v1/metrics".to_owned()),
        ("grpc", "http://10.0.0.1:4317", format!("http://10.0.0.1:4317{grpc}")),
        ("grpc", "https://c", format!("https://c{grpc}")),
    ];
    for (protocol, endpoint, expected) in cases {
        let (found, _) = pushed(protocol, endpoint, &[]).expect("a good endpoint");
        assert_eq!(found, expected);
    }
    for endpoint in [
        "10.0.0.1:4317",
        "[::1]:4317",
        "collector",
        "ftp://c:1",
        "http://",
        "a_b:1",
    ] {
        let error = pushed("grpc", endpoint, &[]).expect_err(endpoint);
        assert!(error.contains("requestMetrics.endpoint"), "{error}");
    }
}

#[test]
fn the_environment_beats_the_configured_endpoint_and_period() {
    let shared = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://shared:1/base/");
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://own:1/given");
    let period = ("OTEL_METRIC_EXPORT_INTERVAL", "250");
    let configured = "http://configured:1";
    assert_eq!(
        pushed("http/protobuf", configured, &[shared, period]),
        Ok(("http://shared:1/base/v1/metrics".to_owned(), Duration::from_millis(250)))
    );
    assert_eq!(
        pushed("http/protobuf", configured, &[shared, own]),
        Ok(("http://own:1/given".to_owned(), Duration::from_secs(60)))
    );
    let error = pushed("grpc", configured, &[("OTEL_METRIC_EXPORT_INTERVAL", "1s")]).expect_err("no number");
    assert!(error.contains("OTEL_METRIC_EXPORT_INTERVAL"), "{error}");
}

#[test]
fn metrics_are_scraped_where_somebody_says() {
    let scraped = |endpoint: &str, pairs: &[(&str, &str)]| {
        let config = format!(r#"{{"requestMetrics":{{"protocol":"prometheus","endpoint":"{endpoint}"}}}}"#);
        parse(&config, pairs).map(|telemetry| match telemetry.metrics {
            Some(Metrics::Scraped(scraped)) => (scraped.host, scraped.port, scraped.legacy),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(scraped("", &[]), Ok((String::new(), 9091, false)));
    assert_eq!(scraped("1.2.3.4:2000", &[]), Ok(("1.2.3.4".to_owned(), 2000, false)));
    let variables = [("METRICS_PROMETHEUS_HOST", "h"), ("METRICS_PROMETHEUS_PORT", "3000")];
    assert_eq!(scraped(":2000", &variables), Ok(("h".to_owned(), 3000, false)));
    for endpoint in ["h", ":80", ":x", ":70000"] {
        assert!(scraped(endpoint, &[]).is_err(), "{endpoint}");
    }
    for pair in [("METRICS_PROMETHEUS_PORT", "80"), ("METRICS_PROMETHEUS_TLS_CERT", "/c")] {
        assert!(scraped("", &[pair]).is_err(), "{pair:?}");
    }
}

#[test]
fn samplers_follow_knative() {
    let sampling = |protocol: &str, rate: f64, pairs: &[(&str, &str)]| {
        let config =
            format!(r#"{{"tracing":{{"protocol":"{protocol}","endpoint":"http://c","samplingRate":{rate}}}}}"#);
        parse(&config, pairs).map(|telemetry| telemetry.traces.expect("on").sampling)
    };
    assert_eq!(sampling("grpc", 1.0, &[]), Ok(Sampling::Always));
    assert_eq!(sampling("grpc", 0.0, &[]), Ok(Sampling::Never));
    assert_eq!(sampling("grpc", 0.25, &[]), Ok(Sampling::AsParent(0.25)));
    assert_eq!(sampling("stdout", 0.0, &[]), Ok(Sampling::Always));
    assert_eq!(
        sampling("grpc", 0.25, &[("OTEL_TRACES_SAMPLER_ARG", "1")]),
        Ok(Sampling::Always)
    );
    let half = ("OTEL_TRACES_SAMPLER_ARG", "0.5");
    assert_eq!(sampling("grpc", 0.25, &[half]), Ok(Sampling::AsParent(0.25)));
    let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
    assert_eq!(sampling("grpc", 1.0, &[ratio, half]), Ok(Sampling::Ratio(0.5)));
    assert_eq!(
        sampling("stdout", 1.0, &[("OTEL_TRACES_SAMPLER", "always_off")]),
        Ok(Sampling::Never)
    );
    assert!(sampling("grpc", 1.0, &[("OTEL_TRACES_SAMPLER", "often")]).is_err());
}

#[test]
fn zipkin_takes_its_part_whatever_the_caller_decided() {
    let sampling = |sampling_rate, debug| {
        let tracing = Tracing {
            protocol: TracingProtocol::Zipkin,
            endpoint: "http://zipkin:9411/api/v2/spans".to_owned(),
            sampling_rate,
            debug,
        };
        let observability = Observability {
            tracing,
            ..Observability::default()
        };
        let telemetry = Telemetry::parse(&observability, ambient(&[])).expect("usable");
        telemetry.traces.expect("on").sampling
    };
    assert_eq!(sampling(0.25, false), Sampling::Ratio(0.25));
    assert_eq!(sampling(0.0, false), Sampling::Ratio(0.0));
    assert_eq!(sampling(0.0, true), Sampling::Always);
}
