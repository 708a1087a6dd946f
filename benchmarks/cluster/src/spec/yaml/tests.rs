//! What the cluster file may say, and how its faults are told.

use super::*;

const FULL: &str = r#"
namespace: shop
ingress: 127.0.0.1:0
address-base: 127.80.0.0
same-node: true
sidecar:
  env: {XDT_INLINE_LIMIT: 64KiB, XDT_INVOKE_BUFFERS: 8}
functions:
  - name: consumer
    command: ["./consumer", "-v"]
    env: {A: b, DEBUG: true}
    min-instances: 0
    max-instances: 4
    container-concurrency: 2
    timeout-seconds: 60
    readiness-probe: {http-get: {path: /healthz}}
    scale-down-after: 5s
  - name: producer
    command: [producer]
    min-instances: 2
"#;

fn faults(text: &str) -> Vec<String> {
    read(text, Path::new("."))
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_field_is_read() {
    let spec = read(FULL, Path::new("/srv")).unwrap();
    assert_eq!(spec.namespace, "shop");
    assert_eq!(spec.address_base, AddressBase::At(Ipv4Addr::new(127, 80, 0, 0)));
    assert!(spec.same_node);
    assert_eq!(spec.sidecar_env["XDT_INVOKE_BUFFERS"], "8");
    assert_eq!(spec.folder, Path::new("/srv"));
    let consumer = FunctionSpec::new("consumer", ["./consumer", "-v"])
        .env("A", "b")
        .env("DEBUG", "true")
        .instances(0, 4)
        .container_concurrency(2)
        .timeout(Duration::from_secs(60))
        .http_probe("/healthz")
        .scale_down_after(Duration::from_secs(5));
    assert_eq!(spec.functions[0], consumer);
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = read(FULL, Path::new(".")).unwrap();
    assert_eq!(
        spec.functions[1],
        FunctionSpec::new("producer", ["producer"]).instances(2, 2)
    );
    let short = read(
        "functions: [{name: a, command: [b], readiness-probe: {tcp-socket: {}}}]",
        Path::new("."),
    )
    .unwrap();
    assert_eq!((short.namespace.as_str(), short.ingress), ("default", INGRESS));
    assert_eq!(short.functions[0], FunctionSpec::new("a", ["b"]));
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    let found = faults("functions:\n  - name: a\n    command: [b]\n    min-instance: 2\ningres: x\n");
    assert!(found[0].starts_with("line 4: functions[0].min-instance: unknown field `min-instance`; known are name,"));
    assert!(
        found[1].starts_with("line 5: ingres: unknown field `ingres`"),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn all_faults_come_together_in_the_order_of_the_file() {
    let found = faults(
        "ingress: localhost\nfunctions:\n  - name: A\n    command: []\n    timeout-seconds: -1\n  - name: b\n    \
         command: [x]\n    min-instances: 3\n    max-instances: 2\n    scale-down-after: 30\n    env: {V: 1.10}\n    \
         readiness-probe: {}\n",
    );
    let starts = [
        "line 1: ingress: `localhost`",
        "line 3: functions[0].name: `A`",
        "line 4: functions[0].command: a list",
        "line 5: functions[0].timeout-seconds: a whole number",
        "line 8: functions[1].min-instances: 3 is more than",
        "line 10: functions[1].scale-down-after: `30` is not a duration",
        "line 11: functions[1].env.V: a text is needed",
        "line 12: functions[1].readiness-probe: exactly one",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (fault, start) in found.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault} | {start}");
    }
}

#[test]
fn what_is_no_table_of_functions_is_told_once() {
    assert_eq!(faults("functions: [hello]").len(), 1);
    assert_eq!(faults("functions: 7").len(), 1);
    assert_eq!(
        faults("functions: []"),
        ["line 1: functions: 1 to 200 functions are needed"]
    );
    assert_eq!(faults("[]"), ["a table of fields is needed"]);
}

#[test]
fn broken_yaml_has_a_line_too() {
    assert!(faults("functions:\n  - name: [a\n")[0].starts_with("line "));
}
