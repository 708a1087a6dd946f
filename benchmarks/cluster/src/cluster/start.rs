//! The start of a cluster, in order: check, find programs, claim addresses, open the ingress, start instances, wait.
//!
//! What can be refused is refused before the first process starts. A fault while waiting stops everything again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Cluster, Options, Progress, Shared};
use crate::address::AddressBlock;
use crate::admin::Admin;
use crate::error::{InstanceFault, StartError};
use crate::function::{Function, Plan, Scaler};
use crate::ingress::Ingress;
use crate::instance::{Phase, Stage};
use crate::lookup;
use crate::run_dir::RunDir;
use crate::spec::Spec;

/// Start faults under way; the first one ends the start, so the rest may be lost.
const FAULTS: usize = 16;

pub(super) async fn start(
    spec: Spec,
    options: Options,
    cancelled: impl Future<Output = ()>,
) -> Result<Cluster, StartError> {
    spec.check()?;
    let programs = Programs::find(&spec, &options)?;
    let block = AddressBlock::claim(spec.address_base)?;
    let listener = listen(spec.ingress).await?;
    let ingress = listener.local_addr().map_err(|source| StartError::Ingress {
        address: spec.ingress,
        source,
    })?;
    let tag = random_tag()?;
    let run_dir = Arc::new(RunDir::create(options.run_dir.as_deref(), &tag)?);
    run_dir.write_keyring()?;
    if spec.same_node {
        run_dir.make_node()?;
    }
    let shared = share(&spec, ingress, run_dir);
    let mut cluster = Cluster {
        shared,
        tasks: JoinSet::new(),
    };
    let wanted = cluster.progress().wanted;
    tracing::info!(
        "starting {wanted} instances; logs are in {}",
        cluster.run_dir().display()
    );
    cluster.spawn_ingress(listener);
    let mut faults = cluster.spawn_scalers(spec, &options, programs, &block, &tag);
    let ready = tokio::select! {
        ready = cluster.ready(options.progress.as_ref()) => ready,
        Some(fault) = faults.recv() => Err(fault.into()),
        () = cancelled => Err(StartError::Cancelled),
    };
    if let Err(error) = ready {
        cluster.stop().await;
        return Err(error);
    }
    let writer = keep_endpoints(Arc::clone(&cluster.shared));
    cluster.tasks.spawn(writer);
    Ok(cluster)
}

/// The files to execute.
struct Programs {
    sidecar: PathBuf,
    functions: BTreeMap<String, PathBuf>,
}

impl Programs {
    fn find(spec: &Spec, options: &Options) -> Result<Self, StartError> {
        let sidecar = lookup::sidecar(options.sidecar.as_deref())?;
        let each = spec.functions.iter();
        let functions = each.map(|function| Ok((function.name.clone(), lookup::command(spec, function)?)));
        Ok(Self {
            sidecar,
            functions: functions.collect::<Result<_, StartError>>()?,
        })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Ingress { address, source })
}

/// Four letters that set this cluster's pods and folder apart from others.
fn random_tag() -> Result<String, StartError> {
    let number = getrandom::u32().map_err(StartError::Random)?;
    Ok(format!("{:04x}", number & 0xFFFF))
}

fn share(spec: &Spec, ingress: SocketAddr, run_dir: Arc<RunDir>) -> Arc<Shared> {
    let changed = watch::Sender::new(0);
    let function = |spec: &crate::FunctionSpec| (spec.name.clone(), Function::new(spec.clone(), changed.clone()));
    let functions = spec.functions.iter().map(function).collect();
    let shutdown = CancellationToken::new();
    Arc::new(Shared {
        namespace: spec.namespace.clone(),
        ingress,
        functions,
        run_dir,
        changed,
        shutdown,
    })
}

impl Cluster {
    fn spawn_ingress(&mut self, listener: TcpListener) {
        let shared = &self.shared;
        let each = shared.functions.iter();
        let functions = each
            .map(|(name, function)| (shared.host(name), Arc::clone(function)))
            .collect();
        let ingress = Ingress {
            functions,
            shutdown: shared.shutdown.clone(),
            tasks: TaskTracker::new(),
        };
        self.tasks.spawn(Arc::new(ingress).run(listener));
    }

    /// One scaler per function; they start the instances.
    fn spawn_scalers(
        &mut self,
        spec: Spec,
        options: &Options,
        programs: Programs,
        block: &Arc<AddressBlock>,
        tag: &str,
    ) -> mpsc::Receiver<InstanceFault> {
        let shared = &self.shared;
        let (faults, receiver) = mpsc::channel(FAULTS);
        let (admin, spec) = (Admin::new(), Arc::new(spec));
        for (name, program) in programs.functions {
            let Some(function) = shared.functions.get(&name) else {
                continue;
            };
            let stage = Stage {
                function: Arc::clone(function),
                admin: admin.clone(),
                run_dir: Arc::clone(&shared.run_dir),
                shutdown: shared.shutdown.clone(),
                start_timeout: options.start_timeout,
                grace: options.grace,
            };
            let plan = Plan {
                spec: Arc::clone(&spec),
                block: Arc::clone(block),
                program,
                sidecar: programs.sidecar.clone(),
                ingress: shared.ingress,
                tag: tag.to_owned(),
            };
            self.tasks.spawn(Scaler::new(stage, plan, faults.clone()).run());
        }
        receiver
    }

    /// Returns when every function has its minimum, and `endpoints.json` says so.
    async fn ready(&self, progress: Option<&watch::Sender<Progress>>) -> Result<(), StartError> {
        let mut changes = self.shared.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let now = self.progress();
            if let Some(progress) = progress {
                progress.send_replace(now);
            }
            if now.ready == now.wanted {
                return self.shared.write_endpoints();
            }
            // Cannot fail: `self` holds a sender.
            let _sender_gone = changes.changed().await;
        }
    }

    fn progress(&self) -> Progress {
        let of = |function: &Arc<Function>| {
            let is_ready = |instance: &crate::Instance| instance.phase == Phase::Ready;
            let ready = function
                .instances()
                .iter()
                .filter(|instance| is_ready(instance))
                .count();
            (ready.min(function.spec.min_instances), function.spec.min_instances)
        };
        let sum = self.shared.functions.values().map(of);
        let (ready, wanted) = sum.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        Progress { ready, wanted }
    }
}

/// Rewrites `endpoints.json` at each change until shutdown.
async fn keep_endpoints(shared: Arc<Shared>) {
    let mut changes = shared.changed.subscribe();
    changes.mark_changed();
    while let Some(Ok(())) = shared.shutdown.run_until_cancelled(changes.changed()).await {
        if let Err(error) = shared.write_endpoints() {
            tracing::warn!(%error, "the endpoints are out of date");
        }
    }
}
