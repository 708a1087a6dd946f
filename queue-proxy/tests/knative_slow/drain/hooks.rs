//! `GET :8022/wait-for-drain`, which the kubelet calls before it ends a user container.

use std::time::{Duration, Instant};

use xdt_testkit::{RawConnection, Script, UserContainer, empty_body, eventually, http::request};

use super::{LATE, QUIET, assert_shutting_down, before, failing, sidecar, terminate};

const SECOND: Duration = Duration::from_secs(1);
const HOOK: &str = "/wait-for-drain";

pub(crate) async fn c96_a_hook_without_sigterm_returns_after_a_second() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = before(&user).start().await;
    for method in ["GET", "POST"] {
        let begun = Instant::now();
        let url = format!("http://{}{HOOK}", sidecar.admin());
        let hook = async {
            let answer = sidecar.client().fetch(request(method, url, &[], empty_body())).await;
            (answer, begun.elapsed())
        };
        let meanwhile = async {
            failing(&sidecar).await;
            let early = begun.elapsed() < SECOND;
            let answer = sidecar.ingress_probe().await;
            if early && begun.elapsed() < SECOND {
                assert_shutting_down(&answer);
            }
            assert_eq!(sidecar.probe(&[]).await.status, 200, "requests are served");
        };
        let ((answer, took), ()) = tokio::join!(hook, meanwhile);
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        assert!((SECOND..10 * SECOND).contains(&took), "{took:?}");
        assert_eq!(sidecar.kubelet_probe().await.text(), "queue", "probes pass again");
        assert_eq!(sidecar.ingress_probe().await.status, 200);
    }
}

pub(crate) async fn c96_a_hook_whose_caller_leaves_is_undone_too() {
    let sidecar = sidecar().start().await;
    let caller = RawConnection::request(sidecar.admin(), "GET", HOOK, &[]).await;
    failing(&sidecar).await;
    drop(caller);
    eventually("probes pass again", async || {
        (sidecar.kubelet_probe().await.status == 200).then_some(())
    })
    .await;
}

pub(crate) async fn c97_other_admin_paths_are_not_found() {
    let sidecar = sidecar().start().await;
    for path in [
        "/",
        "/drain",
        "/health",
        "/quitquitquit",
        "/wait-for-drain/",
        "/metrics",
    ] {
        let answer = sidecar.admin_get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
    assert_eq!(sidecar.kubelet_probe().await.status, 200);
}

pub(crate) async fn c101_a_hook_after_sigterm_returns_when_the_quiet_period_ends() {
    let mut sidecar = sidecar().start().await;
    let begun = Instant::now();
    terminate(&sidecar).await;
    let answer = sidecar.admin_get(HOOK).await;
    assert_eq!(answer.status, 200);
    assert!(
        (QUIET..QUIET + LATE).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

pub(crate) async fn c101_sigterm_within_a_second_of_the_hook_joins_its_drain() {
    let mut sidecar = sidecar().start().await;
    let caller = RawConnection::request(sidecar.admin(), "GET", HOOK, &[]).await;
    let mut caller = caller.patient(QUIET + LATE);
    failing(&sidecar).await;
    let begun = Instant::now();
    sidecar.terminate();
    // Where the machine took longer than the second, this is the scene below.
    let head = caller.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(sidecar.wait_exit(QUIET + LATE).await.code(), Some(0));
    assert!(begun.elapsed() > QUIET - SECOND, "{:?}", begun.elapsed());
}

pub(crate) async fn c101_sigterm_long_after_the_hook_begins_a_drain_of_its_own() {
    let mut sidecar = sidecar().start().await;
    assert_eq!(sidecar.admin_get(HOOK).await.status, 200);
    let begun = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait_exit(QUIET + LATE).await.code(), Some(0));
    assert!(begun.elapsed() >= QUIET, "{:?}", begun.elapsed());
}
