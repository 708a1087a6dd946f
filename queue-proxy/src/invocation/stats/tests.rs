//! The arithmetic of flows, and when what is published.

use proptest::prelude::*;

use super::*;

#[test]
fn before_the_first_tick_only_the_pod_is_told() {
    let stats = Stats::new("pod-abc", Instant::now());
    assert_eq!(stats.published().as_ref(), b"\x0a\x07pod-abc");
}

#[test]
fn two_half_second_requests_average_to_one() {
    let start = Instant::now();
    let stats = Stats::new("pod", start);
    for (proxied, begin) in [(true, 0), (false, 500)] {
        stats.change(proxied, start + Duration::from_millis(begin), Flow::arrive);
        stats.change(proxied, start + Duration::from_millis(begin + 500), Flow::leave);
    }
    stats.publish(start + WINDOW);
    let stat = Stat::decode(stats.published()).expect("own encoding");
    assert!((stat.average_concurrent_requests - 1.0).abs() < 1e-9, "{stat:?}");
    assert!(
        (stat.average_proxied_concurrent_requests - 0.5).abs() < 1e-9,
        "{stat:?}"
    );
    assert!((stat.request_count - 2.0).abs() < 1e-9 && (stat.proxied_request_count - 1.0).abs() < 1e-9);
    stats.publish(start + WINDOW * 2);
    let idle = Stat::decode(stats.published()).expect("own encoding");
    assert!(idle.request_count == 0.0 && idle.average_concurrent_requests == 0.0);
}

/// Something that happens, so many milliseconds after the one before.
#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive {
        proxied: bool,
    },
    /// The one that is so many places down the list of those inside leaves, if there is any.
    Leave(usize),
    Tick,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        3 => any::<bool>().prop_map(|proxied| Event::Arrive { proxied }),
        3 => any::<usize>().prop_map(Event::Leave),
        1 => Just(Event::Tick),
    ];
    prop::collection::vec((0..2000_u64, event), 0..200)
}

/// Request milliseconds of those intervals that lie between `from` and `to`.
fn overlap(intervals: &[(u64, u64)], from: u64, to: u64) -> u64 {
    let part = |(begun, ended): &(u64, u64)| (*ended).min(to).saturating_sub((*begun).max(from));
    intervals.iter().map(part).sum()
}

proptest! {
    /// The published numbers are those that come from adding up, interval by interval, how long each request was inside
    /// the window.
    #[test]
    fn flows_agree_with_the_naive_integral(events in events()) {
        let start = Instant::now();
        let stats = Stats::new("pod", start);
        let at = |millis| start + Duration::from_millis(millis);
        // Begin and end of each request; those inside have no end yet.
        let mut ended: [Vec<(u64, u64)>; 2] = Default::default();
        let mut inside: Vec<(u64, bool)> = Vec::new();
        let (mut now, mut window, mut arrivals) = (0, 0, [0.0; 2]);
        for (pause, event) in events {
            now += pause;
            match event {
                Event::Arrive { proxied } => {
                    stats.change(proxied, at(now), Flow::arrive);
                    inside.push((now, proxied));
                    arrivals[0] += 1.0;
                    arrivals[1] += f64::from(u8::from(proxied));
                }
                Event::Leave(which) => {
                    if inside.is_empty() { continue; }
                    let (begun, proxied) = inside.remove(which % inside.len());
                    stats.change(proxied, at(now), Flow::leave);
                    ended[0].push((begun, now));
                    if proxied { ended[1].push((begun, now)); }
                }
                Event::Tick => {
                    stats.publish(at(now));
                    let stat = Stat::decode(stats.published()).expect("own encoding");
                    let mut expected = [0.0; 2];
                    for (kind, expected) in expected.iter_mut().enumerate() {
                        let mut all = ended[kind].clone();
                        all.extend(inside.iter().filter(|(_, proxied)| kind == 0 || *proxied).map(|(begun, _)| (*begun, now)));
                        let seconds = overlap(&all, window, now) as f64;
                        *expected = if now > window { seconds / (now - window) as f64 } else { 0.0 };
                    }
                    prop_assert!((stat.average_concurrent_requests - expected[0]).abs() < 1e-6, "{stat:?} {expected:?}");
                    prop_assert!((stat.average_proxied_concurrent_requests - expected[1]).abs() < 1e-6, "{stat:?} {expected:?}");
                    prop_assert_eq!([stat.request_count, stat.proxied_request_count], arrivals);
                    prop_assert!((stat.process_uptime - now as f64 / 1000.0).abs() < 1e-6);
                    prop_assert_eq!(stat.timestamp, 0);
                    (window, arrivals) = (now, [0.0; 2]);
                }
            }
        }
    }
}

#[test]
fn a_window_without_duration_has_no_concurrency() {
    let now = Instant::now();
    let stats = Stats::new("pod", now);
    stats.change(false, now, Flow::arrive);
    stats.publish(now);
    let stat = Stat::decode(stats.published()).expect("own encoding");
    assert!(stat.average_concurrent_requests == 0.0 && stat.request_count == 1.0);
}

#[test]
fn what_is_counted_is_counted_until_the_guard_is_dropped() {
    let stats = Stats::new("pod", Instant::now());
    let counted = stats.arrived(true);
    assert!(stats.ledger().all.concurrency == 1.0 && stats.ledger().proxied.concurrency == 1.0);
    drop(counted);
    assert!(stats.ledger().all.concurrency == 0.0 && stats.ledger().proxied.concurrency == 0.0);
}
