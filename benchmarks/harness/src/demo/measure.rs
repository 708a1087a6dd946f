//! The measuring loop: object by object, in blocks in which every backend sends the same bytes once, in shuffled order.
//!
//! Each transfer is checked against a digest computed here, from the generator or the file, never against what the
//! producer says it sent. The path comes from the consumer's sidecar: its counters before and after.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::seq::SliceRandom as _;
use rand_pcg::{Pcg64, rand_core::SeedableRng as _};
use serde::Serialize;
use xdt_patterns::{
    messages::{Backend, Report},
    object::{Digest, Source},
};

use super::{
    deployment::Deployment,
    schedule::{Blocks, Budget, Next},
};
use crate::{
    driver::{Driver, Side, paths},
    object::Object,
    progress::Progress,
    sample::{PATH_DIRECT, PATH_INLINE, Sample, expected_path, name, takes},
};

/// How long counters and memory may lag behind an answer that has already come back.
const SETTLE: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(5);

/// What the user can choose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Of bytes and order.
    pub(crate) seed: u64,
    /// Instead of the target by size.
    pub(crate) repetitions: Option<u64>,
}

/// All that a run found out.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Every transfer, in the order in which they ran.
    pub(crate) samples: Vec<Sample>,
    /// One of the references that travelled.
    pub(crate) reference: Option<String>,
    /// What the sidecars held at the end.
    pub(crate) left: Left,
}

/// What both sidecars together hold.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Left {
    /// Objects.
    pub(crate) held: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Sends all objects by all backends.
///
/// # Errors
/// The first transfer that fails. A wrong digest is no error here: it is counted, and the run goes on.
pub(crate) async fn all(
    deployment: &Deployment,
    objects: &[Object],
    settings: &Settings,
    budget: Budget,
) -> Result<Measured> {
    let driver = Driver::connect(&deployment.url("producer")?, &deployment.url("consumer")?).await?;
    let mut run = Loop::new(driver, objects, *settings).await?;
    for number in 0..objects.len() {
        run.object(number, &objects[number..], budget).await?;
    }
    let left = left(&run.driver).await?;
    Ok(Measured {
        samples: run.samples,
        reference: run.reference,
        left,
    })
}

struct Loop {
    driver: Driver,
    settings: Settings,
    order: Pcg64,
    progress: Progress,
    /// The consumer's counters after the last transfer.
    paths: BTreeMap<String, u64>,
    samples: Vec<Sample>,
    reference: Option<String>,
}

/// One block of one object.
struct Block<'a> {
    number: usize,
    object: &'a Object,
    repetition: u64,
    warm_up: bool,
    source: Source,
    digest: Digest,
}

impl Loop {
    async fn new(driver: Driver, objects: &[Object], settings: Settings) -> Result<Self> {
        let blocks = |object: &Object| Blocks::target(object.size, settings.repetitions).total();
        let transfers = objects
            .iter()
            .map(|object| blocks(object) * backends(object).len() as u64)
            .sum();
        Ok(Self {
            paths: paths(&driver.status(Side::Consumer).await?),
            driver,
            settings,
            order: Pcg64::seed_from_u64(settings.seed),
            progress: Progress::new(transfers),
            samples: Vec::new(),
            reference: None,
        })
    }

    /// Sends the first of `rest`, which is number `number` of the run, for its share of the time.
    async fn object(&mut self, number: usize, rest: &[Object], budget: Budget) -> Result<()> {
        let Some(object) = rest.first() else { return Ok(()) };
        let target = Blocks::target(object.size, self.settings.repetitions);
        let mut share = budget.share(rest, self.settings.repetitions);
        let mut order = backends(object);
        let mut expected = None;
        loop {
            let next = share.next(target, Instant::now());
            if next == Next::End {
                break;
            }
            let (repetition, warm_up) = (share.done(), next == Next::WarmUp);
            let source = object.source(self.settings.seed, repetition);
            let digest = expected_digest(&source, object, &mut expected).await?;
            order.shuffle(&mut self.order);
            self.block(
                &Block {
                    number,
                    object,
                    repetition,
                    warm_up,
                    source,
                    digest,
                },
                &order,
            )
            .await?;
            share.count(next);
        }
        self.progress
            .advance((target.total() - share.done()) * order.len() as u64);
        Ok(())
    }

    async fn block(&mut self, block: &Block<'_>, order: &[Backend]) -> Result<()> {
        for &backend in order {
            self.progress.at(&block.object.label, name(backend));
            let what = || format!("{} by {}", block.object.label, name(backend));
            let (report, took) = self.driver.transfer(backend, &block.source).await.with_context(what)?;
            let path = self.path(backend, block.object.size).await?;
            self.samples.push(sample(block, backend, &report, took, path));
            self.reference = report.reference.or(self.reference.take());
            self.progress.advance(1);
        }
        Ok(())
    }

    /// The path of the transfer that has just ended: whichever counter moved. None moves for a plain request.
    async fn path(&mut self, backend: Backend, size: u64) -> Result<String> {
        if backend == Backend::GrpcStream {
            return Ok(PATH_DIRECT.into());
        }
        let deadline = Instant::now() + SETTLE;
        loop {
            let now = paths(&self.driver.status(Side::Consumer).await?);
            let moved: Vec<_> = now
                .iter()
                .filter(|(path, count)| self.paths.get(*path) != Some(count))
                .collect();
            let moved: Vec<_> = moved.into_iter().map(|(path, _)| path.clone()).collect();
            if !moved.is_empty() {
                self.paths = now;
                return Ok(moved.join("+"));
            }
            if expected_path(backend, size) == PATH_INLINE || Instant::now() > deadline {
                return Ok(PATH_INLINE.into());
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }
}

fn sample(block: &Block<'_>, backend: Backend, report: &Report, took: Duration, path: String) -> Sample {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let own = report.prepare_ns.saturating_add(report.arrival.digest_ns);
    Sample {
        object: block.number,
        backend,
        repetition: block.repetition,
        warm_up: block.warm_up,
        transfer_ns: report.transfer_ns(),
        e2e_ns: took.saturating_sub(own),
        path,
        intact: report.arrival.length == block.object.size && report.arrival.digest == block.digest,
    }
}

fn backends(object: &Object) -> Vec<Backend> {
    Backend::ALL
        .into_iter()
        .filter(|backend| takes(*backend, object.size))
        .collect()
}

/// The digest that must arrive. A file's is computed once and kept in `known`.
async fn expected_digest(source: &Source, object: &Object, known: &mut Option<Digest>) -> Result<Digest> {
    if let Some(digest) = *known {
        return Ok(digest);
    }
    let wanted = source.clone();
    let payload = tokio::task::spawn_blocking(move || wanted.load())
        .await
        .context("the object was not made")??;
    ensure!(
        payload.bytes.len() as u64 == object.size,
        "{} has changed its size meanwhile",
        object.label
    );
    *known = object.file.is_some().then_some(payload.digest);
    Ok(payload.digest)
}

/// What the sidecars still hold, once that has settled.
async fn left(driver: &Driver) -> Result<Left> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut left = Left::default();
        for side in [Side::Producer, Side::Consumer] {
            let held = driver.status(side).await?.objects;
            left.held += held.held;
            left.bytes += held.bytes;
        }
        if (left.held == 0 && left.bytes == 0) || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}
