//! What parses, into what, and what does not.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> ContainerProbe {
    let probe = ReadinessProbe::parse(text, false).expect(text).expect("not empty");
    probe.probes.into_iter().next().expect("one")
}

fn kinds(text: &str) -> Vec<Kind> {
    let probe = ReadinessProbe::parse(text, true).expect(text).expect("not empty");
    probe.probes.into_iter().map(|probe| probe.kind).collect()
}

#[test]
fn the_controllers_usual_probes_are_read() {
    let default = read(r#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}"#);
    let Kind::Tcp(tcp) = default.kind else { panic!("tcp") };
    assert_eq!((tcp.port.number(), tcp.host.as_str()), (Some(8080), "127.0.0.1"));
    assert_eq!(default.mode, Mode::Aggressive { success_threshold: 1 });
    let http = read(
        r#"{"httpGet":{"path":"/healthz","port":"8080","host":"127.0.0.1","scheme":"HTTP",
        "httpHeaders":[{"name":"X-A","value":"1"},null]},"timeoutSeconds":1,"periodSeconds":10,"failureThreshold":3}"#,
    );
    let Kind::Http(get) = http.kind else { panic!("http") };
    assert_eq!((get.path.as_str(), get.port.number()), ("/healthz", Some(8080)));
    assert_eq!((get.headers.len(), get.headers[0].name.as_str()), (2, "X-A"));
    let timeout = Duration::from_secs(1);
    assert_eq!(http.mode, Mode::Single { timeout });
    let Kind::Grpc(grpc) = read(r#"{"grpc":{"port":9000,"service":"a.B"}}"#).kind else {
        panic!("grpc")
    };
    assert_eq!((grpc.port, grpc.service.as_str()), (9000, "a.B"));
}

#[test]
fn shapes_are_told_apart() {
    let one = r#"{"tcpSocket":{"port":1}}"#;
    assert!(ReadinessProbe::parse("", false).expect("absent").is_none());
    assert!(ReadinessProbe::parse("", true).expect("absent").is_none());
    assert!(ReadinessProbe::parse(one, true).is_err(), "an object for an array");
    assert!(
        ReadinessProbe::parse(&format!("[{one}]"), false).is_err(),
        "the reverse"
    );
    assert_eq!(kinds(&format!("[{one}, null, {{}}]")).len(), 3);
    assert_eq!(
        (kinds("[null]"), kinds("null")),
        (vec![Kind::Absent], vec![Kind::Absent])
    );
    assert!(kinds("[]").is_empty());
    for text in ["null", "{}", r#"{"httpGet":null,"exec":null}"#] {
        assert_eq!(read(text).kind, Kind::Absent, "{text}");
    }
    assert_eq!(read(r#"{"exec":{"command":["a"]}}"#).kind, Kind::Exec);
    let both = r#"{"exec":{},"grpc":{"port":1},"tcpSocket":{"port":2},"httpGet":{"port":3}}"#;
    assert!(matches!(read(both).kind, Kind::Http(_)), "stock's order");
}

#[test]
fn values_are_taken_as_go_takes_them() {
    let odd = read(r#"{"TCPSocket":{"PORT":-1,"extra":[1e3]},"periodSeconds":-5,"timeoutSeconds":null,"x":1.5}"#);
    assert_eq!(odd.mode, Mode::Single { timeout: NO_TIMEOUT });
    assert!(matches!(odd.kind, Kind::Tcp(tcp) if tcp.port.number().is_none()));
    let negative = r#"{"successThreshold":-1,"tcpSocket":{"port":"http"}}"#;
    assert_eq!(read(negative).mode, Mode::Aggressive { success_threshold: -1 });
    let most = read(r#"{"timeoutSeconds":2147483647,"periodSeconds":1}"#);
    let timeout = Duration::from_secs(2_147_483_647);
    assert_eq!(most.mode, Mode::Single { timeout });
    for text in [
        r#"{"periodSeconds":2147483648}"#,
        r#"{"periodSeconds":1e400}"#,
        r#"{"periodSeconds":1.0}"#,
        r#"{"periodSeconds":1e1}"#,
        r#"{"periodSeconds":"1"}"#,
        r#"{"failureThreshold":true}"#,
        r#"{"tcpSocket":{"port":99999999999}}"#,
        r#"{"tcpSocket":{"port":80.5}}"#,
        r#"{"tcpSocket":{"port":[80]}}"#,
        r#"{"tcpSocket":[80,"h"]}"#,
        r#"{"tcpSocket":5}"#,
        r#"{"httpGet":{"httpHeaders":{}}}"#,
        r#"{"httpGet":{"httpHeaders":[["a","b"]]}}"#,
        r#"{"grpc":{"port":"80"}}"#,
        r#"{"exec":{"command":"a"}}"#,
        "{} {}",
        "{",
        "5",
        " ",
        "\"x\"",
    ] {
        assert!(ReadinessProbe::parse(text, false).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(ReadinessProbe::parse(&deep, true).is_err());
}

/// JSON made of the keys that mean something, with values of every type.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let keys = [
        "httpGet",
        "tcpSocket",
        "grpc",
        "exec",
        "port",
        "host",
        "httpHeaders",
        "name",
        "value",
        "PeriodSeconds",
        "timeoutSeconds",
        "command",
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(keys.to_vec()), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_parses_or_is_refused(value in json(), array in any::<bool>()) {
        let parsed = ReadinessProbe::parse(&value.to_string(), array);
        if let Ok(Some(probe)) = parsed {
            prop_assert!(array || probe.probes.len() == 1);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".*", array in any::<bool>()) {
        let _told = ReadinessProbe::parse(&text, array);
    }
}
