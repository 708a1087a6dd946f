//! Starts that fail: what is told, and that nothing stays behind.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use http::{StatusCode, Version};
use xdt_cluster::{AddressBase, Cluster, FunctionSpec, InstanceFault, Options, Role, Spec, StartError};

use crate::world::{echo, options, send, start, text};

async fn fault(spec: Spec, options: Options) -> StartError {
    Cluster::start(spec, options).await.unwrap_err()
}

#[tokio::test]
async fn a_function_that_crashes_at_start_is_told_with_its_last_lines() {
    let error = fault(Spec::default().function(echo("bad", &["fail"])), options()).await;
    let StartError::Instance(InstanceFault::Crashed { role, status, log, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((*role, status.code()), (Role::User, Some(7)));
    assert_eq!((log.lines.len(), log.lines[0].as_str()), (20, "complaint 11"));
    assert!(log.path.exists(), "the log of a failed start stays");
    assert!(error.to_string().ends_with("| complaint 30"), "{error}");
}

#[tokio::test]
async fn a_function_that_is_never_ready_is_told_after_the_deadline() {
    let options = Options {
        start_timeout: Duration::from_millis(500),
        ..options()
    };
    let keyring = options.run_dir.clone().unwrap().join("cluster-keyring.json");
    let error = fault(Spec::default().function(echo("mute", &["deaf"])), options).await;
    assert!(
        matches!(error, StartError::Instance(InstanceFault::NeverReady { .. })),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("not ready within 500ms") && told.contains("| not listening"),
        "{told}"
    );
    assert!(!keyring.exists(), "no key stays behind");
}

#[tokio::test]
async fn programs_that_do_not_exist_are_named() {
    let spec = Spec::default().function(FunctionSpec::new("lost", ["./no/such/program"]));
    let told = fault(spec, options()).await.to_string();
    assert!(
        told.contains("function lost") && told.contains("./no/such/program"),
        "{told}"
    );
    let sidecar = Some(PathBuf::from("/no/such/sidecar"));
    let told = fault(
        Spec::default().function(echo("echo", &[])),
        Options { sidecar, ..options() },
    )
    .await
    .to_string();
    assert!(told.contains("/no/such/sidecar"), "{told}");
}

#[tokio::test]
async fn addresses_that_are_taken_are_named() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut spec = Spec::default().function(echo("echo", &[]));
    spec.ingress = other.local_addr().unwrap();
    let told = fault(spec.clone(), options()).await.to_string();
    assert!(told.contains(&spec.ingress.to_string()), "{told}");

    let cluster = start(echo("echo", &[])).await;
    let [a, b, ..] = cluster.instances("echo").unwrap()[0].address.octets();
    let base = Ipv4Addr::new(a, b, 0, 0);
    let spec = Spec {
        address_base: AddressBase::At(base),
        ..Spec::default()
    }
    .function(echo("echo", &[]));
    let told = fault(spec, options()).await.to_string();
    assert!(
        told.contains(&base.to_string()) && told.contains("address-base"),
        "{told}"
    );
    cluster.stop().await;

    let _squatter = TcpListener::bind((Ipv4Addr::new(127, 200, 0, 1), 8022)).unwrap();
    let base = AddressBase::At(Ipv4Addr::new(127, 200, 0, 0));
    let spec = Spec {
        address_base: base,
        ..Spec::default()
    }
    .function(echo("echo", &[]));
    let told = fault(spec, options()).await.to_string();
    assert!(told.contains("127.200.0.1:8022 is taken"), "{told}");
}

#[tokio::test]
async fn a_request_for_a_function_that_never_starts_ends_with_the_reason() {
    let cluster = start(echo("bad", &["fail"]).instances(0, 1).timeout(Duration::from_secs(1))).await;
    let answer = send(&cluster, "bad", "/", Version::HTTP_11, b"").await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let told = text(answer).await;
    assert!(
        told.contains("no instance of bad was free within 1 s: bad-00001-"),
        "{told}"
    );
    cluster.stop().await;
}
