//! Admin server and graceful shutdown (contract of the queue-proxy, sections 5.5 and 6; checklist 96 to 108).
//!
//! Most scenes take the quiet period of 30 s. They all begin at once, however many test threads there are; each test
//! awaits its own. Connections with TLS are tested beside the TLS listener.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drain {
    pub(crate) mod hooks;
    pub(crate) mod leaving;
}

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{LazyLock, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use xdt_testkit::{Answer, Builder, Sidecar, UserContainer, within};

/// The quiet period.
const QUIET: Duration = Duration::from_secs(30);
/// Longest that any of the processes may take to end after it.
const LATE: Duration = Duration::from_secs(60);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .env("REVISION_TIMEOUT_SECONDS", "300")
}

fn before(user: &UserContainer) -> Builder {
    sidecar().user_port(user.port())
}

/// SIGTERM, and then the probes fail.
async fn terminate(sidecar: &Sidecar) {
    sidecar.terminate();
    failing(sidecar).await;
}

async fn failing(sidecar: &Sidecar) {
    within("failing probes", async {
        while sidecar.kubelet_probe().await.status != 503 {}
    })
    .await;
}

fn assert_shutting_down(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (503, "shutting down\n")
    );
}

/// All scenes, running: each is a thread with a runtime of its own.
type Stage = Mutex<HashMap<&'static str, JoinHandle<()>>>;

fn play<F: Future<Output = ()>>(scene: impl FnOnce() -> F + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(scene());
    })
}

fn end_of(stage: &Stage, name: &str) {
    let scene = stage.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    if let Err(panic) = scene.expect("each test has one scene").join() {
        resume_unwind(panic);
    }
}

macro_rules! scenes {
    ($($file:ident: $($name:ident),+;)+) => {
        static STAGE: LazyLock<Stage> = LazyLock::new(|| {
            Mutex::new(HashMap::from([$($((stringify!($name), play(drain::$file::$name)),)+)+]))
        });
        $($(
            #[test]
            fn $name() {
                end_of(&STAGE, stringify!($name));
            }
        )+)+
    };
}

scenes! {
    hooks:
        c96_a_hook_without_sigterm_returns_after_a_second,
        c96_a_hook_whose_caller_leaves_is_undone_too,
        c97_other_admin_paths_are_not_found,
        c101_a_hook_after_sigterm_returns_when_the_quiet_period_ends,
        c101_sigterm_within_a_second_of_the_hook_joins_its_drain,
        c101_sigterm_long_after_the_hook_begins_a_drain_of_its_own;
    leaving:
        c98_after_sigterm_probes_fail_at_once_and_requests_are_served,
        c99_without_traffic_the_process_ends_after_the_quiet_period,
        c99_idle_connections_that_were_used_are_no_reason_to_stay,
        c100_a_request_restarts_the_quiet_period_and_a_probe_does_not,
        c102_a_long_http1_request_is_finished,
        c103_a_long_http2_request_is_finished,
        c104_a_websocket_left_open_is_cut_after_a_minute,
        c104_a_websocket_works_on_after_the_quiet_period,
        c105_answers_during_server_shutdown_close_their_connection,
        c105_http2_peers_are_told_to_go_away,
        c106_statistics_are_answered_during_the_quiet_period,
        c107_a_second_signal_ends_the_process_at_once,
        c107_sigint_is_as_sigterm,
        c108_queued_requests_are_served_during_the_drain;
}
