//! The local socket (contract, section 7): put, get and delete for SDKs, with memory files in place of bodies.
//!
//! An abstract unix socket that every container of the pod reaches and nobody else. Nothing that comes over it is
//! trusted: a descriptor is looked at before it is used, a message is bounded, and a connection that breaks the rules is
//! closed. One request at a time on each connection; connections are bounded in all and for each user id.

mod answer;

use std::{
    collections::HashMap,
    io,
    os::linux::net::SocketAddrExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xdt_proto::v1::LocalRequest;
use xdt_shm::{Channel, ChannelError};

use crate::transfer::Transfer;

/// Connections of one user id at once; more are closed. An SDK keeps a few.
const MAX_CONNECTIONS_OF_ONE: usize = 256;
/// Connections at once.
const MAX_CONNECTIONS: usize = 1024;
/// Pause after a failed accept: descriptors have run out, and accepting at once would only spin.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Listens on the abstract name.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::AddrInUse`] where the name is taken.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Accepts until `stop`; each connection is a task of `connections`.
pub async fn serve(transfer: Arc<Transfer>, listener: UnixListener, stop: CancellationToken, connections: TaskTracker) {
    let places = Places::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted.and_then(|(socket, _)| Ok((places.take(socket.peer_cred()?.uid()), socket))) {
            Ok((Some(place), socket)) => {
                let conversation = converse(transfer.clone(), socket, stop.clone());
                connections.spawn(async move {
                    conversation.await;
                    drop(place);
                });
            }
            Ok((None, _closed)) => tracing::warn!("too many connections on the local socket; one was closed"),
            Err(error) => {
                tracing::debug!(error = %error.kind(), "a connection on the local socket was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers requests, one after the other, until the other side closes or `stop`.
async fn converse(transfer: Arc<Transfer>, socket: UnixStream, stop: CancellationToken) {
    let mut channel = Channel::new(socket);
    loop {
        let received = tokio::select! {
            received = channel.receive::<LocalRequest>() => received,
            () = stop.cancelled() => return,
        };
        let ended = match received {
            Ok(Some((request, file))) => answer::answer(&transfer, &mut channel, request, file).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            told(&error);
            return;
        }
    }
}

fn told(error: &ChannelError) {
    tracing::debug!(%error, "a connection on the local socket was closed");
}

/// Counts connections by user id.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashMap<u32, usize>>>);

struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    fn take(&self, uid: u32) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.entry(uid).or_default();
        if all >= MAX_CONNECTIONS || *own >= MAX_CONNECTIONS_OF_ONE {
            return None;
        }
        *own += 1;
        Some(Place {
            places: self.clone(),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = counts.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_id_cannot_take_all_places() {
        let places = Places::default();
        let own: Vec<_> = (0..MAX_CONNECTIONS_OF_ONE)
            .map(|_| places.take(7).expect("free"))
            .collect();
        assert!(places.take(7).is_none());
        assert!(places.take(8).is_some());
        drop(own);
        assert!(places.take(7).is_some());
        assert!(
            places.0.lock().expect("no panic").len() <= 1,
            "nothing is kept of those who left"
        );
    }
}
