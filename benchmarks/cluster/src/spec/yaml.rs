//! Reads the cluster file: YAML text to [`Spec`], with every fault and its line.
//!
//! A field that cannot be read gets its default, so that the rest is still checked; a rule is not held against a field
//! that could not be read. `yaml/reader.rs` reads the single values.

mod reader;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_yaml_ng::Value;

use super::{AddressBase, Fault, Faults, FunctionSpec, Place, ReadinessProbe, Spec, check};
use reader::Reader;

/// Where instances' addresses begin unless the file says otherwise.
const ADDRESS_BASE: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 0);
/// Where the ingress listens unless the file says otherwise.
const INGRESS: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080));

/// Reads and checks `text`.
pub(super) fn read(text: &str, folder: &Path) -> Result<Spec, Faults> {
    let value = serde_yaml_ng::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        Faults(vec![Fault {
            line,
            field: String::new(),
            message: error.to_string(),
        }])
    })?;
    let mut reader = Reader::default();
    let spec = reader.spec(value, folder);
    let mut faults = reader.faults;
    for (place, message) in check::faults(&spec) {
        if !faults
            .iter()
            .any(|(known, _)| place.holds(known) || known.holds(&place))
        {
            faults.push((place, message));
        }
    }
    if faults.is_empty() {
        return Ok(spec);
    }
    let mut faults: Vec<_> = faults
        .into_iter()
        .map(|(place, message)| Fault {
            line: place.line_in(text),
            ..Fault::new(&place, message)
        })
        .collect();
    faults.sort_by_key(|fault| fault.line);
    Err(Faults(faults))
}

impl Reader {
    fn spec(&mut self, value: Value, folder: &Path) -> Spec {
        let mut spec = Spec {
            ingress: INGRESS,
            address_base: AddressBase::At(ADDRESS_BASE),
            ..Spec::default()
        };
        spec.folder = folder.to_owned();
        let Some(mut top) = self.table(Place::default(), value) else {
            return spec;
        };
        self.field(&mut top, "namespace", Self::string, &mut spec.namespace);
        self.field(&mut top, "ingress", Self::socket_address, &mut spec.ingress);
        self.field(&mut top, "address-base", Self::address_base, &mut spec.address_base);
        self.field(&mut top, "same-node", Self::boolean, &mut spec.same_node);
        self.field(&mut top, "sidecar", Self::sidecar, &mut spec.sidecar_env);
        self.field(&mut top, "functions", Self::functions, &mut spec.functions);
        self.end(&top);
        spec
    }

    fn sidecar(&mut self, place: Place, value: Value) -> Option<BTreeMap<String, String>> {
        let mut table = self.table(place, value)?;
        let mut env = BTreeMap::new();
        self.field(&mut table, "env", Self::variables, &mut env);
        self.end(&table);
        Some(env)
    }

    fn functions(&mut self, place: Place, value: Value) -> Option<Vec<FunctionSpec>> {
        self.list(place, value, Self::function)
    }

    fn function(&mut self, place: Place, value: Value) -> Option<FunctionSpec> {
        let mut table = self.table(place, value)?;
        let mut function = FunctionSpec::new("", Vec::<String>::new());
        let (mut timeout, mut max) = (function.timeout.as_secs(), None);
        self.field(&mut table, "name", Self::string, &mut function.name);
        self.field(&mut table, "command", Self::words, &mut function.command);
        self.field(&mut table, "env", Self::variables, &mut function.env);
        self.field(&mut table, "min-instances", Self::number, &mut function.min_instances);
        self.field(
            &mut table,
            "max-instances",
            |reader, place, value| reader.number(place, value).map(Some),
            &mut max,
        );
        self.field(
            &mut table,
            "container-concurrency",
            Self::number,
            &mut function.container_concurrency,
        );
        self.field(&mut table, "timeout-seconds", Self::number, &mut timeout);
        self.field(
            &mut table,
            "readiness-probe",
            Self::probe,
            &mut function.readiness_probe,
        );
        self.field(
            &mut table,
            "scale-down-after",
            Self::duration,
            &mut function.scale_down_after,
        );
        self.end(&table);
        function.max_instances = max.unwrap_or_else(|| function.min_instances.max(1));
        function.timeout = Duration::from_secs(timeout);
        Some(function)
    }

    fn probe(&mut self, place: Place, value: Value) -> Option<ReadinessProbe> {
        let mut table = self.table(place.clone(), value)?;
        let (mut tcp, mut http) = (None, None);
        self.field(
            &mut table,
            "tcp-socket",
            |reader, place, value| {
                let table = reader.table(place, value)?;
                reader.end(&table);
                Some(Some(ReadinessProbe::TcpSocket))
            },
            &mut tcp,
        );
        self.field(
            &mut table,
            "http-get",
            |reader, place, value| {
                let mut table = reader.table(place, value)?;
                let mut path = "/".to_owned();
                reader.field(&mut table, "path", Self::string, &mut path);
                reader.end(&table);
                Some(Some(ReadinessProbe::HttpGet { path }))
            },
            &mut http,
        );
        self.end(&table);
        match (tcp, http) {
            (Some(probe), None) | (None, Some(probe)) => Some(probe),
            _ => self.fault(
                place,
                "exactly one of `tcp-socket: {}` and `http-get: {path: …}` is needed",
            ),
        }
    }

    fn socket_address(&mut self, place: Place, value: Value) -> Option<SocketAddr> {
        let text = self.string(place.clone(), value)?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => self.fault(
                place,
                format!("`{text}` is not an address and port such as 127.0.0.1:8080"),
            ),
        }
    }

    fn address_base(&mut self, place: Place, value: Value) -> Option<AddressBase> {
        let text = self.string(place.clone(), value)?;
        if text == "any" {
            return Some(AddressBase::Any);
        }
        match text.parse() {
            Ok(address) => Some(AddressBase::At(address)),
            Err(_) => self.fault(
                place,
                format!("`{text}` is not an address such as 127.77.0.0, and not `any`"),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
