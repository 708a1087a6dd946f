//! The functions in one process, without sidecars: what works then is exactly what needs none.
#![allow(clippy::unwrap_used)] // the helpers are test code too

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use xdt_patterns::{
    consumer::{self, SidePorts},
    driver,
    http::HttpClient,
    messages::{Backend, Pattern, Prepare, Prepared, Report, Run, Variant, Verified},
    object::Source,
    producer, serve,
    shelf::Shelf,
    tcp, vanilla,
};

/// One of each function, ended when dropped.
struct Functions {
    producer: SocketAddr,
    consumer: SocketAddr,
    driver: SocketAddr,
    side_ports: SidePorts,
    http: HttpClient,
    _servers: JoinSet<anyhow::Result<()>>,
}

impl Functions {
    async fn start() -> Self {
        let mut servers = JoinSet::new();
        let shelf = Arc::new(Shelf::default());
        let receiver = vanilla::Receiver::bind().unwrap();
        let side_ports = SidePorts {
            grpc: receiver.address(),
            tcp: tcp::serve(Arc::clone(&shelf)).unwrap(),
        };
        let consumer = serve(&mut servers, consumer::routes(side_ports, Arc::clone(&shelf))).await;
        servers.spawn(receiver.run(shelf));
        Self {
            producer: serve(&mut servers, producer::routes()).await,
            consumer,
            driver: serve(&mut servers, driver::routes()).await,
            side_ports,
            http: HttpClient::default(),
            _servers: servers,
        }
    }

    async fn prepare(&self, objects: Vec<Source>) -> anyhow::Result<Vec<Prepared>> {
        let url = format!("http://{}/prepare", self.producer);
        self.http.post_json(&url, &Prepare { objects, index: 0 }).await
    }

    async fn run(&self, backend: Backend, pattern: Pattern, degree: usize) -> anyhow::Result<Report> {
        let run = Run {
            backend,
            pattern,
            variant: Variant::Invoke,
            degree,
            key: "test".into(),
            consumer_url: format!("http://{}", self.consumer),
            producer_url: format!("http://{}", self.producer),
            peers: match backend {
                Backend::GrpcStream => vec![self.side_ports.grpc; degree],
                Backend::Tcp => vec![self.side_ports.tcp; degree],
                _ => Vec::new(),
            },
        };
        let first = if pattern == Pattern::OneToOne {
            self.producer
        } else {
            self.driver
        };
        self.http.post_json(&format!("http://{first}/run"), &run).await
    }

    async fn verify(&self) -> Vec<Verified> {
        let url = format!("http://{}/verify", self.consumer);
        self.http.post_json(&url, &()).await.unwrap()
    }
}

async fn serve(servers: &mut JoinSet<anyhow::Result<()>>, routes: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    servers.spawn(serve::server(listener, routes, std::future::pending()));
    address
}

fn seeded(size: u64, producer: u64) -> Source {
    Source::Seeded {
        size,
        seed: 2309,
        repetition: 1,
        producer,
    }
}

const WITHOUT_SIDECAR: [Backend; 3] = [Backend::Inline, Backend::GrpcStream, Backend::Tcp];

#[tokio::test]
async fn objects_arrive_whole_and_are_verified_once() {
    let functions = Functions::start().await;
    for backend in WITHOUT_SIDECAR {
        for size in [1, 10 << 10, (1 << 20) + 3] {
            let prepared = functions.prepare(vec![seeded(size, 0)]).await.unwrap();
            let report = functions.run(backend, Pattern::OneToOne, 1).await.unwrap();
            assert_eq!((report.bytes(), report.receipts.len()), (size, 1));
            assert!(report.transfer_ns() > 0 && report.reference.is_none(), "{report:?}");
            let verified = functions.verify().await;
            assert_eq!(
                (verified.len(), verified[0].digest),
                (1, prepared[0].digest),
                "{backend:?}"
            );
            assert_eq!(prepared[0].digest, seeded(size, 0).load().unwrap().digest);
            assert!(functions.verify().await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_scatter_sends_different_objects_and_a_broadcast_the_same() {
    let functions = Functions::start().await;
    let prepared = functions
        .prepare((0..3).map(|n| seeded(50_000, n)).collect())
        .await
        .unwrap();
    let mut expected: Vec<_> = prepared.iter().map(|one| one.digest.0).collect();
    expected.sort_unstable();
    for backend in WITHOUT_SIDECAR {
        functions.run(backend, Pattern::Scatter, 3).await.unwrap();
        let mut found: Vec<_> = functions.verify().await.iter().map(|one| one.digest.0).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{backend:?}");
        functions.run(backend, Pattern::Broadcast, 3).await.unwrap();
        let found = functions.verify().await;
        assert!(
            found.len() == 3 && found.iter().all(|one| one.digest == prepared[0].digest),
            "{backend:?}"
        );
    }
}

#[tokio::test]
async fn an_inline_gather_brings_all_objects_in_one_body() {
    let functions = Functions::start().await;
    let prepared = functions.prepare(vec![seeded(50_000, 0)]).await.unwrap();
    let report = functions.run(Backend::Inline, Pattern::Gather, 3).await.unwrap();
    assert_eq!((report.bytes(), report.receipts.len()), (150_000, 1));
    let found = functions.verify().await;
    assert!(found.len() == 3 && found.iter().all(|one| one.digest == prepared[0].digest));
}

#[tokio::test]
async fn a_run_that_cannot_be_made_says_why() {
    let functions = Functions::start().await;
    let missing = Source::File {
        path: "/nowhere/at/all".into(),
    };
    let error = functions.prepare(vec![missing]).await.unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
    let error = functions.run(Backend::Inline, Pattern::OneToOne, 1).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("0 objects were prepared for 1"),
        "{error:#}"
    );
    functions.prepare(vec![seeded(10, 0)]).await.unwrap();
    let error = functions.run(Backend::Redis, Pattern::OneToOne, 1).await.unwrap_err();
    assert!(format!("{error:#}").contains("BENCH_REDIS"), "{error:#}");
}

#[tokio::test]
async fn small_objects_never_wait_for_a_delayed_acknowledgement() {
    let functions = Functions::start().await;
    functions.prepare(vec![seeded(10 << 10, 0)]).await.unwrap();
    for backend in WITHOUT_SIDECAR {
        let mut times = Vec::new();
        for _ in 0..21 {
            times.push(
                functions
                    .run(backend, Pattern::OneToOne, 1)
                    .await
                    .unwrap()
                    .transfer_ns(),
            );
            functions.verify().await;
        }
        times.sort_unstable();
        assert!(times[10] < 20_000_000, "{backend:?}: median {} ns", times[10]);
    }
}
