//! The profiling port (contract of the queue-proxy, section 7.5; checklist 13).

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use prost::Message as _;
use tokio::net::TcpStream;
use xdt_queue_proxy::profiling::proto::Profile;
use xdt_testkit::{
    Answer, Builder, Http1, Neighbour, RawConnection, Script, Sidecar, UserContainer, empty_body, http::request,
};

const ENABLED: &str = r#"{"runtime":{"profiling":"enabled"}}"#;

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

async fn ask(sidecar: &Sidecar, method: &str, path: &str) -> Answer {
    let url = format!("http://{}{path}", sidecar.profiling());
    sidecar.client().fetch(request(method, url, &[], empty_body())).await
}

fn decoded(answer: &Answer) -> Profile {
    let mut bytes = Vec::new();
    GzDecoder::new(&*answer.body).read_to_end(&mut bytes).expect("gzip");
    Profile::decode(bytes.as_slice()).expect("a profile")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c13_the_profiling_port_is_closed_unless_enabled() {
    let closed = sidecar().start().await;
    assert!(TcpStream::connect(closed.profiling()).await.is_err());
    let told = sidecar()
        .env("PROFILING_PORT", "no port, and nobody asks")
        .start()
        .await;
    assert!(TcpStream::connect(told.profiling()).await.is_err());
    for (name, value) in [("OBSERVABILITY_CONFIG", ENABLED), ("ENABLE_PROFILING", "true")] {
        let open = sidecar().env(name, value).start().await;
        assert_eq!(ask(&open, "GET", "/debug/pprof/").await.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_can_be_chosen_and_must_be_one() {
    let elsewhere = sidecar()
        .env("OBSERVABILITY_CONFIG", ENABLED)
        .env("PROFILING_PORT", "8009");
    let elsewhere = elsewhere.start().await;
    assert!(TcpStream::connect(elsewhere.profiling()).await.is_err());
    let chosen = (elsewhere.profiling().ip(), 8009).into();
    let index = request("GET", "/debug/pprof/", &[("host", "x")], empty_body());
    assert_eq!(Http1::open(chosen).await.fetch(index).await.status, 200);
    let output = sidecar()
        .env("OBSERVABILITY_CONFIG", ENABLED)
        .env("PROFILING_PORT", "http")
        .run();
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found_and_nothing_is_changed_by_posts() {
    let sidecar = sidecar().env("OBSERVABILITY_CONFIG", ENABLED).start().await;
    for (method, path, status, body) in [
        (
            "GET",
            "/debug/pprof/cmdline",
            200,
            env!("CARGO_BIN_EXE_xdt-queue-proxy"),
        ),
        ("GET", "/debug/pprof/symbol", 200, "num_symbols: 0\n"),
        ("GET", "/debug/pprof/heap", 404, "Unknown profile\n"),
        ("GET", "/debug/pprof/goroutine", 404, "Unknown profile\n"),
        ("GET", "/debug/pprof/trace", 404, "Unknown profile\n"),
        ("GET", "/debug", 404, "404 page not found\n"),
        ("GET", "/", 404, "404 page not found\n"),
        (
            "GET",
            "/debug/pprof/profile?seconds=301",
            400,
            "profile duration exceeds 300 seconds\n",
        ),
        ("POST", "/debug/pprof/", 405, "Method Not Allowed\n"),
        ("POST", "/debug/pprof/profile?seconds=1", 405, "Method Not Allowed\n"),
        ("DELETE", "/debug/pprof/heap", 405, "Method Not Allowed\n"),
        ("POST", "/elsewhere", 404, "404 page not found\n"),
    ] {
        let answer = ask(&sidecar, method, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (status, body),
            "{method} {path}"
        );
    }
    let moved = ask(&sidecar, "GET", "/debug/pprof").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (301, "/debug/pprof/")
    );
    let index = ask(&sidecar, "GET", "/debug/pprof/").await;
    assert_eq!(index.header("content-type"), "text/html; charset=utf-8");
    assert!(index.text().contains("profile?seconds=30"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cpu_profile_names_the_functions_that_work_and_there_is_one_at_a_time() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar()
        .user_port(user.port())
        .env("OBSERVABILITY_CONFIG", ENABLED)
        .start()
        .await;
    let neighbour = Neighbour::of(sidecar.serving());
    let begun = Instant::now();
    let measuring = ask(&sidecar, "GET", "/debug/pprof/profile?seconds=4");
    let meanwhile = async {
        sidecar.logged("a CPU profile is being made").await;
        let busy = ask(&sidecar, "GET", "/debug/pprof/profile?seconds=1").await;
        assert_eq!(busy.status, 500);
        assert_eq!(
            busy.text(),
            "Could not enable CPU profiling: cpu profiling already in use\n"
        );
        // Something to see.
        let mut work = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let address = sidecar.serving();
            work.spawn(async move {
                let mut client = Http1::open(address).await;
                while begun.elapsed() < Duration::from_secs(4) {
                    client
                        .fetch(request("GET", "/work", &[("host", "x")], empty_body()))
                        .await;
                }
            });
        }
        work.join_all().await;
    };
    let (answer, ()) = tokio::join!(measuring, meanwhile);
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"profile\"");
    let profile = decoded(&answer);
    assert!(profile.duration_nanos >= 3_900_000_000, "{}", profile.duration_nanos);
    assert_eq!(profile.period, 10_000_000);
    let seen: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    assert!(seen > 0, "four clients leave a trace");
    let known = |name: &&String| name.contains("tokio") || name.contains("hyper") || name.contains("xdt_queue_proxy");
    assert!(
        profile.string_table.iter().any(|name| known(&name)),
        "{:?}",
        profile.string_table
    );
    neighbour.served().await;
    println!("{seen} samples, then {} KiB", sidecar.rss_bytes() >> 10);
    let again = ask(&sidecar, "GET", "/debug/pprof/profile?seconds=1").await;
    assert_eq!(again.status, 200, "the turn is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_its_profile() {
    let sidecar = sidecar().env("OBSERVABILITY_CONFIG", ENABLED).start().await;
    let mut client = RawConnection::open(sidecar.profiling()).await;
    client
        .send("GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    sidecar.logged("a CPU profile is being made").await;
    drop(client);
    xdt_testkit::eventually("a free turn", async || {
        let answer = ask(&sidecar, "GET", "/debug/pprof/profile?seconds=1").await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_head_is_dropped_after_fifteen_seconds() {
    let sidecar = sidecar().env("OBSERVABILITY_CONFIG", ENABLED).start().await;
    let begun = Instant::now();
    let mut client = RawConnection::open(sidecar.profiling()).await;
    client.send("GET /debug/pprof/ HTTP/1.1\r\nHo").await;
    let ended = tokio::time::timeout(Duration::from_secs(50), client.closed()).await;
    assert!(ended.is_ok(), "still open after 50 s");
    assert!(begun.elapsed() >= Duration::from_secs(15));
}
