//! Both functions in one process, without sidecars: what works then is exactly what needs none.
#![allow(clippy::unwrap_used)] // the helpers are test code too

use std::net::SocketAddr;

use tokio::{net::TcpListener, task::JoinSet};
use xdt_patterns::{
    consumer,
    http::HttpClient,
    messages::{Backend, Info, Report, Run},
    object::Source,
    producer, serve, vanilla,
};

/// The two functions, ended when dropped.
struct Functions {
    producer: SocketAddr,
    consumer: SocketAddr,
    http: HttpClient,
    _servers: JoinSet<anyhow::Result<()>>,
}

impl Functions {
    async fn start() -> Self {
        let mut servers = JoinSet::new();
        let receiver = vanilla::Receiver::bind().unwrap();
        let consumer = serve(&mut servers, consumer::routes(receiver.address())).await;
        servers.spawn(receiver.run());
        let producer = serve(&mut servers, producer::routes()).await;
        Self {
            producer,
            consumer,
            http: HttpClient::default(),
            _servers: servers,
        }
    }

    async fn run(&self, backend: Backend, source: Source) -> anyhow::Result<Report> {
        let consumer_url = format!("http://{}", self.consumer);
        let info: Info = self.http.get(&format!("{consumer_url}/info")).await?;
        let run = Run {
            backend,
            source,
            consumer_url,
            grpc_address: info.grpc_address.unwrap(),
        };
        self.http
            .post_json(&format!("http://{}/run", self.producer), &run)
            .await
    }
}

async fn serve(servers: &mut JoinSet<anyhow::Result<()>>, routes: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    servers.spawn(serve::server(listener, routes, std::future::pending()));
    address
}

fn seeded(size: u64) -> Source {
    Source::Seeded {
        size,
        seed: 2309,
        repetition: 1,
    }
}

#[tokio::test]
async fn objects_arrive_whole_inline_and_by_grpc() {
    let functions = Functions::start().await;
    for backend in [Backend::Inline, Backend::GrpcStream] {
        for size in [1, 10 << 10, (1 << 20) + 3] {
            let report = functions.run(backend, seeded(size)).await.unwrap();
            assert_eq!((report.size, report.arrival.length), (size, size));
            assert_eq!(report.digest, seeded(size).load().unwrap().digest);
            assert_eq!(report.arrival.digest, report.digest);
            assert!(report.reference.is_none());
        }
    }
}

#[tokio::test]
async fn the_clock_runs_from_the_call_to_the_last_byte() {
    let functions = Functions::start().await;
    for backend in [Backend::Inline, Backend::GrpcStream] {
        let report = functions.run(backend, seeded(1 << 20)).await.unwrap();
        let arrived_ns = report.arrival.arrived_ns;
        assert!(
            report.started_ns < arrived_ns && arrived_ns < report.returned_ns,
            "{report:?}"
        );
        assert_eq!(report.transfer_ns(), arrived_ns - report.started_ns);
        assert!(
            arrived_ns + report.arrival.digest_ns <= report.returned_ns,
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn a_file_is_read_by_the_producer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 200_000]).unwrap();
    let functions = Functions::start().await;
    let source = Source::File {
        path: file.path().to_owned(),
    };
    let report = functions.run(Backend::GrpcStream, source.clone()).await.unwrap();
    assert_eq!(report.arrival.length, 200_000);
    assert_eq!(report.arrival.digest, source.load().unwrap().digest);
}

#[tokio::test]
async fn a_run_that_cannot_be_made_says_why() {
    let functions = Functions::start().await;
    let missing = Source::File {
        path: "/nowhere/at/all".into(),
    };
    let error = functions.run(Backend::Inline, missing).await.unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
    let error = functions.run(Backend::Inline, seeded(0)).await.unwrap_err();
    assert!(format!("{error:#}").contains("at least one byte"), "{error:#}");
}

#[tokio::test]
async fn small_objects_never_wait_for_a_delayed_acknowledgement() {
    let functions = Functions::start().await;
    for backend in [Backend::Inline, Backend::GrpcStream] {
        let mut times = Vec::new();
        for _ in 0..21 {
            times.push(functions.run(backend, seeded(10 << 10)).await.unwrap().transfer_ns());
        }
        times.sort_unstable();
        assert!(times[10] < 20_000_000, "{backend:?}: median {} ns", times[10]);
    }
}
