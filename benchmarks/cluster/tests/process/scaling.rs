//! Instances come with load and go without it; crashed ones come back.

use std::time::Duration;

use http::{StatusCode, Version};
use xdt_cluster::{Cluster, Options, Phase, Spec};

use crate::world::{PATIENCE, ask, echo, options, pids, read, runs, send, start, text, until_gone};

#[tokio::test]
async fn a_function_scales_from_zero_and_back() {
    let cluster = start(
        echo("echo", &[])
            .instances(0, 1)
            .scale_down_after(Duration::from_secs(1)),
    )
    .await;
    assert!(cluster.instances("echo").unwrap().is_empty());
    let pid: u32 = ask(&cluster, "echo", "/pid").await.parse().unwrap();
    let pids = pids(&cluster, "echo");
    assert!(pids.contains(&pid) && pids.len() == 2);
    cluster.wait_for("echo", PATIENCE, <[_]>::is_empty).await.unwrap();
    until_gone(&pids).await;
    assert_eq!(
        send(&cluster, "echo", "/", Version::HTTP_11, b"again").await.status(),
        StatusCode::OK
    );
    cluster.stop().await;
}

#[tokio::test]
async fn requests_beyond_the_concurrency_get_an_instance_of_their_own() {
    let function = echo("echo", &[]).instances(1, 2).container_concurrency(1);
    let cluster = start(function.scale_down_after(Duration::from_secs(1))).await;
    let hold = || async { text(send(&cluster, "echo", "/hold", Version::HTTP_11, b"").await).await };
    let watch = async {
        let two = |all: &[xdt_cluster::Instance]| all.iter().filter(|one| one.phase == Phase::Ready).count() == 2;
        let instances = cluster.wait_for("echo", PATIENCE, two).await.unwrap();
        // Straight to each function: the requests held there fill both sidecars.
        for instance in &instances {
            crate::world::send_to(
                instance.user(),
                "x",
                "/release",
                Version::HTTP_11,
                http_body_util::Full::default(),
            )
            .await;
        }
        instances
            .iter()
            .flat_map(|one| [one.user_pid, one.sidecar_pid])
            .flatten()
            .collect::<Vec<_>>()
    };
    let (first, second, pids) = tokio::join!(hold(), hold(), watch);
    assert_eq!((first.as_str(), second.as_str()), ("released", "released"));
    let left = cluster.wait_for("echo", PATIENCE, |all| all.len() == 1).await.unwrap();
    assert_eq!(left[0].phase, Phase::Ready);
    assert_eq!(pids.iter().filter(|&&pid| runs(pid)).count(), 2);
    cluster.stop().await;
}

#[tokio::test]
async fn an_instance_with_a_running_request_is_never_stopped() {
    let function = echo("echo", &[]).instances(0, 2).container_concurrency(1);
    let cluster = start(function.scale_down_after(Duration::ZERO)).await;
    let one = async { text(send(&cluster, "echo", "/hold", Version::HTTP_11, b"").await).await };
    let other = async {
        cluster
            .wait_for("echo", PATIENCE, |all| all.len() == 1 && all[0].phase == Phase::Ready)
            .await
            .unwrap();
        let kept = cluster.instances("echo").unwrap().remove(0);
        // A second instance comes for a second request, and goes; the first one is still held.
        while ask(&cluster, "echo", "/pid").await == kept.user_pid.unwrap().to_string() {}
        cluster.wait_for("echo", PATIENCE, |all| all.len() == 1).await.unwrap();
        assert_eq!(cluster.instances("echo").unwrap(), std::slice::from_ref(&kept));
        crate::world::send_to(
            kept.user(),
            "x",
            "/release",
            Version::HTTP_11,
            http_body_util::Full::default(),
        )
        .await;
    };
    let (held, ()) = tokio::join!(one, other);
    assert_eq!(held, "released");
    cluster.wait_for("echo", PATIENCE, <[_]>::is_empty).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_function_that_crashes_later_comes_back_in_its_place() {
    let cluster = start(echo("echo", &[])).await;
    let before = cluster.instances("echo").unwrap().remove(0);
    assert_eq!(
        send(&cluster, "echo", "/crash", Version::HTTP_11, b"").await.status(),
        StatusCode::BAD_GATEWAY
    );
    let is_back = |all: &[xdt_cluster::Instance]| all[0].phase == Phase::Ready && all[0].user_pid != before.user_pid;
    let after = cluster.wait_for("echo", PATIENCE, is_back).await.unwrap().remove(0);
    assert_eq!(
        (&after.pod, after.address, after.sidecar_pid),
        (&before.pod, before.address, before.sidecar_pid)
    );
    assert_eq!(ask(&cluster, "echo", "/pid").await, after.user_pid.unwrap().to_string());
    cluster.stop().await;
}

#[tokio::test]
async fn a_killed_sidecar_comes_back_and_a_killed_instance_is_replaced() {
    let cluster = start(echo("echo", &[])).await;
    let before = cluster.instances("echo").unwrap().remove(0);
    cluster.kill_sidecar(&before.pod).await.unwrap();
    assert!(!runs(before.sidecar_pid.unwrap()));
    let is_ready = |all: &[xdt_cluster::Instance]| all.len() == 1 && all[0].phase == Phase::Ready;
    let after = cluster.wait_for("echo", PATIENCE, is_ready).await.unwrap().remove(0);
    assert_eq!((&after.pod, after.user_pid), (&before.pod, before.user_pid));
    assert_ne!(after.sidecar_pid, before.sidecar_pid);

    cluster.kill(&after.pod).await.unwrap();
    until_gone(&[after.user_pid.unwrap(), after.sidecar_pid.unwrap()]).await;
    let other = cluster.wait_for("echo", PATIENCE, is_ready).await.unwrap().remove(0);
    assert!(other.pod != after.pod && other.address > after.address);
    assert!(cluster.kill(&after.pod).await.is_err());
    let listed: serde_json::Value = serde_json::from_str(&read(&cluster.endpoints())).unwrap();
    assert_eq!(listed["ingress"], cluster.ingress().to_string());
    cluster.stop().await;
}

#[tokio::test]
async fn nothing_is_left_after_a_stop() {
    let spec = Spec::default().function(echo("echo", &["stubborn"]).instances(2, 2));
    let cluster = Cluster::start(
        spec,
        Options {
            run_dir: None,
            ..options()
        },
    )
    .await
    .unwrap();
    let child: u32 = ask(&cluster, "echo", "/child").await.parse().unwrap();
    let mut pids = pids(&cluster, "echo");
    pids.push(child);
    assert!(pids.len() == 5 && pids.iter().all(|&pid| runs(pid)));
    let run_dir = cluster.run_dir().to_owned();
    cluster.stop().await;
    until_gone(&pids).await;
    assert!(!run_dir.exists(), "a clean stop takes its temporary folder along");
}

#[tokio::test]
async fn nothing_is_left_after_a_drop() {
    let cluster = start(echo("echo", &["stubborn"])).await;
    let pids = pids(&cluster, "echo");
    drop(cluster);
    until_gone(&pids).await;
}
