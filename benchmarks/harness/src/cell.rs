//! One cell of the plan: a pattern, an object, a degree, and the columns that it is measured for, side by side.

use serde::Serialize;
use xdt_patterns::{
    messages::{Pattern, Variant},
    object::Source,
};

use crate::{
    column::{Column, pattern_name},
    object::Object,
    schedule::Target,
};

/// Most bytes that one repetition may move: what a machine with 8 GiB can hold a few times over.
pub(crate) const MAX_REPETITION_BYTES: u64 = 320 << 20;

/// What is measured together, in shuffled order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    /// Which study it belongs to.
    pub(crate) experiment: String,
    /// Who sends to whom.
    pub(crate) pattern: Pattern,
    /// By which verbs.
    pub(crate) variant: Variant,
    /// What is sent.
    pub(crate) object: Object,
    /// Number of producers or consumers.
    pub(crate) degree: usize,
    /// How often.
    pub(crate) target: Target,
    /// By what. Only those that can take it.
    pub(crate) columns: Vec<Column>,
}

impl Cell {
    /// Its name: unlike that of every other cell of a run.
    pub(crate) fn id(&self) -> String {
        let pattern = pattern_name(self.pattern, self.variant);
        format!("{}/{pattern}/{}/{}", self.experiment, self.object.label, self.degree)
    }

    /// Bytes that one repetition delivers: the ones that count for bandwidth.
    pub(crate) fn bytes(&self) -> u64 {
        self.object.size * self.degree as u64
    }

    /// Objects that one repetition begins with.
    pub(crate) fn sources(&self, seed: u64, repetition: u64) -> Vec<Source> {
        let objects = match self.pattern {
            Pattern::OneToOne | Pattern::Broadcast => 1,
            Pattern::Gather | Pattern::Scatter => self.degree as u64,
        };
        let each = 0..objects;
        each.map(|producer| self.object.source(seed, repetition, producer))
            .collect()
    }

    /// Transfers of the whole cell, warm-ups included.
    pub(crate) fn transfers(&self) -> u64 {
        self.target.total() * self.columns.len() as u64
    }
}
