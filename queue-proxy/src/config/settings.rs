//! Every setting: its variable, flag, default and meaning. `--help` and `docs/config.md` are made from this table.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What holds when it is not set; `None`: nothing, or something that another setting gives (see the meaning).
    pub default: Option<&'static str>,
    /// Meaning, unit and bounds.
    pub meaning: &'static str,
}

impl Setting {
    /// The command-line flag, for settings of XDT's own: `--inline-limit` for `XDT_INLINE_LIMIT`.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        self.name
            .strip_prefix("XDT_")
            .map(|name| name.to_ascii_lowercase().replace('_', "-"))
    }
}

const fn setting(name: &'static str, default: Option<&'static str>, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// All of them: XDT's own first, in the order of the contract, then Knative's.
pub const SETTINGS: &[Setting] = &[
    setting(
        "XDT_KEYRING_FILE",
        None,
        "JSON key ring. Absent: XDT is off and the process is a plain Knative queue-proxy. Watched and reloaded while running.",
    ),
    setting(
        "XDT_TENANT",
        None,
        "Trust domain; a reference resolves only inside the tenant that made it. Default: SERVING_NAMESPACE.",
    ),
    setting(
        "XDT_BIND_ADDRESS",
        None,
        "Address that every pod-facing listener binds (Knative's ports included); for several instances on one host. Default: all addresses.",
    ),
    setting(
        "XDT_SERVING_CERTS_DIR",
        Some("/var/lib/knative/certs"),
        "Folder of tls.crt and tls.key for QUEUE_SERVING_TLS_PORT. The default is where Knative mounts them; another one is for several instances on one host, and for tests.",
    ),
    setting(
        "XDT_DATA_PORT",
        Some("8014"),
        "Port of the data plane between queue-proxies (gRPC).",
    ),
    setting(
        "XDT_ADVERTISE_ADDRESS",
        None,
        "HOST:PORT that references point to. Default: SERVING_POD_IP with XDT_DATA_PORT.",
    ),
    setting(
        "XDT_LOCAL_ADDRESS",
        Some("127.0.0.1:8015"),
        "Address of the local HTTP API for the user container.",
    ),
    setting(
        "XDT_EGRESS_ADDRESS",
        Some("127.0.0.1:8016"),
        "Address of the egress forward proxy for the user container.",
    ),
    setting(
        "XDT_EGRESS_HOSTS",
        Some(".svc.cluster.local"),
        "Host suffixes, separated by commas, whose calls the egress proxy may turn into references.",
    ),
    setting(
        "XDT_LOCAL_SOCKET",
        Some("@xdt.v1"),
        "Abstract unix socket for SDKs, which pass objects over it as memory files; where they cannot, they use the local HTTP API. The name begins with @.",
    ),
    setting(
        "XDT_NODE_DIR",
        None,
        "Directory that only queue-proxies of this node mount: through it they pass objects to each other as memory. Mode 0700, 0770 or 1777, of this user or root; one user id for all of them. Where it cannot be used, objects come over the network.",
    ),
    setting(
        "XDT_NODE_NAME",
        None,
        "Which instances share a node; sealed into references, never shown. Default: HOST_IP.",
    ),
    setting(
        "XDT_PATHS",
        Some("instance,node,stream,spill"),
        "Paths allowed, separated by commas; for measurement and trouble-shooting.",
    ),
    setting(
        "XDT_INLINE_LIMIT",
        Some("64KiB"),
        "Bodies up to this size travel inline.",
    ),
    setting(
        "XDT_CHUNK_SIZE",
        Some("64KiB"),
        "Unit of streaming between queue-proxies (thesis 6.4.1.2); at least 1KiB.",
    ),
    setting(
        "XDT_STREAMING",
        Some("cut-through"),
        "cut-through: chunks leave as they arrive; store-and-forward: each side holds the whole object first (thesis 6.4.2.1).",
    ),
    setting(
        "XDT_INVOKE_BUFFERS",
        Some("32"),
        "Buffers for objects that pass through (invoke); one per transfer (thesis 6.5.3).",
    ),
    setting(
        "XDT_INVOKE_BUFFER_SIZE",
        Some("1MiB"),
        "Size of one such buffer; at least 4KiB.",
    ),
    setting(
        "XDT_OBJECT_MEMORY",
        Some("256MiB"),
        "Bound on bytes held for put objects, and so on the largest put; bytes of running pulls have a second bound of the same size. At least 4KiB.",
    ),
    setting(
        "XDT_OBJECT_TTL",
        Some("10m"),
        "An object not retrieved as often as allowed is freed after this; 0 = never.",
    ),
    setting(
        "XDT_BUFFER_WAIT",
        Some("30s"),
        "How long a put or invoke waits for a buffer before it is busy.",
    ),
    setting(
        "XDT_PULL_TIMEOUT",
        Some("30s"),
        "Bounds connecting to a producer, and each silence of a peer after that.",
    ),
    setting(
        "XDT_CLIENT_TIMEOUT",
        Some("5m"),
        "How long a client of the local ports may leave an answer unread, or stop in the middle of a put's body, before its transfer is ended.",
    ),
    setting(
        "XDT_DRAIN_GRACE",
        None,
        "How long after SIGTERM held objects go on being served. Default: REVISION_TIMEOUT_SECONDS.",
    ),
    setting(
        "XDT_MAX_OBJECT_SIZE",
        Some("16GiB"),
        "Largest object; a put is bounded by XDT_OBJECT_MEMORY as well, an invoke is not.",
    ),
    setting(
        "XDT_SPILL_URL",
        None,
        "Object store to which objects go that are left at shutdown, so that their references stay valid, and where consumers look for objects whose producers are gone: s3://BUCKET/PREFIX or file:///FOLDER. Credentials, region and endpoint of S3 come from the usual environment (AWS_*); see docs/spill.md.",
    ),
    setting(
        "XDT_TLS_CERT_FILE",
        None,
        "Mutual TLS between queue-proxies: this one's certificate (PEM, with what lies between it and the authority), for the DNS name xdt-queue-proxy. All three of XDT_TLS_* or none; watched and reloaded while running. A peer without such a certificate is refused, on either side of a pull.",
    ),
    setting("XDT_TLS_KEY_FILE", None, "Private key of XDT_TLS_CERT_FILE (PEM)."),
    setting(
        "XDT_TLS_CA_FILE",
        None,
        "Certificates of the authority of all queue-proxies (PEM); several while one replaces another.",
    ),
    setting(
        "CONTAINER_CONCURRENCY",
        None,
        "Required. Requests at once in the user container; 0 or less: no bound.",
    ),
    setting("QUEUE_SERVING_PORT", None, "Required. Main listener, 8012 or 8013."),
    setting(
        "QUEUE_SERVING_TLS_PORT",
        None,
        "Required. TLS listener, 8112; opened when a certificate is mounted.",
    ),
    setting(
        "USER_PORT",
        None,
        "Required. The user container is 127.0.0.1 with this port.",
    ),
    setting(
        "REVISION_TIMEOUT_SECONDS",
        None,
        "Required. A request ends after this many seconds.",
    ),
    setting(
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS",
        Some("0"),
        "A request ends when its response has not begun after this many seconds; 0: off.",
    ),
    setting(
        "REVISION_IDLE_TIMEOUT_SECONDS",
        Some("0"),
        "A request ends when nothing has been written to the client for this many seconds; 0: off.",
    ),
    setting(
        "ENABLE_HTTP_FULL_DUPLEX",
        Some("false"),
        "HTTP/1.1 responses may begin before the request's body has ended.",
    ),
    setting(
        "ENABLE_HTTP2_AUTO_DETECTION",
        Some("false"),
        "HTTP readiness probes try HTTP/2 first.",
    ),
    setting(
        "ENABLE_MULTI_CONTAINER_PROBES",
        Some("false"),
        "SERVING_READINESS_PROBE is then an array, one probe for each container.",
    ),
    setting(
        "SERVING_READINESS_PROBE",
        None,
        "The user container's readiness probe (JSON); absent or empty: always ready.",
    ),
    setting("SERVING_NAMESPACE", None, "Required. Log key; default tenant."),
    setting(
        "SERVING_SERVICE",
        None,
        "Name of the service in telemetry; empty for a bare configuration or route.",
    ),
    setting("SERVING_CONFIGURATION", None, "Required; may be empty."),
    setting("SERVING_REVISION", None, "Required. Log key."),
    setting("SERVING_POD", None, "Required. Pod name in statistics and logs."),
    setting(
        "SERVING_POD_IP",
        None,
        "Required. Default host of XDT_ADVERTISE_ADDRESS.",
    ),
    setting(
        "SERVING_LOGGING_CONFIG",
        None,
        "Required; may be empty. zap configuration of the log (JSON), merged over Knative's default: JSON lines on stderr from level info.",
    ),
    setting(
        "SERVING_LOGGING_LEVEL",
        None,
        "Required; may be empty. debug, info, warn, error, dpanic, panic or fatal: beats the level of SERVING_LOGGING_CONFIG.",
    ),
    setting(
        "OBSERVABILITY_CONFIG",
        None,
        "Tracing, request metrics, profiling and the request log (JSON). Where it is not set, the variables of Knative 1.16 to 1.18 below are read.",
    ),
    setting(
        "QUEUE_PROXY_TLS_MIN_VERSION",
        None,
        "Lowest version on the TLS port: 1.2 or 1.3. Default: 1.3.",
    ),
    setting(
        "QUEUE_PROXY_TLS_MAX_VERSION",
        None,
        "Highest version on the TLS port: 1.2 or 1.3. Default: 1.3.",
    ),
    setting(
        "QUEUE_PROXY_TLS_CIPHER_SUITES",
        None,
        "Cipher suites of TLS 1.2 by their IANA names, separated by commas. Default: all ECDHE suites with AES-GCM or ChaCha20. The CBC suites on Go's list are known but not available: they are left out with a warning.",
    ),
    setting(
        "QUEUE_PROXY_TLS_CURVE_PREFERENCES",
        None,
        "Key exchange groups, separated by commas: X25519, X25519MLKEM768, P-256, P-384, P-521 (or CurveP256 and so on). Default: all.",
    ),
    setting(
        "GOMAXPROCS",
        None,
        "Number of worker threads. Default: the CPU quota of the container, rounded down, at least 1; without a quota the number of cores.",
    ),
    setting(
        "SERVING_ENABLE_REQUEST_LOG",
        Some("false"),
        "Knative 1.16 to 1.18: a line on stdout for each request.",
    ),
    setting(
        "SERVING_ENABLE_PROBE_REQUEST_LOG",
        Some("false"),
        "Knative 1.16 to 1.18: also for probes.",
    ),
    setting(
        "SERVING_REQUEST_LOG_TEMPLATE",
        None,
        "Knative 1.16 to 1.18: Go template of the request log. Set to nothing: no log. Default: Knative's.",
    ),
    setting(
        "SERVING_REQUEST_METRICS_BACKEND",
        None,
        "Knative 1.16 to 1.18: prometheus (metrics of those releases on 9091), opencensus (the same, and the log says so), none.",
    ),
    setting(
        "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS",
        Some("0"),
        "Knative 1.16 to 1.18: push period; 0: 60 s.",
    ),
    setting(
        "METRICS_COLLECTOR_ADDRESS",
        None,
        "Knative 1.16 to 1.18: OpenCensus agent. Changes nothing: its metrics are served on 9091.",
    ),
    setting(
        "METRICS_DOMAIN",
        None,
        "Knative 1.16 to 1.18: OpenCensus metric domain. Changes nothing.",
    ),
    setting("TRACING_CONFIG_BACKEND", None, "Knative 1.16 to 1.18: zipkin or none."),
    setting(
        "TRACING_CONFIG_ZIPKIN_ENDPOINT",
        None,
        "Knative 1.16 to 1.18: URL that spans are posted to.",
    ),
    setting(
        "TRACING_CONFIG_SAMPLE_RATE",
        Some("0"),
        "Knative 1.16 to 1.18: share of traced requests, 0 to 1.",
    ),
    setting(
        "TRACING_CONFIG_DEBUG",
        Some("false"),
        "Knative 1.16 to 1.18: all requests are traced.",
    ),
    setting(
        "PROFILING_PORT",
        None,
        "Port of the profiling server, where OBSERVABILITY_CONFIG enables it. Default: 8008.",
    ),
    setting(
        "ENABLE_PROFILING",
        Some("false"),
        "Knative 1.16 to 1.18: opens the profiling port 8008.",
    ),
    setting("POD_NAME", None, "Pod name in telemetry; else `HOSTNAME`."),
    setting("HOSTNAME", None, "Pod name in telemetry where `POD_NAME` is not set."),
    setting(
        "OTEL_SERVICE_NAME",
        None,
        "`service.name` of telemetry. Default: the first of service, configuration, revision and pod that has a name.",
    ),
    setting(
        "OTEL_RESOURCE_ATTRIBUTES",
        None,
        "More attributes of telemetry, key=value, separated by commas; they replace others of the same key, `service.name` excepted.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "URL of the collector; beats the endpoints of OBSERVABILITY_CONFIG. Over HTTP each signal appends its path.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        None,
        "URL for metrics, taken as it is; beats OTEL_EXPORTER_OTLP_ENDPOINT.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        None,
        "URL for spans, taken as it is; beats OTEL_EXPORTER_OTLP_ENDPOINT.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        None,
        "Milliseconds that one export may take. Default: 10000.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        None,
        "As OTEL_EXPORTER_OTLP_TIMEOUT, for metrics.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        None,
        "As OTEL_EXPORTER_OTLP_TIMEOUT, for spans.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        None,
        "Headers sent to the collector, name=value, separated by commas; also OTEL_EXPORTER_OTLP_METRICS_HEADERS and OTEL_EXPORTER_OTLP_TRACES_HEADERS.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        None,
        "File with the certificates that a collector is verified by; also with METRICS_ or TRACES_ after OTLP_. Default: the system's.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        None,
        "File with the certificate shown to a collector; OTEL_EXPORTER_OTLP_CLIENT_KEY names its key. Both also with METRICS_ or TRACES_ after OTLP_.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        None,
        "As OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE.",
    ),
    setting(
        "OTEL_METRIC_EXPORT_INTERVAL",
        None,
        "Milliseconds between pushes of metrics; beats requestMetrics.exportInterval.",
    ),
    setting(
        "OTEL_TRACES_SAMPLER",
        None,
        "always_on, always_off or traceidratio, each also with parentbased_ before it; beats tracing.samplingRate.",
    ),
    setting(
        "OTEL_TRACES_SAMPLER_ARG",
        None,
        "Ratio of OTEL_TRACES_SAMPLER; without it only 1 and above count, and mean: all.",
    ),
    setting(
        "METRICS_PROMETHEUS_HOST",
        None,
        "Host name or address on which request metrics are served; beats requestMetrics.endpoint.",
    ),
    setting(
        "METRICS_PROMETHEUS_PORT",
        None,
        "Port on which request metrics are served, 1024 to 65535; beats requestMetrics.endpoint. Default: 9091.",
    ),
    setting(
        "METRICS_PROMETHEUS_TLS_CERT",
        None,
        "File with the certificate that scrapers see, which makes the port TLS; METRICS_PROMETHEUS_TLS_KEY names its key.",
    ),
    setting("METRICS_PROMETHEUS_TLS_KEY", None, "As METRICS_PROMETHEUS_TLS_CERT."),
    setting(
        "METRICS_PROMETHEUS_TLS_CLIENT_AUTH",
        None,
        "none, optional or require: whether scrapers show a certificate. Default: none.",
    ),
    setting(
        "METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE",
        None,
        "File with the certificates that scrapers are verified by.",
    ),
    setting(
        "METRICS_PROMETHEUS_TLS_MIN_VERSION",
        None,
        "As QUEUE_PROXY_TLS_MIN_VERSION, for scrapers; likewise MAX_VERSION, CIPHER_SUITES and CURVE_PREFERENCES.",
    ),
];
