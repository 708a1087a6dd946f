//! `endpoints.json`: where the cluster's parts listen, for scripts and for the command run beside the cluster.
//!
//! Written when the cluster is ready and again whenever ready instances change; always whole.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

use crate::instance::{Instance, Phase};

/// The file's content.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Endpoints {
    ingress: SocketAddr,
    functions: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    url: String,
    instances: Vec<Addresses>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Addresses {
    pod: String,
    address: Ipv4Addr,
    serving: SocketAddr,
    local: SocketAddr,
    egress: SocketAddr,
    user: SocketAddr,
}

impl Endpoints {
    /// What the functions, each with name, URL and instances, look like from outside.
    pub(crate) fn new(ingress: SocketAddr, functions: impl Iterator<Item = (String, String, Vec<Instance>)>) -> Self {
        let entry = |(name, url, instances): (String, String, Vec<Instance>)| {
            let ready = instances.iter().filter(|instance| instance.phase == Phase::Ready);
            (
                name,
                Entry {
                    url,
                    instances: ready.map(Addresses::of).collect(),
                },
            )
        };
        Self {
            ingress,
            functions: functions.map(entry).collect(),
        }
    }
}

impl Addresses {
    fn of(instance: &Instance) -> Self {
        Self {
            pod: instance.pod.clone(),
            address: instance.address,
            serving: instance.serving(),
            local: instance.local(),
            egress: instance.egress(),
            user: instance.user(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_instances_are_listed() {
        let instance = |pod: &str, phase| Instance {
            pod: pod.into(),
            phase,
            address: Ipv4Addr::new(127, 77, 0, 1),
            user_port: 20000,
            user_pid: None,
            sidecar_pid: None,
        };
        let instances = vec![instance("a", Phase::Ready), instance("b", Phase::Draining)];
        let functions = [(
            "consumer".to_owned(),
            "http://consumer.default.localhost:8080".to_owned(),
            instances,
        )];
        let endpoints = Endpoints::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), functions.into_iter());
        let expected = serde_json::json!({
            "ingress": "127.0.0.1:8080",
            "functions": {"consumer": {
                "url": "http://consumer.default.localhost:8080",
                "instances": [{
                    "pod": "a", "address": "127.77.0.1", "serving": "127.77.0.1:8012", "local": "127.77.0.1:8015",
                    "egress": "127.77.0.1:8016", "user": "127.0.0.1:20000",
                }],
            }},
        });
        assert_eq!(serde_json::to_value(&endpoints).unwrap(), expected);
    }
}
