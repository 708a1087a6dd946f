//! The rules a spec keeps, whether it was read from a file or built in code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{AddressBase, FunctionSpec, Place, ReadinessProbe, Spec};

/// Longest name of a function: its revision `<name>-00001` must be a DNS label of at most 63 characters.
const NAME_LEN: usize = 57;
/// Most functions, and most instances of one: bounds the processes on one machine.
const MOST: usize = 200;

/// Everything that is wrong with `spec`, and where.
pub(super) fn faults(spec: &Spec) -> Vec<(Place, String)> {
    let mut rules = Rules(Vec::new());
    let root = Place::default();
    rules.label(root.key("namespace"), &spec.namespace, 63);
    rules.variables(&root.key("sidecar").key("env"), &spec.sidecar_env);
    if let AddressBase::At(base) = spec.address_base {
        rules.need(is_loopback_block(base), root.key("address-base"), || {
            format!("{base} is not inside 127.0.0.0 to 127.254.0.0, where 65,000 loopback addresses can follow")
        });
    }
    let all = root.key("functions");
    rules.need((1..=MOST).contains(&spec.functions.len()), all.clone(), || {
        format!("1 to {MOST} functions are needed")
    });
    let mut names = BTreeSet::new();
    for (index, function) in spec.functions.iter().enumerate() {
        let place = all.index(index);
        rules.need(names.insert(&function.name), place.key("name"), || {
            format!("there is another function `{}`", function.name)
        });
        rules.function(&place, function);
    }
    rules.0
}

struct Rules(Vec<(Place, String)>);

impl Rules {
    fn need(&mut self, kept: bool, place: Place, message: impl FnOnce() -> String) {
        if !kept {
            self.0.push((place, message()));
        }
    }

    fn function(&mut self, place: &Place, function: &FunctionSpec) {
        self.label(place.key("name"), &function.name, NAME_LEN);
        let program = function.command.first().is_some_and(|program| !program.is_empty());
        self.need(program, place.key("command"), || {
            "a list of program and arguments is needed".into()
        });
        self.need(
            !function.command.iter().any(|word| word.contains('\0')),
            place.key("command"),
            || "a word contains a NUL character".into(),
        );
        self.variables(&place.key("env"), &function.env);
        let (min, max) = (function.min_instances, function.max_instances);
        self.need((1..=MOST).contains(&max), place.key("max-instances"), || {
            format!("{max} is not within 1 to {MOST}")
        });
        self.need(min <= max, place.key("min-instances"), || {
            format!("{min} is more than max-instances, {max}")
        });
        let whole = function.timeout >= Duration::from_secs(1) && function.timeout.subsec_nanos() == 0;
        self.need(whole, place.key("timeout-seconds"), || {
            "whole seconds are needed, at least 1".into()
        });
        if let ReadinessProbe::HttpGet { path } = &function.readiness_probe {
            let place = place.key("readiness-probe").key("http-get").key("path");
            self.need(path.starts_with('/'), place, || {
                format!("`{path}` does not begin with `/`")
            });
        }
    }

    /// A DNS label as Kubernetes has it.
    fn label(&mut self, place: Place, text: &str, longest: usize) {
        if text.is_empty() {
            return self.need(false, place, || "is required".into());
        }
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let kept = text.len() <= longest
            && text.bytes().all(inner)
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-');
        self.need(kept, place, || {
            format!("`{text}` is not 1 to {longest} of a-z, 0-9 and `-`, beginning with a letter, not ending with `-`")
        });
    }

    fn variables(&mut self, place: &Place, variables: &BTreeMap<String, String>) {
        for (name, value) in variables {
            let kept = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
            self.need(kept, place.key(name), || {
                "a variable's name is not empty, without `=`; neither part has NUL".into()
            });
        }
    }
}

fn is_loopback_block(base: Ipv4Addr) -> bool {
    base.is_loopback() && base <= Ipv4Addr::new(127, 254, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(spec: &Spec) -> Vec<String> {
        faults(spec).into_iter().map(|(place, _)| place.to_string()).collect()
    }

    #[test]
    fn a_plain_function_is_fine() {
        assert_eq!(
            fields(&Spec::default().function(FunctionSpec::new("echo", ["./echo"]))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn all_faults_are_told_together() {
        let mut bad = FunctionSpec::new("Echo_", Vec::<String>::new())
            .instances(3, 2)
            .env("A=B", "x")
            .http_probe("x");
        bad.timeout = Duration::from_millis(1500);
        let mut spec = Spec::default().function(bad.clone()).function(bad);
        spec.namespace = String::new();
        spec.address_base = AddressBase::At(Ipv4Addr::new(10, 0, 0, 0));
        let found = fields(&spec);
        for field in [
            "namespace",
            "address-base",
            "functions[0].name",
            "functions[0].command",
            "functions[0].env.A=B",
        ] {
            assert!(found.iter().any(|f| f == field), "{field} in {found:?}");
        }
        let tail = ["min-instances", "timeout-seconds", "readiness-probe.http-get.path"];
        assert!(
            tail.iter()
                .all(|field| found.contains(&format!("functions[1].{field}"))),
            "{found:?}"
        );
    }
}
