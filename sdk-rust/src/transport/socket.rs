//! The sidecar's local socket, client side (contract, section 7): objects pass as memory files, without a copy between
//! the two processes.
//!
//! Called through [`Transport`](super::Transport). `None` in place of an answer means that this way is not open here (no
//! such socket, no memory files) and that nothing was done: the local HTTP API is the way then. Holds idle connections up
//! to a bound; a call owns its connection, so a dropped call closes it.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
    },
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::net::UnixStream;
use xdt_proto::{
    ByteCount, ErrorWord, Reference,
    v1::{
        Description, LocalAnswer, LocalGet, LocalObject, LocalPut, LocalRequest, Metadata as MetadataItem,
        local_answer::Outcome, local_request::Verb,
    },
};
use xdt_shm::{Channel, ChannelError, Sealed, Writer};

use super::PutTerms;
use crate::{Error, ErrorKind, Metadata, Object, Result};

/// Up to this many bytes an object travels inside the message: a memory file pays only above that.
const SMALL: usize = 32 * 1024;
/// Up to this many bytes, copying takes less time than waking another thread.
const AT_ONCE: usize = 256 * 1024;

/// Speaks to the sidecar at one abstract name; dials on first use.
pub(crate) struct SocketTransport {
    name: String,
    idle: Mutex<Vec<Channel>>,
    max_idle: usize,
}

/// The bytes of a put: in this process's memory, or in a memory file already.
#[derive(Clone)]
pub(crate) enum Local {
    /// To be copied.
    Bytes(Bytes),
    /// To be passed.
    File(Sealed),
}

impl SocketTransport {
    /// `name`: of the abstract socket, without `@`. `max_idle`: connections kept open while no call uses them.
    pub(crate) fn new(name: String, max_idle: usize) -> Self {
        Self {
            name,
            idle: Mutex::default(),
            max_idle,
        }
    }

    /// Holds the object in the sidecar.
    pub(super) async fn put(&self, bytes: Local, terms: &PutTerms) -> Result<Option<Reference>> {
        let (inline, file) = match bytes {
            Local::Bytes(bytes) if bytes.len() <= SMALL => (Some(bytes), None),
            Local::Bytes(bytes) => match in_file(bytes).await {
                Some(file) => (None, Some(file)),
                None => return Ok(None),
            },
            Local::File(file) => (None, Some(file)),
        };
        let size = match (&inline, &file) {
            (Some(bytes), _) => bytes.len() as u64,
            (None, file) => file.as_ref().map_or(0, |file| file.size().get()),
        };
        let put = LocalPut {
            description: Some(description(size, terms)),
            retrievals: terms.retrievals.get().into(),
            ttl_millis: terms.ttl.map(millis),
            inline,
        };
        let file = file.as_ref().map(Sealed::as_fd);
        match self.call(Verb::Put(put), file).await? {
            None => Ok(None),
            Some((Outcome::Reference(text), _)) => text.parse().map(Some).map_err(|_| unexpected()),
            Some(_) => Err(unexpected()),
        }
    }

    /// The whole object, if it has at most `most` bytes.
    pub(super) async fn get(&self, reference: &Reference, most: ByteCount) -> Result<Option<Object>> {
        let get = LocalGet {
            reference: reference.as_str().to_owned(),
            most: Some(most.get()),
        };
        match self.call(Verb::Get(get), None).await? {
            None => Ok(None),
            Some((Outcome::Object(object), file)) => received(object, file).map(Some),
            Some(_) => Err(unexpected()),
        }
    }

    /// Frees the object.
    pub(super) async fn delete(&self, reference: &Reference) -> Result<Option<()>> {
        match self.call(Verb::Delete(reference.as_str().to_owned()), None).await? {
            None => Ok(None),
            Some((Outcome::Done(_), _)) => Ok(Some(())),
            Some(_) => Err(unexpected()),
        }
    }

    /// One request and its answer; a refusal is `Err`. An idle connection that its other end closed meanwhile is replaced.
    async fn call(&self, verb: Verb, file: Option<BorrowedFd<'_>>) -> Result<Option<(Outcome, Option<OwnedFd>)>> {
        let request = LocalRequest { verb: Some(verb) };
        loop {
            let (mut channel, reused) = match self.take_idle() {
                Some(channel) => (channel, true),
                None => match self.dial().await {
                    Some(channel) => (channel, false),
                    None => return Ok(None),
                },
            };
            match exchange(&mut channel, &request, file).await {
                Ok(Some((outcome, file))) => {
                    self.keep(channel);
                    return answered(outcome, file);
                }
                // Closed before a byte of the answer: the sidecar has not begun, or is no more.
                Ok(None) if reused => {}
                Err(ChannelError::Broken(error)) if reused && closed(&error) => {}
                Ok(None) => return Err(broken(None)),
                Err(ChannelError::Broken(error)) => return Err(broken(Some(error))),
                Err(error) => return Err(Error::new(ErrorKind::UnexpectedAnswer, error.to_string())),
            }
        }
    }

    async fn dial(&self) -> Option<Channel> {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&self.name).ok()?;
        // An abstract name is there or it is not: connecting never waits for a remote side, only for a full backlog.
        let connect = move || std::os::unix::net::UnixStream::connect_addr(&address);
        let socket = tokio::task::spawn_blocking(connect).await.ok()?.ok()?;
        socket.set_nonblocking(true).ok()?;
        UnixStream::from_std(socket).ok().map(Channel::new)
    }

    fn take_idle(&self) -> Option<Channel> {
        self.idle().pop()
    }

    fn keep(&self, channel: Channel) {
        let mut idle = self.idle();
        if idle.len() < self.max_idle {
            idle.push(channel);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn exchange(
    channel: &mut Channel,
    request: &LocalRequest,
    file: Option<BorrowedFd<'_>>,
) -> Result<Option<(Option<Outcome>, Option<OwnedFd>)>, ChannelError> {
    channel.send(request, file).await?;
    let answer = channel.receive::<LocalAnswer>().await?;
    Ok(answer.map(|(answer, file)| (answer.outcome, file)))
}

fn answered(outcome: Option<Outcome>, file: Option<OwnedFd>) -> Result<Option<(Outcome, Option<OwnedFd>)>> {
    match outcome {
        Some(Outcome::Refusal(refusal)) => Err(match refusal.word.parse::<ErrorWord>() {
            Ok(word) => Error::new(word.into(), refusal.detail),
            Err(()) => unexpected(),
        }),
        Some(outcome) => Ok(Some((outcome, file))),
        None => Err(unexpected()),
    }
}

fn closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn broken(source: Option<io::Error>) -> Error {
    Error::new(
        ErrorKind::TransferBroken,
        "the connection to the sidecar broke before its answer",
    )
    .with_source(source)
}

fn unexpected() -> Error {
    Error::new(
        ErrorKind::UnexpectedAnswer,
        "the answer on the local socket is none that this version knows",
    )
}

/// Copies into a memory file; `None` where there are none.
async fn in_file(bytes: Bytes) -> Option<Sealed> {
    let copy = |bytes: &[u8]| {
        let mut file = Writer::new().ok()?;
        file.write(bytes).ok()?;
        file.seal().ok()
    };
    if bytes.len() <= AT_ONCE {
        return copy(&bytes);
    }
    tokio::task::spawn_blocking(move || copy(&bytes)).await.ok()?
}

fn received(object: LocalObject, file: Option<OwnedFd>) -> Result<Object> {
    let description = object.description.ok_or_else(unexpected)?;
    let size = ByteCount::new(description.size.ok_or_else(unexpected)?);
    let bytes = match (object.inline, file) {
        (Some(bytes), None) if bytes.len() as u64 == size.get() => bytes,
        (None, Some(file)) => mapped(file, size)?,
        _ => return Err(unexpected()),
    };
    let (content_type, metadata) = described(description);
    Ok(Object::new(bytes, content_type, metadata).by_path(&object.path))
}

/// The bytes of a file from the sidecar; a large one page by page as it is read, so that this never takes long.
fn mapped(file: OwnedFd, size: ByteCount) -> Result<Bytes> {
    let file = Sealed::from_sidecar(file, size).map_err(|_| unexpected())?;
    let map = if size.as_usize() <= AT_ONCE {
        file.map()
    } else {
        file.map_as_read()
    };
    let map = map.map_err(|_| Error::new(ErrorKind::TransferBroken, "the memory file cannot be mapped"))?;
    Ok(Bytes::from_owner(map))
}

fn description(size: u64, terms: &PutTerms) -> Description {
    let metadata = terms.metadata.iter().map(|(name, value)| MetadataItem {
        name: name.clone(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    });
    Description {
        size: Some(size),
        content_type: terms
            .content_type
            .as_ref()
            .map(|value| Bytes::copy_from_slice(value.as_bytes())),
        metadata: metadata.collect(),
    }
}

/// As over HTTP: a content type is always told, and values of one name are joined.
fn described(description: Description) -> (Option<String>, Metadata) {
    let content_type = description.content_type.map_or_else(
        || "application/octet-stream".to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    );
    let mut metadata = Metadata::new();
    for item in description.metadata {
        let value = String::from_utf8_lossy(&item.value).into_owned();
        let joined = match metadata.remove(&item.name) {
            Some(first) => format!("{first}, {value}"),
            None => value,
        };
        metadata.insert(item.name, joined);
    }
    (Some(content_type), metadata)
}

/// Rounded up, so that only zero is 0.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
