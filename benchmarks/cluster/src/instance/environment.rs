//! The variables of an instance's two processes: what Knative's controller would set, and the sidecar's own.
//!
//! Sources: contracts `queue-proxy.md` section 1.2 and `xdt.md` section 2; Knative's `docs/runtime-contract.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::json;

use crate::address::{EGRESS_PORT, Home, LOCAL_PORT, SERVING_PORT, SERVING_TLS_PORT};
use crate::spec::{FunctionSpec, ReadinessProbe, Spec};

/// What an instance's environment is made of.
pub(crate) struct Scene<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) function: &'a FunctionSpec,
    pub(crate) pod: &'a str,
    pub(crate) home: &'a Home,
    pub(crate) ingress: SocketAddr,
    pub(crate) keyring: &'a Path,
    /// The directory of the node that all instances share, if they do.
    pub(crate) node: Option<&'a Path>,
}

impl Scene<'_> {
    /// The function's variables. `HTTP_PROXY` is not among them: a function opts in to the egress proxy by itself.
    pub(crate) fn of_function(&self) -> Vec<(String, String)> {
        let name = &self.function.name;
        let mut variables = owned([
            ("PORT", self.home.user_port.to_string()),
            ("K_SERVICE", name.clone()),
            ("K_CONFIGURATION", name.clone()),
            ("K_REVISION", self.revision()),
            ("XDT_LOCAL_ADDRESS", self.at(LOCAL_PORT)),
            ("XDT_EGRESS_ADDRESS", self.at(EGRESS_PORT)),
            ("XDT_LOCAL_SOCKET", self.socket()),
            ("XDT_CLUSTER_INGRESS", self.ingress.to_string()),
        ]);
        variables.extend(self.function.env.clone());
        variables
    }

    /// The sidecar's variables. An abstract socket's name is seen on the whole machine, hence the pod in it.
    pub(crate) fn of_sidecar(&self) -> Vec<(String, String)> {
        let address = self.home.address.to_string();
        let name = &self.function.name;
        let mut variables = owned([
            ("CONTAINER_CONCURRENCY", self.function.container_concurrency.to_string()),
            ("QUEUE_SERVING_PORT", SERVING_PORT.to_string()),
            ("QUEUE_SERVING_TLS_PORT", SERVING_TLS_PORT.to_string()),
            ("USER_PORT", self.home.user_port.to_string()),
            ("REVISION_TIMEOUT_SECONDS", self.function.timeout.as_secs().to_string()),
            ("SERVING_NAMESPACE", self.spec.namespace.clone()),
            ("SERVING_SERVICE", name.clone()),
            ("SERVING_CONFIGURATION", name.clone()),
            ("SERVING_REVISION", self.revision()),
            ("SERVING_POD", self.pod.to_owned()),
            ("SERVING_POD_IP", address.clone()),
            ("SERVING_LOGGING_CONFIG", String::new()),
            ("SERVING_LOGGING_LEVEL", String::new()),
            ("SERVING_READINESS_PROBE", self.probe()),
            ("HOST_IP", Ipv4Addr::LOCALHOST.to_string()),
            ("XDT_BIND_ADDRESS", address),
            ("XDT_LOCAL_ADDRESS", self.at(LOCAL_PORT)),
            ("XDT_EGRESS_ADDRESS", self.at(EGRESS_PORT)),
            ("XDT_EGRESS_HOSTS", ".localhost".to_owned()),
            ("XDT_LOCAL_SOCKET", self.socket()),
            ("XDT_KEYRING_FILE", self.keyring.display().to_string()),
        ]);
        let node = self.node.map(|path| path.display().to_string());
        variables.extend(node.map(|path| ("XDT_NODE_DIR".to_owned(), path)));
        variables.extend(self.spec.sidecar_env.clone());
        variables
    }

    fn revision(&self) -> String {
        format!("{}-00001", self.function.name)
    }

    fn at(&self, port: u16) -> String {
        SocketAddr::from((self.home.address, port)).to_string()
    }

    fn socket(&self) -> String {
        format!("@xdt.v1.{}", self.pod)
    }

    /// Without `periodSeconds` the sidecar probes every 50 ms and answers as soon as the function is ready.
    fn probe(&self) -> String {
        let (host, port) = ("127.0.0.1", self.home.user_port);
        let probe = match &self.function.readiness_probe {
            ReadinessProbe::TcpSocket => json!({"tcpSocket": {"port": port, "host": host}, "successThreshold": 1}),
            ReadinessProbe::HttpGet { path } => json!({
                "httpGet": {"path": path, "port": port, "host": host, "scheme": "HTTP"},
                "successThreshold": 1,
            }),
        };
        probe.to_string()
    }
}

fn owned<const N: usize>(variables: [(&str, String); N]) -> Vec<(String, String)> {
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressBlock;
    use crate::spec::AddressBase;

    #[test]
    fn the_spec_has_the_last_word_and_the_probe_names_the_port() {
        let function = FunctionSpec::new("f", ["./f"])
            .http_probe("/ok")
            .env("K_SERVICE", "mine");
        let spec = Spec::default().sidecar_env("HOST_IP", "127.0.0.9");
        let block = AddressBlock::claim(AddressBase::Any).unwrap();
        let home = block.next_home(|number| number.to_string()).unwrap();
        let ingress = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let scene = Scene {
            spec: &spec,
            function: &function,
            pod: "f-1",
            home: &home,
            ingress,
            keyring: Path::new("/k"),
            node: Some(Path::new("/n")),
        };
        let last = |list: &[(String, String)], name: &str| {
            list.iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .unwrap()
        };
        assert_eq!(last(&scene.of_function(), "K_SERVICE"), "mine");
        assert_eq!(last(&scene.of_sidecar(), "HOST_IP"), "127.0.0.9");
        assert_eq!(last(&scene.of_sidecar(), "XDT_LOCAL_SOCKET"), "@xdt.v1.f-1");
        assert_eq!(last(&scene.of_sidecar(), "XDT_NODE_DIR"), "/n");
        let probe: serde_json::Value =
            serde_json::from_str(&last(&scene.of_sidecar(), "SERVING_READINESS_PROBE")).unwrap();
        assert_eq!(probe["httpGet"]["port"], home.user_port);
    }
}
