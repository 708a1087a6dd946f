//! Requests that wait: in order, bounded, and never lost.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

fn function(timeout: Duration) -> Arc<Function> {
    let spec = FunctionSpec::new("f", ["f"])
        .instances(0, 1)
        .container_concurrency(1)
        .timeout(timeout);
    Function::new(spec, watch::Sender::new(0))
}

fn join(function: &Arc<Function>) -> mpsc::Receiver<Order> {
    let (orders, receiver) = mpsc::channel(1);
    let (phase, address) = (Phase::Starting, Ipv4Addr::LOCALHOST);
    let instance = Instance {
        pod: "f-1".into(),
        phase,
        address,
        user_port: 1,
        user_pid: None,
        sidecar_pid: None,
    };
    function.add(Member::new(1, instance, orders));
    receiver
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_first_instance() {
    let function = function(Duration::from_secs(5));
    let (lease, _orders) = tokio::join!(function.lease(), async {
        function.wake.notified().await;
        let orders = join(&function);
        function.show(1, Phase::Ready, Some(1), Some(2));
        orders
    });
    assert!(lease.is_ok());
    assert_eq!(locked(&function.board).roster.needed(0), 1);
    drop(lease);
    assert_eq!(locked(&function.board).roster.needed(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_timeout_and_tells_the_last_fault() {
    let function = function(Duration::from_secs(5));
    locked(&function.board).last_fault = Some("no luck".into());
    let refused = function.lease().await.unwrap_err();
    assert_eq!(
        refused,
        NoInstance::Late {
            fault: Some("no luck".into())
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_waiting_room_is_bounded_and_forgets_those_who_left() {
    let function = function(Duration::from_secs(5));
    let mut crowd: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(function.lease())).collect();
    for request in &mut crowd {
        assert!(futures_util::poll!(request).is_pending());
    }
    assert_eq!(function.lease().await.unwrap_err(), NoInstance::Full);
    crowd.pop();
    assert!(futures_util::poll!(Box::pin(function.lease())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_place_nobody_takes_goes_to_the_next() {
    let function = function(Duration::from_secs(5));
    let _orders = join(&function);
    function.show(1, Phase::Ready, None, None);
    let first = function.lease().await.unwrap();
    let _starting = {
        // A second instance on its way: requests above the hard limit wait.
        let (orders, receiver) = mpsc::channel(1);
        let (phase, address) = (Phase::Starting, Ipv4Addr::LOCALHOST);
        let instance = Instance {
            pod: "f-2".into(),
            phase,
            address,
            user_port: 2,
            user_pid: None,
            sidecar_pid: None,
        };
        function.add(Member::new(2, instance, orders));
        receiver
    };
    let mut gone = Box::pin(function.lease());
    assert!(futures_util::poll!(&mut gone).is_pending());
    let mut next = Box::pin(function.lease());
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(first);
    drop(gone);
    assert!(next.await.is_ok());
}
