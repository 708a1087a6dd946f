//! Knative's queue-proxy from outside, clause by clause: scenes that take a minute, as the quiet period and the reading of
//! certificates do. They all begin at once, however many test threads there are; each test awaits its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drain;
mod heads;
mod lossless;
mod push;
mod tls;

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{LazyLock, Mutex, PoisonError},
    thread::JoinHandle,
};

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
    ($($name:ident in $($module:ident)::+,)+) => {
        static STAGE: LazyLock<Stage> = LazyLock::new(|| {
            Mutex::new(HashMap::from([$((stringify!($name), play($($module)::+::$name))),+]))
        });
        $(
            #[test]
            fn $name() {
                end_of(&STAGE, stringify!($name));
            }
        )+
    };
}

scenes! {
    c96_a_hook_without_sigterm_returns_after_a_second in drain::hooks,
    c96_a_hook_whose_caller_leaves_is_undone_too in drain::hooks,
    c97_other_admin_paths_are_not_found in drain::hooks,
    c101_a_hook_after_sigterm_returns_when_the_quiet_period_ends in drain::hooks,
    c101_sigterm_within_a_second_of_the_hook_joins_its_drain in drain::hooks,
    c101_sigterm_long_after_the_hook_begins_a_drain_of_its_own in drain::hooks,
    c98_after_sigterm_probes_fail_at_once_and_requests_are_served in drain::leaving,
    c99_without_traffic_the_process_ends_after_the_quiet_period in drain::leaving,
    c99_idle_connections_that_were_used_are_no_reason_to_stay in drain::leaving,
    c100_a_request_restarts_the_quiet_period_and_a_probe_does_not in drain::leaving,
    c102_a_long_http1_request_is_finished in drain::leaving,
    c103_a_long_http2_request_is_finished in drain::leaving,
    c104_a_websocket_works_on_after_the_quiet_period in drain::leaving,
    c104_a_websocket_left_open_is_cut_after_a_minute in drain::leaving,
    c105_answers_during_server_shutdown_close_their_connection in drain::leaving,
    c105_http2_peers_are_told_to_go_away in drain::leaving,
    c106_statistics_are_answered_during_the_quiet_period in drain::leaving,
    c107_a_second_signal_ends_the_process_at_once in drain::leaving,
    c107_sigint_is_as_sigterm in drain::leaving,
    c108_queued_requests_are_served_during_the_drain in drain::leaving,
    c57_slow_senders_of_heads_are_cut_and_others_served in heads,
    c123_the_last_period_is_flushed_at_exit in push,
    c135_replaced_files_are_served_within_a_minute_and_open_connections_survive in tls,
    c136_a_broken_replacement_leaves_the_old_certificate in tls,
}
