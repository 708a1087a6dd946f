//! What one column of one cell adds up to while it is measured.

use std::{collections::BTreeSet, time::Duration};

use xdt_patterns::object::Digest;

use super::path::Paths;
use crate::{
    cell::Cell,
    column::{Column, pattern_name},
    fleet::Pids,
    results::{CellFacts, FAILED, Sample, Transfer},
    usage,
};

/// CPU time of a column's processes, and traffic of the machine's loopback device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    user: Duration,
    sidecar: Duration,
    store: Duration,
    loopback: u64,
}

impl Used {
    /// So far.
    pub(super) fn read(pids: &Pids, store: Option<u32>) -> Self {
        Self {
            user: usage::cpu_of(&pids.users),
            sidecar: usage::cpu_of(&pids.sidecars),
            store: usage::cpu_of(store.as_slice()),
            loopback: usage::loopback_bytes(),
        }
    }

    /// Since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            sidecar: self.sidecar.saturating_sub(before.sidecar),
            store: self.store.saturating_sub(before.store),
            loopback: self.loopback.saturating_sub(before.loopback),
        }
    }
}

/// One column of one cell.
#[derive(Debug)]
pub(super) struct Tally {
    facts: CellFacts,
    /// The sidecars' counters after the last repetition.
    pub(super) paths: Paths,
    /// Fewer than the columns of a run; every repetition of the column.
    samples: Vec<Sample>,
    transfers: Vec<Transfer>,
    taken: BTreeSet<String>,
    used: Used,
    has_failed: bool,
    /// Chains the digests of all repetitions.
    chained: u64,
}

impl Tally {
    pub(super) fn new(cell: &Cell, column: &Column, paths: Paths) -> Self {
        Self {
            facts: CellFacts {
                cell: cell.id(),
                experiment: cell.experiment.clone(),
                pattern: pattern_name(cell.pattern, cell.variant).to_owned(),
                backend: column.id.clone(),
                object: cell.object.label.clone(),
                size_bytes: cell.object.size,
                degree: cell.degree,
                ..CellFacts::default()
            },
            paths,
            samples: Vec::new(),
            transfers: Vec::new(),
            taken: BTreeSet::new(),
            used: Used::default(),
            has_failed: false,
            chained: 0,
        }
    }

    /// Whether the column takes no further part.
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// A repetition that did not come back.
    pub(super) fn fail(&mut self, mut sample: Sample, reason: &str) {
        sample.outcome = FAILED.to_owned();
        self.samples.push(sample);
        self.has_failed = true;
        self.invalidate(format!("failed: {reason}"));
    }

    /// The times do not speak for the column; the first reason is kept.
    pub(super) fn invalidate(&mut self, reason: String) {
        self.facts.invalid.get_or_insert(reason);
    }

    /// Digests that arrived, ascending.
    pub(super) fn verified(&mut self, digests: &[u64], is_intact: bool) {
        self.facts.verified += 1;
        self.facts.intact += u64::from(is_intact);
        let bytes: Vec<u8> = std::iter::once(&self.chained)
            .chain(digests)
            .flat_map(|digest| digest.to_le_bytes())
            .collect();
        self.chained = Digest::of(&bytes).0;
        if !is_intact {
            self.invalidate("wrong bytes arrived".to_owned());
        }
    }

    /// Whether a further get found the object gone.
    pub(super) fn gone(&mut self, is_gone: bool) {
        self.facts.gone += u64::from(is_gone);
        if !is_gone {
            self.invalidate("an object was not gone after its last retrieval".to_owned());
        }
    }

    /// A repetition that came back.
    pub(super) fn add(&mut self, sample: Sample, transfers: Vec<Transfer>, used: Used) {
        self.taken.insert(sample.path.clone());
        if !sample.warmup {
            self.used.user += used.user;
            self.used.sidecar += used.sidecar;
            self.used.store += used.store;
            self.used.loopback += used.loopback;
        }
        self.samples.push(sample);
        self.transfers.extend(transfers);
    }

    /// All that is known, with peaks of memory in bytes.
    pub(super) fn finish(
        mut self,
        cell: &Cell,
        column: &Column,
        sidecar_peak: u64,
        store_peak: u64,
    ) -> (CellFacts, Vec<Sample>, Vec<Transfer>) {
        let allowed = column.may_take(cell.variant, cell.pattern, cell.object.size);
        let is_one_of_them = self.taken.len() <= 1 && self.taken.iter().all(|path| allowed.contains(&path.as_str()));
        if !is_one_of_them {
            let taken: Vec<_> = self.taken.iter().map(String::as_str).collect();
            let (taken, allowed) = (taken.join(", "), allowed.join(" or "));
            self.invalidate(format!("transfers took {taken} where the settings imply {allowed}"));
        }
        self.facts.paths = self.taken.into_iter().collect();
        self.facts.digest = Digest(self.chained).into();
        (self.facts.cpu_user_s, self.facts.cpu_sidecar_s) = (seconds(self.used.user), seconds(self.used.sidecar));
        self.facts.cpu_store_s = seconds(self.used.store);
        (self.facts.rss_sidecar_bytes, self.facts.rss_store_bytes) = (sidecar_peak, store_peak);
        self.facts.loopback_bytes = self.used.loopback;
        (self.facts, self.samples, self.transfers)
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
