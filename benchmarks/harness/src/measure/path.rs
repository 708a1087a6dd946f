//! Which path a transfer took: the consumers' sidecars count transfers by path, and whichever counter moved tells.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use xdt_patterns::messages::Backend;

use super::retrievals;
use crate::{cell::Cell, column::Column, fleet::Fleet};

/// How long counters and memory may lag behind an answer that has already come back.
const SETTLE: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const SETTLE_STEP: Duration = Duration::from_millis(2);

/// Transfers so far, by path and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths(BTreeMap<(String, String), u64>);

impl Paths {
    /// The counters of all sidecars that receive.
    pub(super) async fn of(fleet: &Fleet) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for status in fleet.statuses().await? {
            for transfers in status.transfers {
                *counts.entry((transfers.path, transfers.outcome)).or_default() += transfers.count;
            }
        }
        Ok(Self(counts))
    }

    /// The path of the repetition that has just ended; several, joined by `+`, if its transfers took several. The counters
    /// are remembered for the next one.
    pub(super) async fn taken(&mut self, fleet: &Fleet, column: &Column, cell: &Cell) -> Result<String> {
        if column.backend != Backend::Xdt {
            let path = column.may_take(cell.variant, cell.pattern, cell.object.size);
            return Ok(path.first().copied().unwrap_or_default().to_owned());
        }
        let goes_inline = column.may_take(cell.variant, cell.pattern, cell.object.size) == ["inline"];
        let wanted = if goes_inline { 0 } else { retrievals(cell) };
        let deadline = Instant::now() + SETTLE;
        loop {
            let now = Self::of(fleet).await?;
            let (moved, path) = self.moved(&now);
            if moved >= wanted || Instant::now() > deadline {
                *self = now;
                return Ok(path);
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }

    /// How many transfers ended well since then, and by which paths. A failed one is part of the name.
    fn moved(&self, now: &Self) -> (u64, String) {
        let (mut count, mut names) = (0, Vec::new());
        for ((path, outcome), total) in &now.0 {
            let before = self
                .0
                .get(&(path.clone(), outcome.clone()))
                .copied()
                .unwrap_or_default();
            let moved = total.saturating_sub(before);
            if moved > 0 && outcome == "ok" {
                count += moved;
                names.push(path.clone());
            } else if moved > 0 {
                names.push(format!("{path}:{outcome}"));
            }
        }
        if names.is_empty() {
            names.push("inline".to_owned());
        }
        (count, names.join("+"))
    }
}

/// What the sidecars still hold, once that has settled; nothing, as it should be, is `None`.
pub(super) async fn left(fleet: &Fleet) -> Result<Option<String>> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let (objects, bytes) = fleet.held().await?;
        if objects == 0 && bytes == 0 {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Ok(Some(format!(
                "the sidecars still hold {objects} objects, {bytes} bytes"
            )));
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(counts: &[(&str, &str, u64)]) -> Paths {
        let each = counts.iter();
        Paths(
            each.map(|&(path, outcome, count)| ((path.to_owned(), outcome.to_owned()), count))
                .collect(),
        )
    }

    #[test]
    fn what_moved_names_the_path() {
        let before = paths(&[("stream", "ok", 3)]);
        assert_eq!(before.moved(&paths(&[("stream", "ok", 7)])), (4, "stream".into()));
        let both = paths(&[("stream", "ok", 4), ("node", "ok", 1)]);
        assert_eq!(before.moved(&both), (2, "node+stream".into()));
        assert_eq!(before.moved(&before), (0, "inline".into()));
        let failed = paths(&[("stream", "ok", 3), ("stream", "timeout", 1)]);
        assert_eq!(before.moved(&failed), (0, "stream:timeout".into()));
    }
}
