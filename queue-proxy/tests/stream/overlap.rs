//! A transfer runs while its function is still starting: the two take as long as the slower one, not their sum (thesis,
//! 6.4.1.3). Shown by what has crossed the link when the function begins to listen.

use std::time::Duration;

use xdt_testkit::{Payload, Script, UserContainer, empty_body, eventually, user::ReservedPort};

use super::{producer_behind_a_link, sidecar};

/// Fits the window of one pull, so that all of it can cross before anybody reads it.
const SIZE: u64 = 3 << 19;
/// Makes the transfer take about 300 ms.
const RATE: u64 = 5 << 20;
const START_DELAY: Duration = Duration::from_millis(500);
/// More than messages without payload take.
const NO_PAYLOAD: u64 = 8 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_and_its_transfer_take_as_long_as_the_slower_of_the_two() {
    let booting = ReservedPort::take();
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().user_port(booting.port()).start().await;
    link.slow_down(RATE);
    let payload = Payload::new(1, SIZE);
    let reference = producer.put(payload.bytes()).await;
    let headers = [("xdt-reference", reference.as_str())];
    let call = consumer.invoke("/", &headers, empty_body());
    let boot = async {
        // The start takes its time whatever the link does; that all has crossed by then is what is to be shown.
        tokio::time::sleep(START_DELAY).await;
        eventually("the transfer, while nobody listens", async || {
            (link.passed() >= SIZE).then_some(())
        })
        .await;
        let passed = link.passed();
        (UserContainer::boot(booting, Script::Echo), passed)
    };
    let (answer, (user, passed_before)) = tokio::join!(call, boot);
    assert_eq!(answer.json()["digest"], payload.digest());
    assert_eq!(user.calls(), 1);
    let passed_after = link.passed() - passed_before;
    assert!(
        passed_after < NO_PAYLOAD,
        "{passed_after} bytes crossed when the function was there"
    );
}
