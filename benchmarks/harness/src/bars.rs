//! `bars`: what the local paths promise, each against what it replaces, in one run on one machine.
//!
//! Two sidecars on one node, an SDK at each, and beside them the vanilla gRPC stream between two processes
//! (`xdt_patterns::vanilla`). Rounds alternate, so that a noisy machine is noisy for both; medians and ratios are told, and
//! every object is compared byte by byte outside the clock.

mod node;
pub(crate) mod receiver;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use self::{node::Pair, receiver::Remote};
use crate::statistics::Sorted;

/// The large object: 100 MB.
const LARGE: usize = 100_000_000;
/// Sizes whose gets are told one below the other.
const SIZES: [usize; 5] = [64 << 10, 1 << 20, 10_000_000, 30_000_000, LARGE];
/// Gets of each size per round, so that small ones have enough samples.
const GETS: usize = 5;
/// A page: one byte of each is read, so that "readable" means mapped.
const PAGE: usize = 4096;

/// What `bars` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds; each sends 100 MB by gRPC once and by every measured way.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The sidecar's binary. Default: the xdt-queue-proxy beside this program.
    #[arg(long)]
    sidecar: Option<PathBuf>,
}

/// One measured quantity, a sample per run, in nanoseconds.
#[derive(Default)]
struct Samples {
    vanilla: Vec<u64>,
    /// From the call of get to the first byte, and to a byte of every page; built in place.
    first: Vec<u64>,
    last: Vec<u64>,
    /// put of bytes in ordinary memory and get, to the last byte.
    copied: Vec<u64>,
    /// Gets by size, to the last byte.
    gets: [Vec<u64>; SIZES.len()],
}

/// Measures and prints.
///
/// # Errors
/// If anything cannot be started, or a byte is wrong.
pub(crate) async fn run(args: Args) -> Result<()> {
    let sidecar = match args.sidecar {
        Some(sidecar) => sidecar,
        None => std::env::current_exe()?.with_file_name("xdt-queue-proxy"),
    };
    ensure!(
        sidecar.exists(),
        "no sidecar at {}: cargo build --release",
        sidecar.display()
    );
    let idle = node::idle_cost(&sidecar).await;
    let pair = Pair::start(&sidecar).await?;
    let mut remote = Remote::start().await?;
    let pattern: Bytes = (0..LARGE)
        .map(|at| (at / PAGE * 31 + at % 251).to_le_bytes()[0])
        .collect::<Vec<_>>()
        .into();
    let mut samples = Samples::default();
    for round in 0..=args.rounds {
        let mut fresh = Samples::default();
        let samples = if round == 0 { &mut fresh } else { &mut samples }; // the first warms up
        samples.vanilla.push(remote.send(pattern.clone()).await?);
        let (first, last) = pair.built_in_place(&pattern).await?;
        samples.first.push(first);
        samples.last.push(last);
        samples.copied.push(pair.with_one_copy(pattern.clone()).await?);
        for (size, gets) in SIZES.into_iter().zip(&mut samples.gets) {
            for _ in 0..GETS {
                gets.push(pair.built_in_place(&pattern[..size]).await?.1);
            }
        }
    }
    print(&samples, idle);
    Ok(())
}

fn median(samples: &[u64]) -> Duration {
    Duration::from_nanos(Sorted::new(samples.to_vec()).median().unwrap_or_default())
}

#[allow(clippy::cast_precision_loss)] // bytes of a process
fn print(samples: &Samples, idle: i64) {
    let vanilla = median(&samples.vanilla);
    let against = |name: &str, samples: &[u64], bar: f64| {
        let (taken, ratio) = (median(samples), median(samples).as_secs_f64() / vanilla.as_secs_f64());
        line(
            name,
            &format!("{:.2} ms = {ratio:.3} of gRPC", millis(taken)),
            &format!("≤ {bar} of gRPC"),
            ratio <= bar,
        );
    };
    println!(
        "100 MB by gRPC from process to process: {:.1} ms (median of {}; every way measured in turn)\n",
        millis(vanilla),
        samples.vanilla.len()
    );
    against("100 MB built in place, get to first byte", &samples.first, 0.15);
    against("100 MB built in place, get to last byte", &samples.last, 0.15);
    against("100 MB put with one copy, and get", &samples.copied, 0.6);
    let small = median(&samples.gets[1]);
    let micros = small.as_secs_f64() * 1e6;
    line(
        "1 MiB built in place, get",
        &format!("{micros:.0} µs"),
        "≤ 200 µs",
        micros <= 200.0,
    );
    let idle = idle as f64 / f64::from(1 << 20);
    line(
        "memory of the XDT half, idle",
        &format!("{idle:.2} MiB RSS"),
        "≤ 2 MiB",
        idle <= 2.0,
    );
    println!("\nget by size, to the last byte:");
    for (size, gets) in SIZES.into_iter().zip(&samples.gets) {
        println!("  {:>11} bytes  {:>9.3} ms", size, millis(median(gets)));
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn line(name: &str, measured: &str, bar: &str, met: bool) {
    println!(
        "{name:<42} {measured:<30} {bar:<15} {}",
        if met { "met" } else { "missed" }
    );
}

/// Reads one byte of every page.
fn touch(bytes: &[u8]) {
    let sum = bytes.iter().step_by(PAGE).fold(0_u8, |sum, byte| sum ^ byte);
    std::hint::black_box(sum);
}

fn nanos(since: std::time::Instant) -> Result<u64> {
    u64::try_from(since.elapsed().as_nanos()).context("an endless measurement")
}
