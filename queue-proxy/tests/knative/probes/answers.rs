//! Who is answered, and with what (contract, sections 5.1 and 5.2).

use xdt_testkit::{Script, UserContainer, eventually};

use super::kit::{KUBELET, NOT_READY, ask, check, is_ready, probing, sidecar, tcp};

const AGENTS: [&str; 5] = [
    "kube-probe/1.30",
    "Knative-Activator-Probe",
    "Knative-Activator-Probe/2",
    "Knative-Autoscaling-Probe",
    "Knative-Autoscaling-Probe-x",
];

#[tokio::test]
async fn c76_ready_is_200_with_exactly_queue() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port())).user_port(user.port()).start().await;
    let answer = check(&sidecar).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "queue"));
    assert_eq!(answer.header("content-length"), "5");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(user.calls(), 0, "a TCP probe asks nothing");
}

#[tokio::test]
async fn c77_activator_and_autoscaler_are_answered_on_any_path_with_any_method() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port())).user_port(user.port()).start().await;
    for agent in AGENTS {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/healthz"),
            ("POST", "//x?y"),
            ("HEAD", "/"),
            ("PURGE", "/a%2Fb"),
        ] {
            let headers = [("user-agent", agent), ("k-network-probe", "queue")];
            let answer = ask(&sidecar, method, path, &headers).await;
            let body = if method == "HEAD" { "" } else { "queue" };
            assert_eq!(
                (answer.status.as_u16(), answer.text().as_str()),
                (200, body),
                "{agent} {method}"
            );
        }
    }
    assert_eq!(user.calls(), 0);
}

#[tokio::test]
async fn c78_not_ready_is_503_without_a_body() {
    let probe = r#"{"tcpSocket":{"port":1,"host":"127.0.0.1"},"periodSeconds":1,"timeoutSeconds":1}"#;
    let sidecar = sidecar()
        .env("SERVING_READINESS_PROBE", probe)
        .allow(NOT_READY)
        .start()
        .await;
    let answer = check(&sidecar).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (503, 0));
    assert_eq!(answer.header("content-length"), "0");
    sidecar
        .logged("readiness probe failed: connect: connection refused")
        .await;
}

#[tokio::test]
async fn c79_a_missing_or_other_probe_header_is_400() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port())).user_port(user.port()).start().await;
    for agent in AGENTS {
        for value in [None, Some("probe"), Some("Queue"), Some("activator")] {
            let mut headers = vec![("user-agent", agent)];
            headers.extend(value.map(|value| ("k-network-probe", value)));
            let answer = ask(&sidecar, "GET", "/", &headers).await;
            assert_eq!(answer.status, 400);
            let text = format!("unexpected probe header value: {}\n", value.unwrap_or_default());
            assert_eq!(answer.text(), text);
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
    }
    assert_eq!(user.calls(), 0);
}

#[tokio::test]
async fn c80_the_autoscalers_activator_probe_is_400_and_touches_nobody() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port())).user_port(user.port()).start().await;
    let headers = [
        ("user-agent", "Knative-Autoscaling-Probe"),
        ("k-network-probe", "activator"),
    ];
    let answer = ask(&sidecar, "GET", "//healthz", &headers).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("location"), "");
    assert_eq!(user.calls(), 0);
}

#[tokio::test]
async fn c81_the_ingress_probe_gets_its_hash_back() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let hash = ("k-network-hash", "ab12");
    for agent in ["Knative-Ingress-Probe", "curl/8"] {
        let headers = [("user-agent", agent), ("k-network-probe", "probe"), hash];
        let answer = ask(&sidecar, "GET", "/healthz", &headers).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert_eq!(answer.header("k-network-hash"), "ab12");
    }
    for headers in [
        vec![("k-network-probe", "probe")],
        vec![("k-network-probe", "probe"), ("k-network-hash", "")],
    ] {
        let answer = ask(&sidecar, "GET", "/", &headers).await;
        assert_eq!(answer.status, 400);
        let text = "a probe request must contain a non-empty \"K-Network-Hash\" header\n";
        assert_eq!(answer.text(), text);
    }
    assert_eq!(user.calls(), 0);
}

#[tokio::test]
async fn c82_an_ordinary_user_agent_is_proxied_whatever_else_it_says() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    for (agent, probe) in [("Mozilla/5.0", "queue"), ("kube-prober", "queue"), ("curl", "Probe")] {
        let headers = [("user-agent", agent), ("k-network-probe", probe)];
        assert_eq!(ask(&sidecar, "GET", "/x", &headers).await.status, 200);
    }
    let seen = user.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].header("k-network-probe"), "queue", "passed on as it is");
}

#[tokio::test]
async fn c83_without_a_probe_the_container_is_always_ready() {
    let absent = sidecar().start().await;
    assert!(is_ready(&absent).await, "and nobody listens on the user port");
    let empty = sidecar().env("SERVING_READINESS_PROBE", "").start().await;
    assert!(is_ready(&empty).await);
}

#[tokio::test]
async fn c93_exec_and_empty_probes_are_not_ready() {
    for (probe, array, why) in [
        (
            r#"{"exec":{"command":["true"]},"periodSeconds":1}"#,
            "false",
            "exec probe not supported",
        ),
        (r#"{"periodSeconds":1}"#, "false", "no probe found"),
        (r#"[{"periodSeconds":1}]"#, "true", "no probe found"),
    ] {
        let sidecar = sidecar()
            .env("SERVING_READINESS_PROBE", probe)
            .env("ENABLE_MULTI_CONTAINER_PROBES", array)
            .allow(NOT_READY);
        let sidecar = sidecar.start().await;
        assert!(!is_ready(&sidecar).await, "{probe}");
        sidecar.logged(&format!("readiness probe failed: {why}")).await;
    }
}

/// Stock crashes on these. They have no `periodSeconds`, so each answer takes ten seconds: both at once.
#[tokio::test]
async fn c93_null_is_not_ready_and_harmless() {
    let check = async |probe, array| {
        let sidecar = sidecar()
            .env("SERVING_READINESS_PROBE", probe)
            .env("ENABLE_MULTI_CONTAINER_PROBES", array)
            .allow(NOT_READY);
        let mut sidecar = sidecar.start().await;
        assert!(!is_ready(&sidecar).await, "{probe}");
        sidecar.logged("no probe found").await;
        assert!(sidecar.is_running());
    };
    tokio::join!(check("null", "false"), check("null", "true"), check("[null]", "true"));
}

#[tokio::test]
async fn c95_probes_are_not_in_the_statistics() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port()))
        .user_port(user.port())
        .env("SERVING_POD", "p")
        .start()
        .await;
    let ingress = [("k-network-probe", "probe"), ("k-network-hash", "h")];
    let seconds = eventually("three published windows", async || {
        assert!(is_ready(&sidecar).await);
        assert_eq!(ask(&sidecar, "GET", "/", &ingress).await.status, 200);
        assert_eq!(ask(&sidecar, "GET", "/", &KUBELET[..1]).await.status, 400);
        let body = stats(&sidecar).await;
        // Field 1, the pod's name, and after the first second field 6, the uptime: nothing was counted.
        assert_eq!(&body[..3], b"\x0a\x01p");
        assert!(body.len() == 3 || body.len() == 12 && body[3] == 0x31, "{body:?}");
        let uptime = f64::from_le_bytes(body.get(4..)?.try_into().ok()?);
        (uptime >= 3.0).then_some(uptime)
    });
    assert!(seconds.await < 60.0);
    // The same window does show an ordinary request.
    eventually("a request in the statistics", async || {
        assert_eq!(ask(&sidecar, "GET", "/", &[]).await.status, 200);
        (stats(&sidecar).await.len() > 12).then_some(())
    })
    .await;
}

async fn stats(sidecar: &xdt_testkit::Sidecar) -> Vec<u8> {
    let url = format!("http://{}/metrics", sidecar.stats());
    let request = xdt_testkit::http::request("GET", url, &[], xdt_testkit::empty_body());
    sidecar.client().fetch(request).await.body.to_vec()
}
