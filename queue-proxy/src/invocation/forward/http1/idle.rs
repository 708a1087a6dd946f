//! Idle connections to the user container: the one used last is used next, and none is kept longer than [`IDLE`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Connection;

/// An idle connection is closed after this (stock: 90 s).
const IDLE: Duration = Duration::from_secs(90);

/// At most `most` connections that wait for their next request.
pub(super) struct Idle {
    parked: Mutex<Parked>,
    most: usize,
}

#[derive(Default)]
struct Parked {
    /// In the order in which they were parked.
    connections: Vec<(Instant, Connection)>,
    /// A task closes those whose time is over.
    swept: bool,
}

impl Idle {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            parked: Mutex::default(),
            most,
        })
    }

    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that the user container has not closed, as far as is known.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut parked = self.parked();
        while let Some((_, connection)) = parked.connections.pop() {
            if !connection.sender.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request; closes it when there are enough.
    pub(super) fn park(self: &Arc<Self>, connection: Connection) {
        let mut parked = self.parked();
        if parked.connections.len() >= self.most {
            parked
                .connections
                .retain(|(_, connection)| !connection.sender.is_closed());
        }
        if parked.connections.len() >= self.most {
            return;
        }
        parked.connections.push((Instant::now(), connection));
        if !std::mem::replace(&mut parked.swept, true) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// Closes connections when their time is over, for as long as there are any.
    async fn sweep(self: Arc<Self>) {
        while let Some(next) = self.close_late() {
            tokio::time::sleep_until(next).await;
        }
    }

    /// When the next one is due.
    fn close_late(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut parked = self.parked();
        parked
            .connections
            .retain(|(since, connection)| *since + IDLE > now && !connection.sender.is_closed());
        let next = parked.connections.first().map(|(since, _)| *since + IDLE);
        parked.swept = next.is_some();
        next
    }
}
