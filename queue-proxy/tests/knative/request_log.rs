//! The request log on stdout (contract of the queue-proxy, section 8; checklist, clauses 95 and 125 to 129).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use xdt_testkit::{
    Builder, Http1, Http2, Payload, RawConnection, RawContainer, Script, Sidecar, UserContainer, bytes_body,
    empty_body, eventually, http::request, within,
};

/// Logged when the template cannot be parsed.
const UNAVAILABLE: &str = "Request logs will be unavailable";
/// Logged for each answer that the user container did not give.
const NO_ANSWER: &str = "error reverse proxying request";

/// With the request log and a template; `None` = Knative's default.
fn logging(template: Option<&str>) -> Builder {
    let mut config = json!({"enableRequestLog": true});
    if let Some(template) = template {
        config["requestLogTemplate"] = json!(template);
    }
    configured(&config)
}

fn configured(config: &Value) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("SERVING_SERVICE", "service")
        .env("SERVING_POD_IP", "10.1.2.3")
        .env("OBSERVABILITY_CONFIG", &config.to_string())
}

async fn send(sidecar: &Sidecar, path: &str, headers: &[(&str, &str)]) -> u16 {
    let url = format!("http://{}{path}", sidecar.serving());
    let answer = sidecar.client().fetch(request("GET", url, headers, empty_body())).await;
    answer.status.as_u16()
}

/// Waits for so many lines; more of them are a fault.
async fn lines(sidecar: &Sidecar, count: usize) -> Vec<String> {
    let found = eventually("lines in the request log", async || {
        let text = sidecar.stdout();
        (text.ends_with('\n') && text.lines().count() >= count).then_some(text)
    })
    .await;
    let lines: Vec<String> = found.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_the_default_template_tells_every_field_as_json() {
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(1, 1234)));
    let sidecar = logging(None).user_port(user.port()).start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    let headers = [
        ("host", "app.example"),
        ("user-agent", "agent \"x\" <y>"),
        ("referer", "http://from/?a=b"),
    ];
    let answer = client
        .fetch(request(
            "POST",
            "/echo/a%2Fb?x=1&y=2",
            &headers,
            bytes_body("twelve bytes"),
        ))
        .await;
    assert_eq!(answer.body.len(), 1234);
    let line = lines(&sidecar, 1).await.remove(0);
    let start = r#"{"httpRequest": {"requestMethod": "POST", "requestUrl": "/echo/a%2Fb?x\u003D1\u0026y\u003D2", "requestSize": "12", "status": 200, "responseSize": "1234", "userAgent": "agent \"x\" \u003Cy\u003E", "remoteIp": ""#;
    assert!(line.starts_with(start), "{line}");
    let mut line: Value = serde_json::from_str(&line).expect("JSON");
    let entry = line["httpRequest"].as_object_mut().expect("an object");
    let latency = entry.remove("latency").expect("a latency");
    let latency = latency
        .as_str()
        .and_then(|text| text.strip_suffix('s'))
        .expect("seconds");
    assert!(
        (0.0..60.0).contains(&latency.parse::<f64>().expect("a number")),
        "{latency}"
    );
    let peer = entry.remove("remoteIp").expect("a peer");
    let peer: std::net::SocketAddr = peer.as_str().expect("text").parse().expect("ip:port");
    assert!(peer.ip().is_loopback() && peer.port() > 0);
    assert_eq!(
        line,
        json!({"httpRequest": {"requestMethod": "POST", "requestUrl": "/echo/a%2Fb?x=1&y=2", "requestSize": "12",
            "status": 200, "responseSize": "1234", "userAgent": "agent \"x\" <y>", "serverIp": "10.1.2.3",
            "referer": "http://from/?a=b", "protocol": "HTTP/1.1"}, "traceId": ""})
    );
    assert!(!sidecar.log().contains("httpRequest"), "stdout alone has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_answers_of_the_proxys_own_and_broken_ones_have_their_lines() {
    let template = "{{.Request.Method}} {{.Request.RequestURI}} {{.Response.Code}} {{.Response.Size}}";
    let user = UserContainer::start(Script::BreakOff(Payload::new(1, 8 << 20)));
    let sidecar = logging(Some(template))
        .env("REVISION_TIMEOUT_SECONDS", "1")
        .allow(NO_ANSWER)
        .allow("Request timeout")
        .user_port(user.port())
        .start()
        .await;
    let url = format!("http://{}/broken", sidecar.serving());
    let broken = sidecar.client().try_fetch(request("GET", url, &[], empty_body())).await;
    assert!(broken.is_err());
    assert_eq!(lines(&sidecar, 1).await[0], "GET /broken 500 0");
    user.follow(Script::Hold);
    assert_eq!(send(&sidecar, "/late", &[]).await, 504);
    assert_eq!(lines(&sidecar, 2).await[1], "GET /late 504 15");
    user.follow(Script::Answer(200, vec![], Payload::new(1, 5000)));
    let url = format!("http://{}/head", sidecar.serving());
    let answer = sidecar.client().fetch(request("HEAD", url, &[], empty_body())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(lines(&sidecar, 3).await[2], "HEAD /head 200 0");
    let alone = logging(Some(template)).allow(NO_ANSWER).start().await;
    assert_eq!(send(&alone, "/gone", &[]).await, 502);
    assert!(lines(&alone, 1).await[0].starts_with("GET /gone 502 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_a_client_that_leaves_has_one_line_too() {
    let user = UserContainer::start(Script::Hold);
    let template = "{{.Request.RequestURI}} {{.Response.Code}} {{.Response.Size}}";
    let sidecar = logging(Some(template)).user_port(user.port()).start().await;
    let mut client = RawConnection::open(sidecar.serving()).await;
    client.send("GET /left HTTP/1.1\r\nhost: h\r\n\r\n").await;
    user.called(1).await;
    assert_eq!(sidecar.stdout(), "", "the line comes at the end");
    drop(client);
    assert_eq!(lines(&sidecar, 1).await[0], "/left 200 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_a_websocket_has_one_line_when_it_closes() {
    let container = RawContainer::start();
    let port = container.port();
    let template = "{{.Request.RequestURI}} {{.Response.Code}} {{.Response.Size}} {{gt .Response.Latency 0.3}}";
    let sidecar = logging(Some(template)).user_port(port).start().await;
    let mut client = RawConnection::open(sidecar.serving()).await;
    let ask = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    client.send(ask).await;
    let mut user = container.accept().await;
    user.head().await;
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    user.send(switch).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    sleep(Duration::from_millis(400)).await; // what is measured, not a wait for something to happen
    assert_eq!(sidecar.stdout(), "");
    drop((client, user));
    assert_eq!(lines(&sidecar, 1).await[0], "/ws 200 0 true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c126_a_template_of_the_operators_renders_as_go_does() {
    let user = UserContainer::start(Script::Answer(404, vec![], Payload::new(1, 3)));
    let template = r#"{{- /* all of it */ -}}
        {{$r := .Request}}{{if ge .Response.Code 500}}bad{{else if ge .Response.Code 400}}client{{else}}ok{{end -}}
        |{{index .Request.Header "X-A"}}|{{.Request.Header.Get "x-b"}}|{{index .Request.Header "None"}}|{{printf "%05d %q %x" .Response.Code $r.Method "hi"}}|{{js $r.RequestURI}}|{{range $i, $v := .Request.Header.Values "X-A"}}{{if $i}},{{end}}{{$v}}{{end}}|{{with .Request.URL.Query.Get "q"}}{{.}}{{end}}|{{len .Request.Cookies}}|{{.Request.Proto}} {{.Request.Host}}|{{.Request.ContentLength}}{{.Request.TransferEncoding}}|{{.Revision.Namespace}}/{{.Revision.Name}}/{{.Revision.Service}}/{{.Revision.Configuration}}/{{.Revision.PodName}}|{{.Request.Header.Get "Forwarded"}}|{{.Request.Header.Get "K-Original-Host"}}|{{define "x"}}<{{.}}>{{end}}{{template "x" .Response.Size}}"#;
    let sidecar = logging(Some(template)).user_port(user.port()).start().await;
    let headers = [
        ("host", "received"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-b", "b"),
        ("cookie", "k=v; l=w"),
        ("x-forwarded-for", "1.2.3.4"),
        ("k-original-host", "other"),
    ];
    let mut http1 = Http1::open(sidecar.serving()).await;
    let asked = || request("POST", "/p?q=a=b", &headers, Payload::new(1, 5).chunked());
    assert_eq!(http1.fetch(asked()).await.status, 404);
    let found = lines(&sidecar, 1).await.remove(0);
    let expected = |proto: &str, host: &str, length: &str| {
        format!(
            "client|[1 2]|b|[]|00404 \"POST\" 6869|/p?q\\u003Da\\u003Db|1,2|a=b|2|{proto} {host}|{length}\
             |default/revision/service/configuration/pod|for=1.2.3.4||<3>"
        )
    };
    assert_eq!(found, expected("HTTP/1.1", "received", "-1[chunked]"));
    let mut http2 = Http2::open(sidecar.serving()).await;
    let url = "http://authority/p?q=a=b";
    let answer = http2
        .fetch(request("POST", url, &headers[1..], bytes_body("12345")))
        .await;
    assert_eq!(answer.status, 404);
    assert_eq!(lines(&sidecar, 2).await[1], expected("HTTP/2.0", "authority", "5[]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c127_a_template_that_does_not_parse_costs_the_log_and_nothing_else() {
    let user = UserContainer::start(Script::Status(204));
    let sidecar = logging(Some("{{.Request.Method}} {{undefined}}"))
        .allow(UNAVAILABLE)
        .user_port(user.port())
        .start()
        .await;
    assert_eq!(send(&sidecar, "/", &[]).await, 204);
    assert_eq!(sidecar.log().matches(UNAVAILABLE).count(), 1);
    let line = sidecar
        .log()
        .lines()
        .find(|line| line.contains(UNAVAILABLE))
        .map(str::to_owned);
    let line: Value = serde_json::from_str(&line.expect("it")).expect("JSON");
    assert_eq!(line["severity"], "ERROR");
    assert_eq!(
        line["error"],
        "template: requestLog:1: function \"undefined\" not defined"
    );
    assert_eq!(sidecar.stdout(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c127_a_template_that_fails_writes_the_fixed_line_and_nothing_of_its_own() {
    let user = UserContainer::start(Script::Status(200));
    let sidecar = logging(Some("partial {{.Request.Nothing}}"))
        .user_port(user.port())
        .start()
        .await;
    assert_eq!(send(&sidecar, "/echo?x=1", &[]).await, 200);
    let line = lines(&sidecar, 1).await.remove(0);
    let rest = line.strip_prefix("Invalid request log template: method: GET, response code: 200, latency: ");
    let (latency, url) = rest.and_then(|rest| rest.split_once(", url: ")).expect(&line);
    assert!(latency.parse::<f64>().expect("a number") < 60.0);
    assert_eq!(url, "/echo?x=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c128_probes_have_lines_only_where_they_are_asked_for() {
    let template = "{{.Request.RequestURI}} {{.Response.Code}} {{.Response.Size}}";
    let config = |probes: bool| json!({"enableRequestLog": true, "requestLogTemplate": template, "enableProbeRequestLog": probes});
    let user = UserContainer::start(Script::Status(200));
    let (off, on) = tokio::join!(
        configured(&config(false)).user_port(user.port()).start(),
        configured(&config(true)).user_port(user.port()).start()
    );
    for sidecar in [&off, &on] {
        let kubelet = ("user-agent", "kube-probe/1.33");
        assert_eq!(
            send(sidecar, "/queue", &[kubelet, ("k-network-probe", "queue")]).await,
            200
        );
        assert_eq!(send(sidecar, "/odd", &[kubelet]).await, 400);
        let ingress = [("k-network-probe", "probe"), ("k-network-hash", "h")];
        assert_eq!(send(sidecar, "/ingress", &ingress).await, 200);
        assert_eq!(send(sidecar, "/passed", &[("k-kubelet-probe", "x")]).await, 200);
        assert_eq!(send(sidecar, "/other", &[("k-network-probe", "other")]).await, 200);
        // No probe by the log's rules, though the proxy answers it as one.
        let activator = [("user-agent", "Knative-Activator-Probe")];
        assert_eq!(send(sidecar, "/activator", &activator).await, 400);
        assert_eq!(send(sidecar, "/request", &[]).await, 200);
    }
    let expected = [
        "/queue 200 5",
        "/odd 400 ",
        "/ingress 200 0",
        "/passed 200 0",
        "/other 200 0",
        "/activator 400 ",
        "/request 200 0",
    ];
    let found = lines(&on, 7).await;
    for (line, start) in found.iter().zip(expected) {
        assert!(line.starts_with(start), "{found:?}");
    }
    let found = lines(&off, 2).await;
    assert!(
        found[0].starts_with(expected[5]) && found[1] == expected[6],
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c95_health_checks_and_ingress_probes_are_not_in_the_request_log_by_default() {
    let user = UserContainer::start(Script::Status(200));
    let sidecar = logging(None).user_port(user.port()).start().await;
    let check = [
        ("user-agent", "Knative-Autoscaling-Probe"),
        ("k-network-probe", "queue"),
    ];
    assert_eq!(send(&sidecar, "/", &check).await, 200);
    assert_eq!(
        send(&sidecar, "/", &[("k-network-probe", "probe"), ("k-network-hash", "h")]).await,
        200
    );
    assert_eq!(send(&sidecar, "/a-request", &[]).await, 200);
    assert!(lines(&sidecar, 1).await[0].contains("/a-request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c129_the_trace_id_comes_from_traceparent_else_from_b3_else_it_is_empty() {
    let user = UserContainer::start(Script::Status(200));
    let sidecar = logging(Some("<{{.TraceID}}>")).user_port(user.port()).start().await;
    let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let b3 = ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124");
    for headers in [&[parent, b3][..], &[b3], &[]] {
        assert_eq!(send(&sidecar, "/", headers).await, 200);
    }
    let expected = [
        "<4bf92f3577b34da6a3ce929d0e0e4736>",
        "<463ac35c9f6413ad48485a3953bb6124>",
        "<>",
    ];
    assert_eq!(lines(&sidecar, 3).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_off_and_empty_templates_write_nothing() {
    let user = UserContainer::start(Script::Status(200));
    let old = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("SERVING_ENABLE_REQUEST_LOG", "true")
        .env("SERVING_REQUEST_LOG_TEMPLATE", "");
    let (off, empty, old) = tokio::join!(
        configured(&json!({"requestLogTemplate": "x"}))
            .user_port(user.port())
            .start(),
        logging(Some("")).user_port(user.port()).start(),
        old.user_port(user.port()).start()
    );
    for sidecar in [&off, &empty, &old] {
        assert_eq!(send(sidecar, "/", &[]).await, 200);
        assert_eq!(sidecar.stdout(), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c125_lines_of_many_requests_at_once_are_whole_and_none_is_missing() {
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    let user = UserContainer::start(Script::Status(200));
    let template = "{{.Request.RequestURI}} {{printf `%500d` 1}}\nsecond line of {{.Request.RequestURI}}\n";
    let sidecar = logging(Some(template)).user_port(user.port()).start().await;
    let clients = (0..CLIENTS).map(|client| {
        let sidecar = &sidecar;
        async move {
            for turn in 0..EACH {
                assert_eq!(send(sidecar, &format!("/{client}/{turn}"), &[]).await, 200);
            }
        }
    });
    within("all requests", futures_util::future::join_all(clients)).await;
    let found = lines(&sidecar, 2 * CLIENTS * EACH).await;
    let mut targets: Vec<&str> = Vec::new();
    for pair in found.chunks(2) {
        let (target, rest) = pair[0].split_once(' ').expect("two words");
        assert_eq!(rest.len(), 500);
        assert_eq!(pair[1], format!("second line of {target}"));
        targets.push(target);
    }
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), CLIENTS * EACH);
}
