//! The clusters that a cell needs, one for each setting of the sidecars among its columns; kept as long as the next cell
//! needs the same.

use anyhow::{Context as _, Result};

use crate::{
    column::{Column, Settings},
    fleet::{Fleet, Shape},
};

/// Running clusters by setting.
#[derive(Debug)]
pub(super) struct Fleets {
    shape: Option<Shape>,
    running: Vec<(Option<Settings>, Fleet)>,
    variables: Vec<(String, String)>,
}

impl Fleets {
    /// None yet; `variables` tell the functions where the stores are.
    pub(super) fn new(variables: Vec<(String, String)>) -> Self {
        Self {
            shape: None,
            running: Vec::new(),
            variables,
        }
    }

    /// Has just the clusters for these columns running.
    ///
    /// # Errors
    /// If one does not start.
    pub(super) async fn bring(&mut self, shape: Shape, columns: &[Column]) -> Result<()> {
        if self.shape != Some(shape) {
            self.stop().await;
        }
        let mut kept = Vec::new();
        for (settings, fleet) in std::mem::take(&mut self.running) {
            if columns.iter().any(|column| column.sidecar == settings) {
                kept.push((settings, fleet));
            } else {
                fleet.stop().await;
            }
        }
        self.running = kept;
        self.shape = Some(shape);
        for column in columns {
            if !self.running.iter().any(|(settings, _)| *settings == column.sidecar) {
                let fleet = Fleet::start(shape, column.sidecar.as_ref(), &self.variables);
                let fleet = fleet.await.with_context(|| format!("for {}", column.id))?;
                self.running.push((column.sidecar.clone(), fleet));
            }
        }
        Ok(())
    }

    /// The cluster of a column.
    ///
    /// # Errors
    /// If it was not brought up.
    pub(super) fn of(&self, column: &Column) -> Result<&Fleet> {
        let found = self.running.iter().find(|(settings, _)| *settings == column.sidecar);
        found
            .map(|(_, fleet)| fleet)
            .with_context(|| format!("no functions run for {}", column.id))
    }

    /// Stops all.
    pub(super) async fn stop(&mut self) {
        self.shape = None;
        for (_, fleet) in self.running.drain(..) {
            fleet.stop().await;
        }
    }
}
