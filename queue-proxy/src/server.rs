//! Listeners and their order: bind everything, serve, drain on SIGTERM, leave.

mod accept;
mod connections;
mod fair;
mod head;
mod held;
mod node;
mod protocol;
mod reload;
mod reply;
mod shutdown;
pub mod tls;
mod wire;
mod workers;

use std::{io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    admin,
    config::Config,
    door::{self, egress::Egress},
    drain::Drain,
    error::chain,
    invocation::{Invocation, breaker::Breaker, forward::Forwarder, probe::Prober, stats::Stats, timeouts::Timeouts},
    mutual::{Mutual, MutualError},
    net,
    profiling::{self, Profiling},
    requestlog::RequestLog,
    telemetry::{Telemetry, TelemetryStartError, log},
    transfer::{self, Surroundings, Transfer, serve},
    trust::{Identity, KeyRing, KeyRingError, KeyRingFile, Trust},
};
use accept::{Front, Listener};
use connections::Group;
use shutdown::Servers;
use tls::{Tls, TlsError};
pub use wire::Interim;

/// Knative's fixed ports.
const ADMIN_PORT: u16 = 8022;
const STATS_PORT: u16 = 9090;
/// What running connections get after the last object has left or the drain grace is over.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// What a slow stdout gets for the last lines of the request log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Stock's words for a start, or a listener, that failed.
const FAILED: &str = "Failed to bring up queue-proxy, shutting down.";

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("port {port} cannot be bound")]
    Bind {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("a listener failed to serve: {0}")]
    Died(String),
    #[error("the key ring cannot be used")]
    KeyRing(#[from] KeyRingError),
    #[error("the system gave no random bytes")]
    NoRandomness(#[from] getrandom::Error),
    #[error("mutual TLS between queue-proxies cannot be used")]
    Mutual(#[from] MutualError),
    #[error("TLS cannot be served")]
    Tls(#[from] TlsError),
    #[error("telemetry cannot be started")]
    Telemetry(#[from] TelemetryStartError),
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
}

/// Runs the proxy until it has drained.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    for name in &config.unknown {
        tracing::warn!(variable = name.as_str(), "unknown XDT_* variable; is it a misspelling?");
    }
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let workers = workers::count(config.gomaxprocs.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("worker")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "{FAILED}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(serve_until_drained(config));
    // Whatever is still running has had its time.
    runtime.shutdown_background();
    match result {
        Ok(()) => {
            tracing::info!("Shutdown complete, exiting...");
            ExitCode::SUCCESS
        }
        // Like stock: what is wrong with the settings is fatal.
        Err(error @ (StartError::Tls(_) | StartError::Telemetry(_))) => {
            log::fatal(&chain(&error), &error.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "{FAILED}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_until_drained(config: Config) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let tls = Tls::open(&config.knative.tls)?;
    let drain = Drain::new();
    let stats = Stats::new(config.knative.pod.clone(), std::time::Instant::now());
    let telemetry = Telemetry::start(&config)?;
    let xdt = start_xdt(&config, telemetry.as_ref())?;
    let servers = Servers::default();
    let mut invocation = invocation(&config, &drain, &stats, xdt.as_ref(), &servers.tunnels);
    invocation.telemetry = telemetry.clone();
    let invocation = Arc::new(invocation);
    let plain = &servers.plain;
    plain.start(
        pod_facing(&config, config.knative.serving_port)?,
        Front::invocation(invocation.clone()),
    );
    let over_tls = tls.is_some();
    if let Some((tls, hash)) = tls {
        let port = config.knative.tls_port.ok_or(TlsError::Port)?;
        tls.watch(hash);
        servers
            .tls
            .start(pod_facing(&config, port)?, Front::tls(invocation.clone(), tls));
    }
    let hooks = drain.clone();
    plain.start(
        pod_facing(&config, ADMIN_PORT)?,
        Front::http1(move |request| admin::admin(hooks.clone(), request)),
    );
    if let Some(port) = config.knative.profiling_port {
        let profiling = Profiling::default();
        let front = Front::http1(move |request| profiling.clone().answer(request));
        plain.start(pod_facing(&config, port)?, front.within(profiling::HEAD_TIME));
        tracing::info!("Runtime profiling enabled");
    }
    let published = stats.clone();
    plain.start(
        pod_facing(&config, STATS_PORT)?,
        Front::http1(move |request| admin::stats(published.clone(), request)),
    );
    tokio::spawn(async move { stats.run().await });
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        xdt = xdt.is_some(),
        "Starting queue-proxy"
    );
    announce(&config, over_tls);
    let died = tokio::select! {
        () = signals.next() => None,
        died = servers.died() => Some(died),
        died = died(xdt.as_ref()) => Some(died),
    };
    if let Some(died) = died {
        flush(&invocation, telemetry).await;
        return Err(StartError::Died(died));
    }
    let terminated = Instant::now();
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(1);
    });
    let leaving = xdt
        .as_ref()
        .map(|xdt| xdt.begin_drain(terminated + config.xdt.drain_grace));
    servers.leave(&drain).await;
    if let Some((xdt, leaving)) = xdt.zip(leaving) {
        xdt.finish(leaving).await;
    }
    flush(&invocation, telemetry).await;
    Ok(())
}

/// Names what serves Knative, in stock's words.
fn announce(config: &Config, over_tls: bool) {
    let knative = &config.knative;
    let plain = [
        ("main", knative.serving_port),
        ("admin", ADMIN_PORT),
        ("metrics", STATS_PORT),
    ];
    for (name, port) in plain {
        tracing::info!("Starting http server {name}:{port}");
    }
    if let Some(port) = knative.tls_port.filter(|_| over_tls) {
        tracing::info!("Starting tls server main:{port}");
    }
}

/// Writes and sends what has been logged and measured, where somebody wants it.
async fn flush(invocation: &Invocation, telemetry: Option<Arc<Telemetry>>) {
    if let Some(log) = &invocation.request_log {
        log.flush(LAST_LINES);
    }
    if let Some(telemetry) = telemetry {
        telemetry.flush().await;
    }
}

fn pod_facing(config: &Config, port: u16) -> Result<Listener, StartError> {
    bound(net::listen(config.bind_address, port), port)
}

fn local(address: SocketAddr) -> Result<Listener, StartError> {
    bound(net::listen_on(address), address.port())
}

fn bound(listener: io::Result<TcpListener>, port: u16) -> Result<Listener, StartError> {
    listener
        .map(Listener::new)
        .map_err(|source| StartError::Bind { port, source })
}

fn invocation(
    config: &Config,
    drain: &Arc<Drain>,
    stats: &Arc<Stats>,
    xdt: Option<&XdtHalf>,
    tunnels: &TaskTracker,
) -> Invocation {
    let knative = &config.knative;
    let concurrency = knative.container_concurrency;
    Invocation {
        request_log: RequestLog::of(knative),
        prober: Prober::new(knative.readiness_probe.clone(), knative.http2_detection),
        drain: drain.clone(),
        stats: stats.clone(),
        breaker: (concurrency > 0).then(|| Breaker::new(concurrency)),
        forwarder: Forwarder::new(knative.user_port, concurrency, knative.timeout, knative.full_duplex),
        transfer: xdt.map(|xdt| xdt.transfer.clone()),
        timeouts: Timeouts {
            revision: knative.timeout,
            response_start: knative.response_start_timeout,
            idle: knative.idle_timeout,
        },
        inline_limit: config.xdt.inline_limit.get(),
        telemetry: None,
        tunnels: tunnels.clone(),
    }
}

/// The XDT half while it runs.
struct XdtHalf {
    transfer: Arc<Transfer>,
    listeners: Group,
}

/// Resolves when a listener of the XDT half dies, where there is one.
async fn died(xdt: Option<&XdtHalf>) -> String {
    match xdt {
        Some(xdt) => xdt.listeners.died().await.to_string(),
        None => std::future::pending().await,
    }
}

/// Starts the XDT half, or says that it is off. Without a key ring nothing of it exists.
fn start_xdt(config: &Config, telemetry: Option<&Arc<Telemetry>>) -> Result<Option<XdtHalf>, StartError> {
    let Some(path) = &config.xdt.keyring_file else {
        tracing::info!("XDT is off: XDT_KEYRING_FILE is not set");
        return Ok(None);
    };
    let file = KeyRingFile::new(path);
    let ring: Arc<ArcSwap<KeyRing>> = Arc::new(ArcSwap::from_pointee(file.load()?));
    reload::watch(file, ring.clone());
    let xdt = &config.xdt;
    let identity = Identity::new(&xdt.tenant, &xdt.node, xdt.advertise.clone())?;
    let mutual = xdt.tls.as_ref().map(Mutual::open).transpose()?;
    if let Some(mutual) = &mutual {
        reload::watch_certificates(mutual.clone());
    }
    let node = xdt.node_dir.as_deref().and_then(node::open);
    let surroundings = Surroundings {
        telemetry: telemetry.cloned(),
        mutual: mutual.clone(),
        node: node.clone(),
    };
    let transfer = Transfer::new(Trust::new(identity, ring), xdt.transfer.clone(), surroundings);
    let listeners = Group::default();
    if let Some(listener) = node.and_then(|node| node::listen(&node, transfer.instance())) {
        let serving = transfer.clone();
        listeners.run(|stop, connections| transfer::node::serve::serve(serving, listener, stop, connections));
    }
    let serving = transfer.clone();
    listeners.start(
        pod_facing(config, xdt.data_port)?,
        Front::data(xdt.transfer.pull_timeout, mutual, move |request| {
            serve::answer(serving.clone(), request)
        }),
    );
    let putting = transfer.clone();
    listeners.start(
        local(xdt.local_address)?,
        Front::local(xdt.transfer.client_timeout, move |request| {
            door::http::answer(putting.clone(), request)
        }),
    );
    match door::socket::listen(&xdt.local_socket) {
        Ok(listener) => {
            listeners.run(|stop, connections| door::socket::serve(transfer.clone(), listener, stop, connections));
        }
        // The rest of the proxy runs on: SDKs fall back to the local HTTP API by themselves.
        Err(error) => tracing::error!(error = %error.kind(), "the local socket cannot be opened"),
    }
    let egress = egress(config, &transfer);
    listeners.start(
        local(xdt.egress_address)?,
        Front::local(xdt.transfer.client_timeout, move |request| {
            egress.clone().answer(request)
        }),
    );
    let running = transfer.clone();
    tokio::spawn(async move { running.run().await });
    Ok(Some(XdtHalf { transfer, listeners }))
}

fn egress(config: &Config, transfer: &Arc<Transfer>) -> Arc<Egress> {
    let xdt = &config.xdt;
    let any = config.bind_address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    let ports = [config.knative.serving_port, ADMIN_PORT, STATS_PORT, xdt.data_port];
    let pod_facing = ports.into_iter().map(|port| SocketAddr::new(any, port));
    let by_pod_ip = ports
        .into_iter()
        .chain([xdt.local_address.port(), xdt.egress_address.port()]);
    let by_pod_ip = by_pod_ip.filter_map(|port| Some(SocketAddr::new(config.knative.pod_ip?, port)));
    let own = pod_facing
        .chain(by_pod_ip)
        .chain([xdt.local_address, xdt.egress_address])
        .collect();
    Arc::new(Egress::new(
        transfer.clone(),
        xdt.egress_hosts.clone(),
        xdt.inline_limit.get(),
        own,
    ))
}

impl XdtHalf {
    /// Refuses new objects from now on; spills those that nobody will have retrieved by `deadline`, and then drops what
    /// is left. The task ends when nothing is held any more that could be retrieved.
    fn begin_drain(&self, deadline: Instant) -> JoinHandle<()> {
        self.transfer.drain();
        let transfer = self.transfer.clone();
        tokio::spawn(async move {
            transfer.spill(deadline).await;
            tokio::time::sleep_until(deadline).await;
            let objects = transfer.drop_all();
            if objects > 0 {
                tracing::warn!(objects, "objects were dropped at shutdown");
            }
        })
    }

    /// Serves held objects until all have left or `leaving` has ended, then closes.
    async fn finish(self, leaving: JoinHandle<()>) {
        tokio::select! {
            () = self.transfer.emptied() => {}
            _ended = leaving => {}
        }
        // Late only when a pull is still running: it is cut.
        let _all_left = tokio::time::timeout(CLOSE_WAIT, self.transfer.emptied()).await;
        let closed = async {
            self.listeners.finish().await;
            self.listeners.finish_multiplexed().await;
            self.transfer.finish_tasks().await;
        };
        if tokio::time::timeout(CLOSE_WAIT, closed).await.is_err() {
            tracing::debug!("connections were cut at shutdown");
        }
    }
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
