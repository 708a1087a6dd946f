//! Dozens of sidecars over an imitated network: the real state machines ([`Table`], [`Copy`]), every message delayed, some
//! lost, repeated or overtaken, links cut, processes killed or sent away, clocks jumping. Whatever happens: no object is
//! delivered more often than was allowed, none is freed under a claim, and every request ends in delivery or with a word.
//!
//! One seed is one history; a failure names it. `SIMULATIONS=n` runs more of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "simulation/cluster.rs"]
mod cluster;
#[path = "simulation/consumer.rs"]
mod consumer;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/producer.rs"]
mod producer;

use cluster::{Cluster, Faults};

/// Histories of each kind when nobody asks for more.
const HISTORIES: u64 = 400;

fn histories() -> u64 {
    let asked = std::env::var("SIMULATIONS").ok().and_then(|count| count.parse().ok());
    asked.unwrap_or(HISTORIES)
}

#[test]
fn nothing_is_delivered_too_often_and_every_loss_has_a_word() {
    let (mut delivered, mut spilled, mut lost) = (0, 0, 0);
    for seed in 0..histories() {
        let mut cluster = Cluster::new(seed, Faults::ALL);
        cluster.run();
        let sum = cluster.settle();
        delivered += sum.delivered;
        spilled += sum.from_copies;
        lost += sum.failed;
    }
    // Otherwise the faults were so many, or so few, that nothing was tried.
    assert!(delivered > histories() && spilled > histories() / 4 && lost > histories());
}

#[test]
fn where_no_process_is_killed_every_retrieval_is_used_in_the_end() {
    for seed in 0..histories() {
        let mut cluster = Cluster::new(seed, Faults::NO_CRASHES);
        cluster.run();
        cluster.settle();
        cluster.all_used(seed);
    }
}
