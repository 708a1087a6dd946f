//! The measuring loop: cell by cell, in repetitions in which every column sends the same bytes once, in shuffled order.
//!
//! Timed: one call of the client, through the ingress, until its answer. Before it, untimed: the producers make their
//! objects. After it, untimed: the consumers' digests are compared with digests computed here from the generator or the
//! file, the sidecars' counters tell the path, what was stored is deleted. A column that fails, delivers other bytes or
//! takes another path makes its cell invalid; nothing is repeated silently.

mod fleets;
mod path;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::seq::SliceRandom as _;
use rand_pcg::{Pcg64, rand_core::SeedableRng as _};
use xdt_patterns::{
    clock::monotonic_ns,
    http::HttpClient,
    messages::{Backend, Pattern, Report, Run, Variant},
    object::{Digest, Source},
    storage::Storage,
};

use crate::{
    calibrate::Calibrator,
    cell::Cell,
    column::{Column, pattern_name},
    fleet::{Fleet, Shape},
    progress::Progress,
    results::{OK, Overhead, Results, Sample, Transfer, WRONG},
    schedule::{Budget, Next, Share},
    stores::Stores,
    usage,
};
use fleets::Fleets;
use path::Paths;
use tally::Tally;

/// Repetitions between two calibrations: about a second's worth.
const BLOCK: u64 = 20;
/// Requests that do nothing, to measure what the way itself costs.
const EMPTY_REQUESTS: usize = 60;

/// Measures every cell of `plan` that `results` does not have yet.
///
/// # Errors
/// If functions do not start, an object cannot be prepared or the folder not be written. A transfer that fails is no
/// error here: it makes its cell invalid.
pub(crate) async fn all(plan: &[Cell], results: &mut Results, stores: &Stores, budget: Option<Budget>) -> Result<()> {
    let finished = results.finished();
    let plan: Vec<_> = plan.iter().filter(|cell| !finished.contains(&cell.id())).collect();
    let progress = Progress::new(plan.iter().map(|cell| cell.transfers()).sum());
    let mut run = Loop {
        seed: results.run.seed,
        order: Pcg64::seed_from_u64(results.run.seed),
        storage: Storage::at(stores.variables()),
        http: HttpClient::default(),
        calibrator: Calibrator::new(),
        fleets: Fleets::new(stores.variables()),
        progress,
        results,
        stores,
    };
    let mut outcome = Ok(());
    for (number, cell) in plan.iter().enumerate() {
        let price = |cell: &Cell| cell.target.cost(cell.bytes(), cell.columns.len());
        let share = match budget {
            Some(budget) => budget.share(price(cell), plan[number..].iter().map(|cell| price(cell)).sum()),
            None => Share::unlimited(),
        };
        outcome = run.cell(cell, share).await.with_context(|| cell.id());
        if outcome.is_err() {
            break;
        }
    }
    run.fleets.stop().await;
    outcome
}

struct Loop<'a> {
    seed: u64,
    order: Pcg64,
    storage: Storage,
    http: HttpClient,
    calibrator: Calibrator,
    fleets: Fleets,
    progress: Progress,
    results: &'a mut Results,
    stores: &'a Stores,
}

/// One repetition of one cell, the same for all columns.
struct Repetition {
    number: u64,
    warm_up: bool,
    sources: Vec<Source>,
    /// What must arrive, ascending.
    expected: Vec<u64>,
}

impl Loop<'_> {
    async fn cell(&mut self, cell: &Cell, mut share: Share) -> Result<()> {
        let shape = Shape::of(cell.pattern, cell.degree);
        self.fleets.bring(shape, &cell.columns).await?;
        if self.results.run.overhead.is_none() {
            self.results.run.overhead = Some(self.overhead(&cell.columns).await?);
        }
        let mut tallies = Vec::with_capacity(cell.columns.len());
        for column in &cell.columns {
            let fleet = self.fleets.of(column)?;
            fleet.reset_peaks();
            if let Some(pid) = self.stores.pid(column.backend) {
                usage::reset_peak(pid);
            }
            tallies.push(Tally::new(cell, column, Paths::of(fleet).await?));
        }
        let mut order: Vec<_> = (0..cell.columns.len()).collect();
        let mut known = None;
        loop {
            let next = share.next(cell.target, Instant::now());
            if next == Next::End {
                break;
            }
            if share.done().is_multiple_of(BLOCK) {
                let calibration = self.calibrator.run().await?;
                self.results.run.calibrations.push(calibration);
            }
            let sources = cell.sources(self.seed, share.done());
            let repetition = Repetition {
                number: share.done(),
                warm_up: next == Next::WarmUp,
                expected: expected(cell, &sources, &mut known).await?,
                sources,
            };
            order.shuffle(&mut self.order);
            for &column in &order {
                self.progress.at(&cell.id(), &cell.columns[column].id);
                if !tallies[column].has_failed() {
                    self.one(cell, &cell.columns[column], &repetition, &mut tallies[column])
                        .await?;
                }
                self.progress.advance(1);
            }
            share.count(next);
        }
        let undone = cell.target.total() - share.done();
        self.progress.advance(undone * cell.columns.len() as u64);
        self.finish(cell, tallies).await
    }

    /// One column once: prepared, timed, checked.
    async fn one(&self, cell: &Cell, column: &Column, repetition: &Repetition, tally: &mut Tally) -> Result<()> {
        let fleet = self.fleets.of(column)?;
        let prepared = fleet.prepare(&repetition.sources).await?;
        ensure!(
            prepared.len() == repetition.sources.len(),
            "{} of {} objects were prepared",
            prepared.len(),
            repetition.sources.len()
        );
        let run = self.order_for(cell, column, repetition.number, fleet)?;
        let url = if cell.pattern == Pattern::OneToOne {
            "producer"
        } else {
            "driver"
        };
        let url = format!("{}/run", fleet.url(url)?);
        let pids = fleet.pids();
        let store = self.stores.pid(column.backend);
        let used = tally::Used::read(&pids, store);
        let sent_ns = monotonic_ns();
        let outcome = self.http.post_json::<Report>(&url, &run).await;
        let received_ns = monotonic_ns();
        let used = tally::Used::read(&pids, store).since(&used);
        let mut sample = self.sample(cell, column, repetition, sent_ns, received_ns);
        let report = match outcome {
            Ok(report) => report,
            Err(error) => {
                let logs = fleet.keep_logs();
                tally.fail(sample, &format!("{error:#}; logs are in {}", logs.display()));
                return Ok(());
            }
        };
        (sample.transfer_ns, sample.bytes) = (report.transfer_ns(), report.bytes());
        (sample.put_ns, sample.get_ns) = (report.put_ns, report.get_ns());
        let is_intact = self.is_intact(fleet, repetition, tally).await?;
        sample.path = tally.paths.taken(fleet, column, cell).await?;
        sample.outcome = if is_intact { OK } else { WRONG }.to_owned();
        if cell.pattern == Pattern::Broadcast
            && let Some(reference) = &report.reference
        {
            tally.gone(fleet.is_gone(reference).await?);
            tally.paths = Paths::of(fleet).await?;
        }
        self.delete(column.backend, &report.keys, tally).await;
        let transfers = transfers(&sample, column, &report);
        tally.add(sample, transfers, used);
        Ok(())
    }

    fn order_for(&self, cell: &Cell, column: &Column, number: u64, fleet: &Fleet) -> Result<Run> {
        Ok(Run {
            backend: column.backend,
            pattern: cell.pattern,
            variant: cell.variant,
            degree: cell.degree,
            key: format!("{}/{}/{}/{number}", self.results.run.run_id, cell.id(), column.id).replace(' ', ""),
            consumer_url: fleet.url("consumer")?,
            producer_url: fleet.url("producer")?,
            peers: match column.backend {
                Backend::GrpcStream => fleet.grpc_peers(),
                Backend::Tcp => fleet.tcp_peers(),
                _ => Vec::new(),
            },
        })
    }

    fn sample(&self, cell: &Cell, column: &Column, repetition: &Repetition, sent_ns: u64, received_ns: u64) -> Sample {
        Sample {
            run_id: self.results.run.run_id.clone(),
            experiment: cell.experiment.clone(),
            pattern: pattern_name(cell.pattern, cell.variant).to_owned(),
            backend: column.id.clone(),
            size_bytes: cell.object.size,
            degree: cell.degree,
            chain: 1,
            burst_id: 0,
            rep: repetition.number,
            warmup: repetition.warm_up,
            cold: false,
            scheduled_ns: sent_ns,
            sent_ns,
            received_ns,
            e2e_ns: received_ns.saturating_sub(sent_ns),
            transfer_ns: 0,
            put_ns: 0,
            get_ns: 0,
            bytes: 0,
            path: String::new(),
            outcome: String::new(),
        }
    }

    /// Whether the consumers have just what they should have, no object more or less.
    async fn is_intact(&self, fleet: &Fleet, repetition: &Repetition, tally: &mut Tally) -> Result<bool> {
        let verified = fleet.verify().await?;
        let mut digests: Vec<_> = verified.iter().map(|one| one.digest.0).collect();
        digests.sort_unstable();
        let is_intact = digests == repetition.expected;
        tally.verified(&digests, is_intact);
        Ok(is_intact)
    }

    /// What a store keeps would fill its memory; a failure fails the cell as any other.
    async fn delete(&self, backend: Backend, keys: &[String], tally: &mut Tally) {
        for key in keys {
            if let Err(error) = self.storage.delete(backend, key).await {
                tally.invalidate(format!("{error:#}"));
            }
        }
    }

    /// Keeps what a cell found. Sidecars that still hold objects, and columns that failed, are told; functions that
    /// failed are started anew for the next cell.
    async fn finish(&mut self, cell: &Cell, tallies: Vec<Tally>) -> Result<()> {
        let (mut facts, mut samples, mut transfers) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_failed = false;
        for (mut tally, column) in tallies.into_iter().zip(&cell.columns) {
            has_failed |= tally.has_failed();
            let fleet = self.fleets.of(column)?;
            if let Some(left) = path::left(fleet).await?.filter(|_| !tally.has_failed()) {
                tally.invalidate(left);
            }
            let store_peak = self.stores.pid(column.backend).map(usage::peak).unwrap_or_default();
            let (one, its_samples, its_transfers) = tally.finish(cell, column, fleet.peak_sidecar(), store_peak);
            facts.push(one);
            samples.extend(its_samples);
            transfers.extend(its_transfers);
        }
        if has_failed {
            self.fleets.stop().await;
        }
        self.results.add(facts, samples, transfers)
    }

    /// What a request that does nothing costs, straight to a function and through ingress and sidecar.
    async fn overhead(&self, columns: &[Column]) -> Result<Overhead> {
        let column = columns.first().context("a cell without columns")?;
        let fleet = self.fleets.of(column)?;
        let straight = fleet.straight().context("there is no producer")?.to_owned();
        let through = fleet.url("producer")?;
        let (begun, repeats) = (Instant::now(), 1000);
        for _ in 0..repeats {
            std::hint::black_box((monotonic_ns(), monotonic_ns()));
        }
        let clock_ns = u64::try_from(begun.elapsed().as_nanos() / repeats).unwrap_or(u64::MAX);
        Ok(Overhead {
            straight_ms: self.empty_ms(&straight).await?,
            through_ms: self.empty_ms(&through).await?,
            clock_ns,
        })
    }

    async fn empty_ms(&self, url: &str) -> Result<f64> {
        let mut times = Vec::with_capacity(EMPTY_REQUESTS);
        for _ in 0..EMPTY_REQUESTS {
            let begun = Instant::now();
            let _info: xdt_patterns::messages::Info = self.http.get(&format!("{url}/info")).await?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let median: Duration = times.get(times.len() / 2).copied().unwrap_or_default();
        Ok(median.as_secs_f64() * 1e3)
    }
}

/// Digests that must arrive, ascending: each object once, or the one object once for each consumer. A file's are
/// computed once and kept in `known`.
async fn expected(cell: &Cell, sources: &[Source], known: &mut Option<Vec<u64>>) -> Result<Vec<u64>> {
    if let Some(known) = known {
        return Ok(known.clone());
    }
    let (wanted, size) = (sources.to_vec(), cell.object.size);
    let digests = tokio::task::spawn_blocking(move || digests(&wanted, size))
        .await
        .context("the objects were not made")?;
    let mut digests = digests.with_context(|| cell.object.label.clone())?;
    if cell.pattern == Pattern::Broadcast {
        digests = digests
            .iter()
            .flat_map(|digest| std::iter::repeat_n(*digest, cell.degree))
            .collect();
    }
    digests.sort_unstable();
    if cell.object.file.is_some() {
        *known = Some(digests.clone());
    }
    Ok(digests)
}

fn digests(sources: &[Source], size: u64) -> Result<Vec<u64>> {
    let mut digests = Vec::with_capacity(sources.len());
    for source in sources {
        let payload = source.load()?;
        ensure!(payload.bytes.len() as u64 == size, "it has changed its size meanwhile");
        digests.push(payload.digest.0);
    }
    Ok(digests)
}

/// The retrievals by reference of one repetition.
fn transfers(sample: &Sample, column: &Column, report: &Report) -> Vec<Transfer> {
    let by_reference = column.backend == Backend::Xdt && sample.path != "inline";
    if !by_reference || sample.warmup {
        return Vec::new();
    }
    let reference = report.reference.as_deref().unwrap_or_default();
    let digest = if reference.is_empty() {
        String::new() // an invoke's reference is between the sidecars; user code never sees it
    } else {
        Digest::of(reference.as_bytes()).into()
    };
    let row = |(retrieval, receipt): (usize, &xdt_patterns::messages::Receipt)| Transfer {
        run_id: sample.run_id.clone(),
        trace_id: String::new(),
        reference_digest: digest.clone(),
        bytes: receipt.length,
        retrieval,
        path: sample.path.clone(),
        queued_ns: report.started_ns,
        started_ns: receipt.arrived_ns.saturating_sub(receipt.get_ns),
        first_byte_ns: None,
        done_ns: receipt.arrived_ns,
        outcome: sample.outcome.clone(),
    };
    report.receipts.iter().enumerate().map(row).collect()
}

/// How many retrievals one repetition of a cell makes, if its objects travel by reference.
fn retrievals(cell: &Cell) -> u64 {
    match (cell.pattern, cell.variant) {
        (Pattern::OneToOne, Variant::Invoke | Variant::PutGet) => 1,
        _ => cell.degree as u64,
    }
}
