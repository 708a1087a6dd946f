//! The node directory (`XDT_NODE_DIR`): one socket for each queue-proxy of the node, under a name that tells nothing.
//!
//! Only queue-proxies of one user id speak to each other here; anybody else's socket is passed over. The directory is
//! held open, and everything in it is reached through that handle, so that its path may be of any length and nobody can
//! put another in its place. A socket appears under its name only once it listens, so a name without a listener is what a
//! process that crashed has left, and goes when the next one starts.

use std::{
    fmt, io,
    os::{fd::AsRawFd as _, unix::net::UnixListener as StdListener},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fstat, openat, renameat, statat, unlinkat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
    process::geteuid,
};
use sha2::{Digest as _, Sha256};
use tokio::net::{UnixListener, UnixStream};

use crate::trust::InstanceId;

/// Names looked at when dead sockets are swept out: far more than a node has pods.
const MAX_SWEPT: usize = 4096;
/// A socket that is not listening yet after this long never will.
const BIND_TIME: Duration = Duration::from_secs(60);
/// Characters of a name: 16 bytes as base64url.
const NAME_LEN: usize = 22;
/// Before the name of a socket that is not listening yet.
const UNBORN: char = '.';

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not there, no directory, or not ours to read.
    #[error("it cannot be opened as a directory ({0})")]
    Unopened(io::Error),
    /// Somebody who is neither this user nor root could replace what lies in it.
    #[error("it belongs to another user, or others may rename what lies in it (mode 0700, 0770 or 1777 is accepted)")]
    Unsafe,
    /// No socket could be made in it.
    #[error("no socket can be made in it ({0})")]
    Unbound(io::Error),
}

/// Why a producer cannot be reached through the directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotThere {
    /// No socket of its name.
    #[error("the producer has no socket here")]
    Absent,
    /// A symbolic link, a file, or another user's.
    #[error("what bears the producer's name is no socket of this user")]
    Foreign,
    /// Another user's process listens on it.
    #[error("another user's process listens on the producer's socket")]
    Impostor,
    /// Refused, or its queue is full.
    #[error("the producer's socket does not accept ({0})")]
    Refused(io::ErrorKind),
}

/// The open directory.
pub struct NodeDirectory {
    folder: OwnedFd,
    user: u32,
}

impl fmt::Debug for NodeDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeDirectory(…)")
    }
}

/// The own socket; its name goes when it is dropped.
#[derive(Debug)]
pub struct NodeListener {
    listener: UnixListener,
    directory: Arc<NodeDirectory>,
    name: String,
}

impl NodeListener {
    /// The next connection of a process of this user; `None` for somebody else's, which is closed.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (socket, _) = self.listener.accept().await?;
        Ok(self.directory.is_ours(&socket).then_some(socket))
    }
}

impl Drop for NodeListener {
    fn drop(&mut self) {
        // Fails where the directory has been emptied meanwhile.
        let _gone = unlinkat(&self.directory.folder, self.name.as_str(), AtFlags::empty());
    }
}

impl NodeDirectory {
    /// Opens the directory and looks at who may change it.
    ///
    /// # Errors
    /// [`DirectoryError::Unopened`], [`DirectoryError::Unsafe`].
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let unopened = |error: Errno| DirectoryError::Unopened(error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(unopened)?;
        let about = fstat(&folder).map_err(unopened)?;
        let (user, mode) = (geteuid().as_raw(), Mode::from_raw_mode(about.st_mode));
        let others_rename = mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX);
        if others_rename || (about.st_uid != user && about.st_uid != 0) {
            return Err(DirectoryError::Unsafe);
        }
        Ok(Self { folder, user })
    }

    /// Listens under the name of `instance`, after sweeping out what crashed processes have left.
    ///
    /// # Errors
    /// [`DirectoryError::Unbound`].
    pub fn listen(self: &Arc<Self>, instance: InstanceId) -> Result<NodeListener, DirectoryError> {
        self.sweep();
        let name = name(instance);
        let unborn = format!("{UNBORN}{name}");
        let bound = || -> io::Result<UnixListener> {
            let listener = StdListener::bind(self.path(&unborn))?;
            listener.set_nonblocking(true)?;
            chmodat(&self.folder, unborn.as_str(), Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
            renameat(&self.folder, unborn.as_str(), &self.folder, name.as_str())?;
            UnixListener::from_std(listener)
        };
        let listener = bound().map_err(|error| {
            let _gone = unlinkat(&self.folder, unborn.as_str(), AtFlags::empty());
            DirectoryError::Unbound(error)
        })?;
        Ok(NodeListener {
            listener,
            directory: self.clone(),
            name,
        })
    }

    /// Connects to the queue-proxy that is `instance`.
    pub(super) async fn connect(&self, instance: InstanceId) -> Result<UnixStream, NotThere> {
        let name = name(instance);
        match statat(&self.folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(_) => return Err(NotThere::Absent),
            Ok(about) if FileType::from_raw_mode(about.st_mode) != FileType::Socket => return Err(NotThere::Foreign),
            Ok(about) if about.st_uid != self.user => return Err(NotThere::Foreign),
            Ok(_) => {}
        }
        let refused = |error: io::Error| NotThere::Refused(error.kind());
        let socket = UnixStream::connect(self.path(&name)).await.map_err(refused)?;
        if !self.is_ours(&socket) {
            return Err(NotThere::Impostor);
        }
        Ok(socket)
    }

    /// Whether this user's process is at the other end, as the kernel knows it.
    fn is_ours(&self, socket: &UnixStream) -> bool {
        socket.peer_cred().is_ok_and(|peer| peer.uid() == self.user)
    }

    /// A path of bounded length to what is called `name` here (a socket's address has 107 bytes).
    fn path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd())
    }

    /// Removes sockets of this user that nobody listens on any more.
    fn sweep(&self) {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return;
        };
        for entry in entries.take(MAX_SWEPT).flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let born = name.len() == NAME_LEN;
            let unborn = name.len() == NAME_LEN + 1 && name.starts_with(UNBORN);
            if (born || (unborn && self.is_old(name))) && self.is_dead(name) {
                let _gone = unlinkat(&self.folder, name, AtFlags::empty());
            }
        }
    }

    fn is_old(&self, name: &str) -> bool {
        let about = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let changed = about.ok().and_then(|about| u64::try_from(about.st_mtime).ok());
        let changed = changed.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        changed.is_some_and(|changed| changed.elapsed().is_ok_and(|age| age > BIND_TIME))
    }

    /// A socket of this user without a listener. Never waits: one that is alive and busy answers that it would block.
    fn is_dead(&self, name: &str) -> bool {
        let Ok(about) = statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if FileType::from_raw_mode(about.st_mode) != FileType::Socket || about.st_uid != self.user {
            return false;
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let address = SocketAddrUnix::new(self.path(name));
        matches!((socket, address), (Ok(socket), Ok(address)) if connect(&socket, &address) == Err(Errno::CONNREFUSED))
    }
}

/// The name of an instance's socket: its random id, hashed, because whoever sees the directory need not know the id.
fn name(instance: InstanceId) -> String {
    let hash = Sha256::new()
        .chain_update(b"xdt node socket v1")
        .chain_update(instance.0)
        .finalize();
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

#[cfg(test)]
mod tests;
