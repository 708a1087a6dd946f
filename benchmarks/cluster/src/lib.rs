//! A one-machine stand-in for Knative: functions behind real XDT sidecars, without Kubernetes.
//!
//! For every function instance the user's process and the sidecar `xdt-queue-proxy` run on a loopback address of their
//! own, so that ports and addresses are those of a pod; a small ingress routes, waits, scales. For development, tests and
//! benchmarks; nothing in the sidecar knows the difference.
//!
//! ```no_run
//! use xdt_cluster::{Cluster, FunctionSpec, Options, Spec};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = Spec::default().function(FunctionSpec::new("echo", ["./echo"]).instances(0, 4));
//! let cluster = Cluster::start(spec, Options::default()).await?;
//! println!("{} answers at {}", cluster.url("echo")?, cluster.ingress());
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | what to run, from YAML or code |
//! | `cluster` | start, look at, stop |
//! | `function` | instances of one function, waiting requests, scaling |
//! | `instance` | one function process and its sidecar |
//! | `ingress` | the way in |
//! | `admin`, `stats` | what the sidecar is asked: readiness, load, drain |

mod address;
mod admin;
mod cluster;
mod duration;
mod endpoints;
mod error;
mod function;
mod ingress;
mod instance;
mod logs;
mod lookup;
mod run_dir;
mod spec;
mod stats;
mod sync;

pub use cluster::{Cluster, Options, Progress};
pub use duration::{DurationError, parse_duration};
pub use error::{InstanceFault, LogTail, OrderError, Role, StartError, UnknownFunction, WaitError};
pub use instance::{Instance, Phase};
pub use spec::{AddressBase, Fault, Faults, FunctionSpec, ReadinessProbe, Spec, SpecError};
