//! A test's stand-in for `xdt-queue-proxy`: what the cluster needs of a sidecar, and nothing else.
//!
//! Forwards to `USER_PORT`, answers the readiness probe, tells how many requests run, and drains: after SIGTERM it fails
//! probes, ends `/wait-for-drain` once nothing runs, and exits. No XDT, no breaker, no timeouts, no quiet period.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Duration, interval};

type Answer = Response<Either<Incoming, Full<Bytes>>>;

struct Sidecar {
    user: String,
    pod: String,
    http1: Client<HttpConnector, Incoming>,
    http2: Client<HttpConnector, Incoming>,
    running: watch::Sender<usize>,
    is_draining: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: Ipv4Addr = std::env::var("XDT_BIND_ADDRESS")?.parse()?;
    let client = || Client::builder(TokioExecutor::new());
    let sidecar = Arc::new(Sidecar {
        user: format!("127.0.0.1:{}", std::env::var("USER_PORT")?),
        pod: std::env::var("SERVING_POD")?,
        http1: client().build_http(),
        http2: client().http2_only(true).build_http(),
        running: watch::Sender::new(0),
        is_draining: watch::Sender::new(false),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    for port in [8012, 8022, 9090] {
        tokio::spawn(listen(
            Arc::clone(&sidecar),
            port,
            TcpListener::bind((address, port)).await?,
        ));
    }
    eprintln!("the fake sidecar of {} is up", sidecar.pod);
    terminate.recv().await;
    sidecar.is_draining.send_replace(true);
    sidecar.idle().await;
    Ok(())
}

async fn listen(sidecar: Arc<Sidecar>, port: u16, listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        let sidecar = Arc::clone(&sidecar);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let sidecar = Arc::clone(&sidecar);
                async move {
                    Ok::<_, Infallible>(match port {
                        8012 => sidecar.serve(request).await,
                        8022 => sidecar.wait_for_drain().await,
                        _ => sidecar.stats(),
                    })
                }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            drop(
                server
                    .serve_connection_with_upgrades(TokioIo::new(socket), service)
                    .await,
            );
        });
    }
}

impl Sidecar {
    async fn serve(&self, mut request: Request<Incoming>) -> Answer {
        if request
            .headers()
            .get("user-agent")
            .is_some_and(|agent| agent == "Knative-Activator-Probe")
        {
            return self.probe().await;
        }
        self.running.send_modify(|running| *running += 1);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        eprintln!("{} {path}", request.method());
        let uri: Uri = format!("http://{}{path}", self.user).parse().unwrap_or_default();
        *request.uri_mut() = uri;
        let is_http2 = request.version() == http::Version::HTTP_2;
        let client = request
            .headers()
            .contains_key("upgrade")
            .then(|| hyper::upgrade::on(&mut request));
        let mut response = if is_http2 {
            self.http2.request(request).await
        } else {
            self.http1.request(request).await
        };
        self.running.send_modify(|running| *running -= 1);
        if let (Some(client), Ok(response)) = (client, &mut response) {
            let user = hyper::upgrade::on(response);
            tokio::spawn(async move {
                if let Ok((client, user)) = tokio::try_join!(client, user) {
                    drop(tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(user)).await);
                }
            });
        }
        response.map_or_else(
            |error| text(StatusCode::BAD_GATEWAY, &error.to_string()),
            |ok| ok.map(Either::Left),
        )
    }

    async fn probe(&self) -> Answer {
        let mut ticks = interval(Duration::from_millis(20));
        for _ in 0..500 {
            ticks.tick().await;
            if *self.is_draining.borrow() {
                break;
            }
            if TcpStream::connect(&self.user).await.is_ok() {
                return text(StatusCode::OK, "queue");
            }
        }
        text(StatusCode::SERVICE_UNAVAILABLE, "")
    }

    async fn wait_for_drain(&self) -> Answer {
        drop(self.is_draining.subscribe().wait_for(|&is_draining| is_draining).await);
        self.idle().await;
        text(StatusCode::OK, "")
    }

    async fn idle(&self) {
        drop(self.running.subscribe().wait_for(|&running| running == 0).await);
    }

    /// Fields 1 (pod name) and 2 (concurrent requests) of the autoscaler's message, written by hand.
    fn stats(&self) -> Answer {
        let mut body = vec![0x0a, u8::try_from(self.pod.len()).unwrap_or(0)];
        body.extend(self.pod.as_bytes());
        let running = f64::from(u32::try_from(*self.running.borrow()).unwrap_or(u32::MAX));
        body.push(0x11);
        body.extend(running.to_le_bytes());
        Response::new(Either::Right(Full::from(body)))
    }
}

fn text(status: StatusCode, message: &str) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(message.to_owned())));
    *answer.status_mut() = status;
    answer
}
